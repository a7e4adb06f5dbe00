//! A whole training run.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use relay_tasks::{Codec, Example};
use serde_json::Value;

use crate::checkpoint;
use crate::loader::Loader;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::step::{State, update};
use crate::validation::{first_of_each_task, validate};
use crate::{
    Effort, ExampleSource, Objective, Result, Schedule, StopFlag, TrainConfig, TrainError,
};

/// Whether a run may go on with what its directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// It starts anew; checkpoints in its directory are an error.
    Fresh,
    /// It goes on from the newest good checkpoint, or starts if there is none yet.
    Continue,
}

/// A model after training.
#[derive(Debug, Clone)]
pub struct Trained<M> {
    /// The model; with the averaged weights if the run kept an average.
    pub model: M,
    /// Updates made, skipped ones included.
    pub steps: u64,
    /// Samples seen.
    pub samples: u64,
    /// Updates skipped because loss or gradient was not finite.
    pub skipped: u64,
    /// Seconds of training, breaks not counted.
    pub seconds: f64,
    /// What all updates cost; `None` when the run was begun by a program that did not count it.
    pub effort: Option<Effort>,
    /// Name of the last checkpoint within the trainer's directory.
    pub checkpoint: PathBuf,
}

/// Trains a model for an objective, with checkpoints in a directory of its own.
///
/// Everything random is a pure function of seed and step, so that a run that is stopped at any step and gone on with
/// ends in the same weights, bit by bit on a CPU backend, as one that is never stopped.
#[derive(Debug)]
pub struct Trainer<B: AutodiffBackend, O: Objective<B>> {
    pub(crate) config: TrainConfig,
    pub(crate) objective: O,
    pub(crate) codec: Codec,
    pub(crate) model_settings: Value,
    pub(crate) device: B::Device,
    pub(crate) dir: PathBuf,
    quiet: bool,
    kill_after: Option<u64>,
}

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    /// A trainer with checkpoints and metrics in `dir`. `model_settings`, the model's own settings as JSON, are
    /// remembered by the checkpoints.
    ///
    /// # Errors
    /// When a setting is wrong, the model's vocabulary is too small, or `dir` cannot be made.
    pub fn new(
        config: TrainConfig,
        objective: O,
        codec: Codec,
        model_settings: Value,
        device: B::Device,
        dir: &Path,
    ) -> Result<Self> {
        config.validate()?;
        if let Some(vocab) = model_settings
            .pointer("/transformer/vocab")
            .and_then(Value::as_u64)
            && vocab < codec.vocab.len() as u64
        {
            let expected = format!("at least {}, the tokens of the codec", codec.vocab.len());
            return Err(TrainError::setting("transformer.vocab", vocab, expected));
        }
        fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
        let dir = dir.to_owned();
        Ok(Self {
            config,
            objective,
            codec,
            model_settings,
            device,
            dir,
            quiet: false,
            kill_after: None,
        })
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

    /// Trains `model` on the examples of `source`, watched on `valid`.
    ///
    /// # Errors
    /// - [`TrainError::Interrupted`] when `stop` is set, after a checkpoint was saved.
    /// - [`TrainError::NotFinite`] when loss or gradients stay without a finite value.
    /// - When examples cannot be made, or checkpoints and metrics not be read or written.
    pub fn run(
        &self,
        model: O::Model,
        source: Box<dyn ExampleSource>,
        valid: &[Example],
        resume: Resume,
        stop: &StopFlag,
    ) -> Result<Trained<O::Model>> {
        checkpoint::clean(&self.dir)?;
        let (state, saved) = self.restore(model, resume)?;
        let valid = first_of_each_task(valid, self.config.validate_samples);
        let progress = Progress::new(
            self.objective.name(),
            state.counters.step,
            self.config.steps,
            self.quiet,
        );
        let log = Log {
            metrics: Metrics::open(&self.dir, state.counters.step)?,
            progress,
            saved,
        };
        let (state, saved) = in_own_pool(|| self.go_on(state, source.as_ref(), &valid, stop, log))?;
        let counters = state.counters;
        let model = match &state.average {
            Some(average) => average.model(&state.model),
            None => state.model,
        };
        Ok(Trained {
            model,
            steps: counters.step,
            samples: counters.samples,
            skipped: counters.skipped,
            seconds: counters.seconds,
            effort: counters.effort,
            checkpoint: checkpoint::name_of(saved).into(),
        })
    }

    /// The loop over the updates; gives the last state and the step of its checkpoint.
    fn go_on(
        &self,
        mut state: State<B, O::Model>,
        source: &dyn ExampleSource,
        valid: &[Example],
        stop: &StopFlag,
        mut log: Log,
    ) -> Result<(State<B, O::Model>, u64)> {
        let (start, before, steps) = (Instant::now(), state.counters.seconds, self.config.steps);
        thread::scope(|scope| {
            let mut loader =
                Loader::start::<B, O>(scope, source, &self.objective, state.counters.step..steps);
            while state.counters.step < steps {
                if stop.is_set() {
                    self.save(&state, &mut log)?;
                    return Err(TrainError::Interrupted {
                        step: state.counters.step,
                    });
                }
                let (ready, rest) = loader.next(state.counters.step)?;
                loader = rest;
                state.counters.see(ready.samples, ready.effort);
                state = update(
                    state,
                    &self.objective,
                    &ready.batches,
                    &self.config,
                    &self.device,
                )?;
                state.counters.seconds = before + start.elapsed().as_secs_f64();
                self.tell(&mut state, valid, &mut log)?;
                if self.kill_after == Some(state.counters.step) {
                    return Err(TrainError::Interrupted {
                        step: state.counters.step,
                    });
                }
            }
            self.save(&state, &mut log)?;
            Ok((state, log.saved))
        })
    }

    /// Log, validation and checkpoint, each when its time has come.
    fn tell(&self, state: &mut State<B, O::Model>, valid: &[Example], log: &mut Log) -> Result<()> {
        let (step, last) = (state.counters.step, self.config.steps);
        let due = |every: u64| every > 0 && (step.is_multiple_of(every) || step == last);
        log.progress.step(step);
        if due(self.config.log_every) {
            let window = std::mem::take(&mut state.window);
            let rate = Schedule::new(&self.config).factor(step - 1);
            log.metrics
                .train(step, state.counters.samples, rate, &window, &self.codec)?;
            log.metrics.time(step, state.counters.seconds)?;
            log.progress
                .numbers(step, window.mean_loss(), window.accuracy());
        }
        if due(self.config.validate_every) && !valid.is_empty() {
            self.validate(state, valid, log)?;
        }
        if due(self.config.checkpoint_every) {
            self.save(state, log)?;
        }
        Ok(())
    }

    fn validate(&self, state: &State<B, O::Model>, valid: &[Example], log: &mut Log) -> Result<()> {
        let model = match &state.average {
            Some(average) => average.model(&state.model).valid(),
            None => state.model.valid(),
        };
        let tasks = validate(&self.objective, &model, valid, &self.codec, &self.device)?;
        log.metrics.valid(state.counters.step, &tasks)?;
        let told = tasks.iter().map(|(name, v)| {
            let steps = v.bit_accuracy.map_or(String::new(), |bits| {
                format!(", tokens of steps {:.1} %", 100.0 * bits)
            });
            format!("{name} answers {:.1} %{steps}", 100.0 * v.answer_accuracy)
        });
        let told = told.collect::<Vec<_>>().join("; ");
        log.progress.say(&format!(
            "validation after {} steps: {told}",
            state.counters.step
        ));
        Ok(())
    }

    fn save(&self, state: &State<B, O::Model>, log: &mut Log) -> Result<()> {
        if log.saved == state.counters.step && log.saved > 0 {
            return Ok(());
        }
        log.metrics.sync()?;
        let files = checkpoint::contents(state);
        let name = checkpoint::save(
            &self.dir,
            self.manifest(state)?,
            &files,
            self.config.keep_last,
        )?;
        tracing::debug!("saved checkpoint {name}");
        log.saved = state.counters.step;
        Ok(())
    }
}

/// Runs `work` as one of the threads of a pool that nothing else uses.
///
/// Kernels split their work over the threads of a pool; to hand it over to a pool that one is not part of takes tens of
/// microseconds each time, a tenth of an update of a small model. In a shared pool one run could be made to wait inside
/// another one's.
fn in_own_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    match rayon::ThreadPoolBuilder::new().build() {
        Ok(pool) => pool.install(work),
        Err(error) => {
            tracing::debug!("no threads of its own for this run: {error}");
            work()
        }
    }
}

/// Where a run tells what it does.
#[derive(Debug)]
struct Log {
    metrics: Metrics,
    progress: Progress,
    /// Step of the last checkpoint.
    saved: u64,
}
