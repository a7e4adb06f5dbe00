//! Training for some minutes, from a checkpoint to a checkpoint, with a table of how fast it went.

mod bench;
mod from;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        atomic::Ordering,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use burn::prelude::DeviceOps;
use burn::tensor::backend::{AutodiffBackend, Backend};
use relay_pipeline::{
    Machines, Settings, Stages,
    arms::{AR_BASELINE, LOOPED_ALIGNED, LOOPED_VANILLA},
    corpus, lock,
};
use relay_train::{StopFlag, check_precision};

pub use self::bench::Bench;
use self::from::{counters, take_over};
use crate::{CliError, DeviceName, Meeting, Program, on_device, stop_on_signals};

/// A training that has some minutes.
#[derive(Debug)]
pub struct Slot {
    /// What is trained, and how.
    pub settings: Settings,
    /// The arm.
    pub arm: String,
    /// Where.
    pub device: DeviceName,
    /// Devices of this machine that share the work.
    pub workers: usize,
    /// Whether sums over them are made by burn's collective layer, which has to be compiled in.
    pub collective: bool,
    /// Machines that do.
    pub machines: Meeting,
    /// How long from when all machines are there; `None` as long as there are updates.
    pub minutes: Option<f64>,
    /// A checkpoint, a directory of checkpoints or of parts; `None` to begin.
    pub from: Option<PathBuf>,
    /// What the devices can do at most, in 10^12 floating-point operations a second.
    pub peak_tflops: Option<f64>,
    /// Where `run/` and the table are written.
    pub out: PathBuf,
}

/// How a slot ended.
#[derive(Debug)]
pub enum Trained {
    /// On a machine alone or one that leads: what was measured.
    Measured(Bench),
    /// On a machine that follows.
    Followed {
        /// Whether all updates were made.
        done: bool,
    },
}

impl Slot {
    /// Trains until the time is over, a signal comes or all updates are made; a checkpoint is saved in each case. On a
    /// machine that follows there is none, and nothing is measured.
    ///
    /// # Errors
    /// A usage error for settings that cannot be; a failure for what goes wrong; an interruption by a signal before all updates
    /// are made.
    pub fn train(self) -> Result<Trained, CliError> {
        let arm = trained_arm(&self.arm)?;
        let longest = time_limit(self.minutes)?;
        self.check()?;
        // Before anything is made here, and before other machines wait for this one.
        on_device(self.device, Able(&self)).map_err(CliError::usage)??;
        let run = self.out.join("run");
        let _lock = lock(&self.out).map_err(CliError::failure)?;
        fs::create_dir_all(&run).map_err(|e| failed("create", &run, &e))?;
        if let Some(from) = &self.from {
            take_over(from, &run)?;
        }
        let before = counters(&run)?;
        let stop = StopFlag::default();
        let signal = stop_on_signals(&stop.shared()).map_err(CliError::failure)?;
        let by_signal = |message: String| match signal.load(Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(CliError::interrupted(message, &signal)),
        };
        let machines = self.machines.meet(self.workers, &stop);
        by_signal("stopped while other machines were waited for".to_owned())?;
        let machines = machines?;
        let program = Training {
            slot: &self,
            arm,
            run: run.clone(),
            machines,
            stop: stop.clone(),
        };
        let outcome = at_most(longest, &stop, || on_device(self.device, program));
        let done = outcome.map_err(CliError::usage)??;
        if !done {
            by_signal(match &self.machines {
                Meeting::Follow(leader) => format!("stopped; checkpoints lie at {leader}"),
                _ => format!("stopped; a checkpoint lies in {}", run.display()),
            })?;
        }
        match self.machines {
            Meeting::Follow(_) => Ok(Trained::Followed { done }),
            _ => self.measure(before, &run, done).map(Trained::Measured),
        }
    }

