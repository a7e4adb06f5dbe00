//! A whole training run.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use burn::tensor::{
    DType,
    backend::{AutodiffBackend, DTypeUsage},
};
use relay_tasks::{Codec, Example};
use serde_json::Value;

use crate::after_update::Log;
use crate::checkpoint;
use crate::loader::{Loader, Update};
use crate::lock::lock;
use crate::metrics::{Listener, Metrics};
use crate::own_pool::in_own_pool;
use crate::plain::refuse_links;
use crate::progress::Progress;
use crate::step::State;
use crate::thread_part::on_all_threads;
use crate::validation::first_of_each_task;
use crate::{
    ExampleSource, Followers, Objective, Precision, Result, StopFlag, TrainConfig, TrainError,
    Trained,
};

/// Whether a run may go on with what its directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// It starts anew; checkpoints in its directory are an error.
    Fresh,
    /// It goes on from the newest good checkpoint, or starts if there is none yet.
    Continue,
}

/// Trains a model for an objective, with checkpoints in a directory of its own.
///
/// Everything random is a pure function of seed and step, so that a run that is stopped at any step and resumed
/// ends in the same weights, bit by bit on a CPU backend, as one that is never stopped.
#[derive(Debug)]
pub struct Trainer<B: AutodiffBackend, O: Objective<B>> {
    pub(crate) config: TrainConfig,
    pub(crate) objective: O,
    pub(crate) codec: Codec,
    pub(crate) model_settings: Value,
    pub(crate) device: B::Device,
    pub(crate) more_devices: Vec<B::Device>,
    #[cfg(feature = "collective")]
    pub(crate) collective: bool,
    pub(crate) followers: Option<Followers>,
    pub(crate) dir: PathBuf,
    pub(crate) listener: Listener,
    quiet: bool,
    kill_after: Option<u64>,
}

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    /// A trainer with checkpoints and metrics in `dir`. `model_settings`, the model's own settings as JSON, are
    /// remembered by the checkpoints.
    ///
    /// # Errors
    /// When a setting is wrong or asks for more than `device` can do, `codec` is not that of the objective, or `dir` cannot be
    /// made.
    pub fn new(
        config: TrainConfig,
        objective: O,
        codec: Codec,
        model_settings: Value,
        device: B::Device,
        dir: &Path,
    ) -> Result<Self> {
        config.validate()?;
        check_precision::<B>(config.precision, &device)?;
        if let Some(own) = objective.codec() {
            own.check_same(&codec)?;
        }
        fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
        let dir = dir.to_owned();
        Ok(Self {
            config,
            objective,
            codec,
            model_settings,
            device,
            more_devices: Vec::new(),
            #[cfg(feature = "collective")]
            collective: false,
            followers: None,
            dir,
            listener: Listener::default(),
            quiet: false,
            kill_after: None,
        })
    }

    /// Trains on these devices as well: each takes its share of every micro-batch, gradients are added up, and all make
    /// the same update. That is the update of one device up to rounding and other dropout masks, so a run can be
    /// resumed on another number of devices. The trainer's own device validates, tells and saves.
    pub fn more_devices(mut self, devices: Vec<B::Device>) -> Self {
        self.more_devices = devices;
        self
    }

    /// Calls `listener` with every line of `metrics.jsonl` once it is written, on the thread that trains: for a display of one's
    /// own, or to set the run's [`StopFlag`] early. What came after the checkpoint that a run goes on from is told again, by a run that was
    /// killed and by one that goes back after a divergence: `kind` and `step` say which lines are the same.
    ///
    /// ```
    /// # use relay_train::{Objective, StopFlag, Trainer};
    /// # use burn::tensor::backend::AutodiffBackend;
    /// # fn stops_early<B: AutodiffBackend, O: Objective<B>>(trainer: Trainer<B, O>, stop: StopFlag) -> Trainer<B, O> {
    /// trainer.on_metrics(move |line| {
    ///     if line["kind"] == "valid" && line["tasks"]["ed"]["answer_accuracy"].as_f64() >= Some(0.99) {
    ///         stop.set();
    ///     }
    /// })
    /// # }
    /// ```
    pub fn on_metrics(mut self, listener: impl Fn(&Value) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listener);
        self
    }

    /// Shows no progress.
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Ends with [`TrainError::Interrupted`] once `step` updates are done, without a checkpoint, as a kill would: for
    /// tests of going on.
    pub fn kill_after(mut self, step: u64) -> Self {
        self.kill_after = Some(step);
        self
    }

    /// What it trains for.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    /// Trains `model` on the examples of `source`, watched on `valid`. A run that is resumed needs the model again that
    /// it was started with.
    ///
    /// # Errors
    /// - [`TrainError::NotEmpty`], [`TrainError::NoCheckpoint`] and [`TrainError::OtherSettings`] when what the directory holds
    ///   is not what `resume` asks for, or was made with other settings.
    /// - [`TrainError::Setting`] when the model is none that the objective can train, as
    ///   [`check_model`](Objective::check_model) says.
    /// - [`TrainError::Input`] when an example to validate with is of no task or has no answer, an update has no example, or an
    ///   example has a token that is none of the vocabulary.
    /// - [`TrainError::Interrupted`] when `stop` is set, after a checkpoint was saved unless it could hold nothing new.
    /// - [`TrainError::NotFinite`] when loss or gradients stay without a finite value, and [`TrainError::Diverged`] when
    ///   the loss grows far above its past, as far as the settings say that the run ends then.
    /// - [`TrainError::NotPlain`] when the directory holds links or other things that could lead out of it.
    /// - [`TrainError::Locked`] when somebody else trains in the directory.
    /// - [`TrainError::Worker`] and [`TrainError::Machine`] when a device or a machine that shares the work is lost.
    /// - When examples cannot be made, or checkpoints and metrics not be read or written.
    ///
    /// Where no example could be made, validation failed, or another device or machine that shares the work was lost, a checkpoint of
    /// all updates before was saved, unless there are no new ones or it could be gone back to.
    pub fn run(
        &self,
        model: O::Model,
        source: &dyn ExampleSource,
        valid: &[Example],
        resume: Resume,
        stop: &StopFlag,
    ) -> Result<Trained<O::Model>> {
        let outcome = self.run_alone_or_leading(model, source, valid, resume, stop);
        self.tell_followers(&outcome);
        outcome
    }

    fn run_alone_or_leading(
        &self,
        model: O::Model,
        source: &dyn ExampleSource,
        valid: &[Example],
        resume: Resume,
        stop: &StopFlag,
    ) -> Result<Trained<O::Model>> {
        self.objective.check_model(&model)?;
        self.objective
            .check_settings(&model, &self.model_settings)?;
        refuse_links(&self.dir)?;
        let _held = lock(&self.dir)?;
        checkpoint::clean(&self.dir)?;
        let start = self.config.recovery.goes_back().then(|| model.clone());
        let settings = source.settings();
        let state = self.restore(model, resume, &settings)?;
        // A kill between a checkpoint and this leaves one too many, which nobody would remove after the last one.
        self.prune(state.counters.step, &[])?;
        let valid = first_of_each_task(valid, self.config.validate_samples);
        self.check_valid(&valid)?;
        let log = self.log(state.counters.step, settings)?;
        let data = Data {
            source,
            valid: &valid,
        };
        let state = in_own_pool(|| self.go_on(state, start, &data, stop, log))?;
        Ok(Trained::of(state))
    }

    /// Where a run tells what it does that goes on after `step`, from the checkpoint of that step where it is not the start.
    fn log(&self, step: u64, data: Value) -> Result<Log> {
        let (name, steps) = (self.objective.name(), self.config.steps);
        let found = checkpoint::list(&self.dir)?.into_iter();
        let damaged = found.map(|(step, _)| step).filter(|found| *found > step);
        Ok(Log {
            metrics: Metrics::open(&self.dir, step, self.listener.clone())?,
            progress: Progress::new(name, step, steps, self.quiet),
            saved: step,
            slow: false,
            damaged: damaged.collect(),
            data,
        })
    }

    /// That the codec has the tasks of all `valid` examples, and that these are solved: all would count as wrong.
    fn check_valid(&self, valid: &[Example]) -> Result<()> {
        let tasks = self.codec.tasks.len();
        for Example { task, answer, .. } in valid {
            if *task >= tasks {
                let what = "the task of an example to validate with";
                let expected = format!("below {tasks}, the number of tasks of the codec");
                return Err(TrainError::input(what, task, expected));
            }
            if answer.is_none() {
                let what = "the answer of an example to validate with";
                return Err(TrainError::input(what, "missing", "given"));
            }
        }
        Ok(())
    }

    /// All updates, from a checkpoint again where that is set and needed; gives the last state, which is saved. `model` is
    /// the one that the run starts from.
    fn go_on(
        &self,
        mut state: State<B, O::Model>,
        model: Option<O::Model>,
        data: &Data<'_>,
        stop: &StopFlag,
        mut log: Log,
    ) -> Result<State<B, O::Model>> {
        let (start, before) = (Instant::now(), state.counters.seconds);
        let clock = || before + start.elapsed().as_secs_f64();
        loop {
            let recoveries = state.counters.recoveries;
            match (self.updates(state, data, stop, &mut log, clock), &model) {
                (Err(error), Some(model))
                    if self.config.recovery.goes_back_from(&error, recoveries) =>
                {
                    state = self.go_back(model.clone(), &error, recoveries + 1, &mut log)?;
                }
                (outcome, _) => return outcome,
            }
        }
    }

    /// The loop over the updates; gives the last state, which is saved.
    fn updates(
        &self,
        mut state: State<B, O::Model>,
        data: &Data<'_>,
        stop: &StopFlag,
        log: &mut Log,
        clock: impl Fn() -> f64,
    ) -> Result<State<B, O::Model>> {
        let steps = self.config.steps;
        thread::scope(|scope| {
            let todo = state.counters.step..steps;
            let widths = self.config.width_multiple;
            let (source, objective) = (data.source, &self.objective);
            let loader = Loader::start::<B, O>(scope, source, objective, widths, todo)?;
            let mut workers =
                self.start_workers(scope, &state, self.team(&state, &log.data, stop)?)?;
            while state.counters.step < steps {
                let step = state.counters.step;
                if stop.is_set() {
                    self.save_at_end(&state, log)?;
                    return Err(TrainError::Interrupted { step });
                }
                let ready = self.ready(&loader, &state, log, stop)?;
                let update = || workers.update(&mut state, ready.batches);
                if let Err(error) = on_all_threads::<B, _>(&self.device, update) {
                    return Err(match error {
                        TrainError::NotFinite { .. } => error,
                        // The update was not made, and all that came before is whole.
                        error => self.rescued(&state, log, error, stop),
                    });
                }
                state.counters.see(ready.samples, ready.effort);
                state.counters.seconds = clock();
                self.tell(&mut state, data.valid, log, stop)?;
                let step = state.counters.step;
                if self.kill_after == Some(step) {
                    return Err(TrainError::Interrupted { step });
                }
            }
            self.save(&state, log)?;
            Ok(state)
        })
    }

    /// The batches of the next update, which the followers are called for, too.
    fn ready(
        &self,
        loader: &Loader<O::Batch>,
        state: &State<B, O::Model>,
        log: &mut Log,
        stop: &StopFlag,
    ) -> Result<Update<O::Batch>> {
        match loader.next(state.counters.step) {
            Ok(ready) => self.call(state, &ready, log, stop).map(|()| ready),
            Err(error) => Err(self.rescued(state, log, error, stop)),
        }
    }
}

/// That `device` can multiply what the settings ask for: some backends would panic in the middle of the first update.
///
/// # Errors
/// Names the setting and what this backend can do.
pub fn check_precision<B: AutodiffBackend>(precision: Precision, device: &B::Device) -> Result<()> {
    let usage = B::dtype_usage(device, DType::BF16);
    let multiplies = [DTypeUsage::Arithmetic, DTypeUsage::Accelerated]
        .into_iter()
        .any(|way| usage.contains(way));
    if precision == Precision::F32 || (usage.contains(DTypeUsage::Storage) && multiplies) {
        return Ok(());
    }
    let expected = format!("f32 here: {} has no bf16", B::name(device));
    Err(TrainError::setting("precision", precision, expected))
}

/// What a run learns from and is watched on.
struct Data<'a> {
    source: &'a dyn ExampleSource,
    valid: &'a [Example],
}
