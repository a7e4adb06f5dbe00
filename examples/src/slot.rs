//! Training for some minutes, from a checkpoint to a checkpoint, with a table of how fast it went.

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
use relay_pipeline::{Machines, Settings, Stages, arms::is_looped, corpus, write_atomically};
use relay_train::{Counters, Effort, StopFlag, checkpoint_name, list_checkpoints, read_manifest};
use serde::Serialize;
use serde_json::Value;

use crate::{CliError, DeviceName, Meeting, PARTS, Program, join, on_device, stop_on_signals};

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

/// How fast a slot was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bench {
    /// Name of the device.
    pub device: String,
    /// Devices of this machine that shared the work.
    pub workers: usize,
    /// Machines that did.
    pub machines: usize,
    /// What the layers' products multiplied.
    pub precision: String,
    /// Updates before and after.
    pub updates: [u64; 2],
    /// Whether that were all updates of the training.
    pub done: bool,
    /// Seconds of training, compiling and choosing kernels among them, loading and saving, too.
    pub seconds: f64,
    /// Updates a second.
    pub updates_per_second: f64,
    /// Updates a second between the first and the last line of times of this slot, where it has several: without what is
    /// done once.
    pub updates_per_second_later: Option<f64>,
    /// Samples a second.
    pub samples_per_second: f64,
    /// Floating-point operations of the matrix products an update, backward pass included.
    pub flops_per_update: Option<f64>,
    /// Floating-point operations a second, in 10^12, at the later speed if it is known.
    pub tflops: Option<f64>,
    /// That by what the devices can do at most.
    pub utilisation: Option<f64>,
    /// The newest checkpoint.
    pub checkpoint: PathBuf,
}

impl Slot {
    /// Trains until the time is over, a signal comes or all updates are made; a checkpoint is saved in each case. On a
    /// machine that follows there is none, and nothing is measured.
    ///
    /// # Errors
    /// A usage error for settings that cannot be; a failure for what goes wrong; an interruption by a signal.
    pub fn train(self) -> Result<Option<Bench>, CliError> {
        let arm = trained_arm(&self.arm)?;
        let longest = time_limit(self.minutes)?;
        if let Some(peak) = self
            .peak_tflops
            .filter(|peak| !(*peak > 0.0 && peak.is_finite()))
        {
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
        let run = self.out.join("run");
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
        let done = thread::scope(|scope| {
            let (finished, waiting) = channel::<()>();
            if let Some(wait) = longest {
                let flag = stop.shared();
                scope.spawn(move || {
                    // Ends early when the training does.
                    if waiting.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                        flag.store(true, Ordering::SeqCst);
                    }
                });
            }
            let program = Training {
                slot: &self,
                arm,
                run: run.clone(),
                machines,
                stop: stop.clone(),
            };
            let outcome = on_device(self.device, program).map_err(CliError::usage);
            drop(finished);
            outcome?
        })?;
        by_signal(match &self.machines {
            Meeting::Follow(leader) => format!("stopped; checkpoints lie at {leader}"),
            _ => format!("stopped; a checkpoint lies in {}", run.display()),
        })?;
        match self.machines {
            Meeting::Follow(_) => Ok(None),
            _ => self.measure(before, &run, done).map(Some),
        }
    }

    /// What the counters of the checkpoints before and after say.
    fn measure(&self, before: Counters, run: &Path, done: bool) -> Result<Bench, CliError> {
        let manifest = read_manifest(run).map_err(CliError::failure)?;
        let after = manifest.counters;
        let seconds = (after.seconds - before.seconds).max(f64::MIN_POSITIVE);
        let updates = after.step - before.step;
        let per_second = updates as f64 / seconds;
        let later = later_speed(&run.join("times.jsonl"), before.step);
        let flops = match (before.effort, after.effort) {
            (Some(before), Some(after)) => {
                let all = |effort: Effort| flops(&self.arm, &manifest.model, &effort);
                all(after)
                    .zip(all(before))
                    .map(|(after, before)| after - before)
            }
            _ => None,
        };
        let flops_per_update = flops
            .filter(|_| updates > 0)
            .map(|all| all / updates as f64);
        let tflops = flops_per_update.map(|each| each * later.unwrap_or(per_second) / 1e12);
        let training = &manifest.training;
        let bench = Bench {
            device: self.device.to_string(),
            workers: self.workers,
            machines: self.machines.size(),
            precision: training["precision"].as_str().unwrap_or("f32").to_owned(),
            updates: [before.step, after.step],
            done,
            seconds,
            updates_per_second: per_second,
            updates_per_second_later: later,
            samples_per_second: (after.samples - before.samples) as f64 / seconds,
            flops_per_update,
            tflops,
            utilisation: tflops
                .zip(self.peak_tflops)
                .map(|(found, peak)| found / peak),
            checkpoint: run.join(checkpoint_name(after.step)),
        };
        let text = serde_json::to_string_pretty(&bench).map_err(CliError::failure)?;
        for (name, text) in [("bench.json", text + "\n"), ("bench.md", bench.markdown())] {
            write_atomically(&self.out.join(name), text.as_bytes()).map_err(CliError::failure)?;
        }
        Ok(bench)
    }
}