    fn check(&self) -> Result<(), CliError> {
        let possible = |peak: &f64| *peak > 0.0 && peak.is_finite();
        if let Some(peak) = self.peak_tflops.filter(|peak| !possible(peak)) {
            let wrong = format!("--peak-tflops is {peak}: it must be a number above 0");
            return Err(CliError::usage(wrong));
        }
        if self.workers == 0 {
            return Err(CliError::usage("--workers is 0: it must be at least 1"));
        }
        if self.collective && !cfg!(feature = "collective") {
            return Err(CliError::usage(
                "this program was built without `collective`; build it with `--features collective`",
            ));
        }
        Ok(())
    }
}

/// Does `work`, and sets `stop` when it takes longer than it may.
fn at_most<T>(longest: Option<Duration>, stop: &StopFlag, work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (finished, waiting) = channel::<()>();
        if let Some(wait) = longest {
            let flag = stop.shared();
            scope.spawn(move || {
                // Ends early when the work does.
                if waiting.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    flag.store(true, Ordering::SeqCst);
                }
            });
        }
        let outcome = work();
        drop(finished);
        outcome
    })
}

/// The arm of this name that is trained on the original data.
///
/// # Errors
/// A usage error that names those there are.
pub fn trained_arm(name: &str) -> Result<&'static str, CliError> {
    let arms = [LOOPED_ALIGNED, LOOPED_VANILLA, AR_BASELINE];
    let found = arms.into_iter().find(|arm| *arm == name);
    found.ok_or_else(|| CliError::usage(format!("no arm `{name}` to train: {}", arms.join(", "))))
}

/// `--minutes` as a time.
fn time_limit(minutes: Option<f64>) -> Result<Option<Duration>, CliError> {
    let Some(minutes) = minutes else {
        return Ok(None);
    };
    if minutes.is_nan() || minutes <= 0.0 {
        let wrong = format!("--minutes is {minutes}: it must be a number above 0");
        return Err(CliError::usage(wrong));
    }
    let time = Duration::try_from_secs_f64(60.0 * minutes);
    time.map(Some)
        .map_err(|_| CliError::usage(format!("--minutes is {minutes:?}: too many")))
}

/// Whether the device can do what the slot asks of it.
struct Able<'a>(&'a Slot);

impl Program for Able<'_> {
    type Output = Result<(), CliError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let Self(slot) = self;
        let stage = slot.settings.stage(&slot.arm).map_err(CliError::usage)?;
        check_precision::<B>(stage.train.precision, &device).map_err(CliError::usage)?;
        more_devices::<B>(&device, slot).map(drop)
    }
}

/// The training itself; gives whether all updates were made.
struct Training<'a> {
    slot: &'a Slot,
    arm: &'static str,
    run: PathBuf,
    machines: Machines,
    stop: StopFlag,
}

impl Program for Training<'_> {
    type Output = Result<bool, CliError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let settings = self.slot.settings.clone();
        let corpus = corpus(&settings).map_err(CliError::usage)?;
        let more = more_devices::<B>(&device, self.slot)?;
        let stages = Stages::<B>::new(settings, corpus, device, self.stop)
            .more_devices(more)
            .machines(self.machines);
        #[cfg(feature = "collective")]
        let stages = stages.collective(self.slot.collective);
        match stages.train(self.arm, &self.run) {
            Ok(_) => Ok(true),
            Err(error) if error.is_interrupted() => Ok(false),
            Err(error) if error.is_usage() => Err(CliError::usage(error)),
            Err(error) => Err(CliError::failure(error)),
        }
    }
}

/// The devices of the other workers: the next ones of the machine, or the same CPU again.
fn more_devices<B: Backend>(first: &B::Device, slot: &Slot) -> Result<Vec<B::Device>, CliError> {
    if slot.device != DeviceName::Cuda {
        return Ok(vec![first.clone(); slot.workers - 1]);
    }
    let mut id = first.to_id();
    let found = B::device_count(id.type_id);
    if slot.workers > found {
        let wanted = slot.workers;
        return Err(CliError::usage(format!(
            "--workers is {wanted}: there are {found} devices"
        )));
    }
    let device = |index: usize| {
        id.index_id = u16::try_from(index).unwrap_or(u16::MAX);
        B::Device::from_id(id)
    };
    Ok((1..slot.workers).map(device).collect())
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::failure(format!("cannot {verb} {}: {error}", path.display()))
}