impl Bench {
    /// The table.
    pub fn markdown(&self) -> String {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |x| format!("{x:.4}"));
        let [from, to] = self.updates;
        let rows = [
            ("device", self.device.clone()),
            ("workers", self.workers.to_string()),
            ("machines", self.machines.to_string()),
            ("precision", self.precision.clone()),
            ("updates", format!("{from} to {to}")),
            ("seconds", format!("{:.1}", self.seconds)),
            ("updates a second", number(Some(self.updates_per_second))),
            (
                "updates a second, the first line of times left out",
                number(self.updates_per_second_later),
            ),
            ("samples a second", number(Some(self.samples_per_second))),
            (
                "10^12 FLOP an update",
                number(self.flops_per_update.map(|x| x / 1e12)),
            ),
            ("10^12 FLOP a second", number(self.tflops)),
            (
                "model-FLOP utilisation, %",
                number(self.utilisation.map(|x| 100.0 * x)),
            ),
        ];
        let mut text = String::from("| | |\n|---|---|\n");
        for (name, value) in rows {
            text += &format!("| {name} | {value} |\n");
        }
        text
    }
}

/// The arm of this name that is trained on the original data.
///
/// # Errors
/// A usage error that names those there are.
pub fn trained_arm(name: &str) -> Result<&'static str, CliError> {
    let arms = ["looped_aligned", "looped_vanilla", "ar_baseline"];
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

/// Puts the checkpoint to go on from into `run`, unless that holds as many updates of this slot already.
fn take_over(from: &Path, run: &Path) -> Result<(), CliError> {
    let aside = run.join(".partial-from");
    let taken = bring(from, &aside).and_then(|brought| {
        let step = updates(&brought)?;
        if holds_checkpoints(run)? {
            let own = updates(run)?;
            if own >= step {
                let (run, from) = (run.display(), from.display());
                tracing::info!(
                    "{run} holds {own} updates, {from} {step}: going on with the former"
                );
                return Ok(());
            }
        }
        let place = run.join(checkpoint_name(step));
        fs::rename(&brought, &place).map_err(|e| failed("rename", &place, &e))
    });
    // Best effort: what went wrong before matters more.
    let _ = fs::remove_dir_all(&aside);
    taken
}

/// Copies the checkpoint in `from`, or joins its parts, into the directory `aside`; gives its place.
fn bring(from: &Path, aside: &Path) -> Result<PathBuf, CliError> {
    if aside.exists() {
        fs::remove_dir_all(aside).map_err(|e| failed("remove", aside, &e))?;
    }
    fs::create_dir_all(aside).map_err(|e| failed("create", aside, &e))?;
    if from.join(PARTS).exists() {
        return join(from, aside).map_err(CliError::failure);
    }
    let name = checkpoint_name(updates(from)?);
    let whole = from.join("manifest.json").exists();
    let source = if whole {
        from.to_owned()
    } else {
        from.join(&name)
    };
    let place = aside.join(name);
    fs::create_dir(&place).map_err(|e| failed("create", &place, &e))?;
    for file in fs::read_dir(&source).map_err(|e| failed("read", &source, &e))? {
        let file = file.map_err(|e| failed("read", &source, &e))?.path();
        let to = place.join(file.file_name().unwrap_or_default());
        fs::copy(&file, &to).map_err(|e| failed("copy", &file, &e))?;
    }
    Ok(place)
}

/// The updates of the newest good checkpoint in `dir`, which also name it; all of it is verified, as it is again when it is
/// read.
fn updates(dir: &Path) -> Result<u64, CliError> {
    let manifest = read_manifest(dir).map_err(CliError::failure)?;
    Ok(manifest.counters.step)
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::failure(format!("cannot {verb} {}: {error}", path.display()))
}

fn holds_checkpoints(run: &Path) -> Result<bool, CliError> {
    let found = list_checkpoints(run).map_err(CliError::failure)?;
    Ok(!found.is_empty())
}

/// The counters of the newest checkpoint, or of the start.
fn counters(run: &Path) -> Result<Counters, CliError> {
    if !holds_checkpoints(run)? {
        let effort = Some(Effort::default());
        return Ok(Counters {
            effort,
            ..Counters::default()
        });
    }
    Ok(read_manifest(run).map_err(CliError::failure)?.counters)
}

/// Updates a second between the first and the last line of a file of times that are of updates after `before`.
fn later_speed(times: &Path, before: u64) -> Option<f64> {
    let text = fs::read_to_string(times).ok()?;
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some((line["step"].as_f64()?, line["seconds"].as_f64()?))
    };
    let of_this_slot = |(step, _): &(f64, f64)| *step > before as f64;
    let lines = text.lines().filter_map(line).filter(of_this_slot);
    let lines: Vec<(f64, f64)> = lines.collect();
    let (first, last) = (lines.first()?, lines.last()?);
    (last.0 > first.0 && last.1 > first.1).then(|| (last.0 - first.0) / (last.1 - first.1))
}

/// Floating-point operations of an arm's model with these settings.
fn flops(arm: &str, model: &Value, effort: &Effort) -> Option<f64> {
    use relay_models::{CausalConfig, LoopedConfig};
    if is_looped(arm) {
        let config = serde_json::from_value::<LoopedConfig>(model.clone()).ok()?;
        return Some(effort.flops(|work| config.forward_flops(work)));
    }
    let config = serde_json::from_value::<CausalConfig>(model.clone()).ok()?;
    Some(effort.flops(|work| config.forward_flops(work)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn the_first_line_of_times_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("times.jsonl");
        let line = |step: u64, seconds: f64| format!("{{\"step\":{step},\"seconds\":{seconds}}}\n");
        fs::write(&file, line(100, 30.0)).unwrap();
        assert_eq!(later_speed(&file, 0), None);
        fs::write(&file, line(100, 30.0) + &line(200, 35.0) + &line(300, 40.0)).unwrap();
        assert_eq!(later_speed(&file, 0), Some(20.0));
        // Another slot of the same directory has written before this one.
        let later = line(100, 1.0) + &line(200, 30.0) + &line(300, 80.0) + &line(400, 90.0);
        fs::write(&file, later).unwrap();
        assert_eq!(later_speed(&file, 200), Some(10.0));
    }
}
