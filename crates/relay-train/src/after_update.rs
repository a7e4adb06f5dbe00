//! What a run tells and keeps after an update: metrics, validation, checkpoints.

use std::time::{Duration, Instant};

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use relay_kernels::with_generation_of;
use relay_tasks::Example;
use serde_json::Value;

use crate::checkpoint;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::step::State;
use crate::validation::validate;
use crate::{Objective, Result, Schedule, StopFlag, TrainError, Trainer};

/// How long a checkpoint may take to write before it is asked whether the disk is slow.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes a second below which a disk is slow; what spins writes ten times as many.
const SLOW: f64 = 1e7;

/// Where a run tells what it does.
#[derive(Debug)]
pub(crate) struct Log {
    pub metrics: Metrics,
    pub progress: Progress,
    /// Step of the last checkpoint.
    pub saved: u64,
    /// Whether it was said that the disk is slow; once is enough.
    pub slow: bool,
    /// Steps of the later checkpoints that were passed over when the run went on.
    pub damaged: Vec<u64>,
    /// Settings of the source of the examples, for checkpoints.
    pub data: Value,
}

impl Log {
    /// Says that the disk is slow, if that is what the last checkpoint shows.
    fn time_of_writing(&mut self, bytes: u64, took: Duration) {
        let seconds = took.as_secs_f64();
        if self.slow || took < PATIENCE || bytes as f64 > SLOW * seconds {
            return;
        }
        self.slow = true;
        tracing::warn!(
            "the checkpoint after step {}, {:.1} MB, took {seconds:.1} s to write: the disk is slow, and the training \
             waits for it",
            self.saved,
            bytes as f64 / 1e6
        );
    }
}

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    /// Log, validation and checkpoint, each when its time has come.
    pub(crate) fn tell(
        &self,
        state: &mut State<B, O::Model>,
        valid: &[Example],
        log: &mut Log,
        stop: &StopFlag,
    ) -> Result<()> {
        let (step, last) = (state.counters.step, self.config.steps);
        let due = |every: u64| every > 0 && (step.is_multiple_of(every) || step == last);
        log.progress.step(step);
        if due(self.config.log_every) {
            let window = std::mem::take(&mut state.window);
            let recovery = &self.config.recovery;
            let rate = Schedule::new(&self.config).factor(step - 1)
                * recovery.rate(state.counters.recoveries);
            log.metrics
                .train(step, state.counters.samples, rate, &window, &self.codec)?;
            log.metrics.time(step, state.counters.seconds)?;
            // Of updates that were all skipped there are none.
            if window.updates > 0 {
                let (loss, accuracy) = (window.mean_loss(), window.accuracy());
                log.progress.numbers(step, loss, accuracy);
            }
            if let Some(usual) = state.counters.past.diverged(&window, recovery.divergence) {
                self.diverged(step, window.mean_loss(), usual, log)?;
            }
            state.counters.past.add(&window);
        }
        if due(self.config.validate_every)
            && !valid.is_empty()
            && let Err(error) = self.validate(state, valid, log)
        {
            return Err(self.rescued(state, log, error, stop));
        }
        let recovery = &self.config.recovery;
        let every = self.config.checkpoint_every;
        let held_back = recovery.holds_back(&state.counters, log.saved, every);
        if due(every) && !held_back {
            if recovery.is_regular(step, every) {
                state.counters.regular = step;
            }
            self.save(state, log)?;
        }
        Ok(())
    }

    fn validate(&self, state: &State<B, O::Model>, valid: &[Example], log: &mut Log) -> Result<()> {
        let model = match &state.average {
            Some(average) => average.model(&state.model).valid(),
            None => state.model.valid(),
        };
        let tasks = with_generation_of::<B, _>(self.config.precision, || {
            validate(&self.objective, &model, valid, &self.codec, &self.device)
        })?;
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

    /// Saves a checkpoint, unless the last one is of the same step.
    pub(crate) fn save(&self, state: &State<B, O::Model>, log: &mut Log) -> Result<()> {
        if log.saved == state.counters.step && log.saved > 0 {
            return Ok(());
        }
        let clock = Instant::now();
        log.metrics.sync()?;
        let checkpoint = self.sealed(state, &log.data)?;
        let name = checkpoint::save(&self.dir, &checkpoint)?;
        self.prune(state.counters.step, &log.damaged)?;
        log.damaged.retain(|damaged| *damaged > state.counters.step);
        tracing::debug!("saved checkpoint {name}");
        log.saved = state.counters.step;
        log.time_of_writing(checkpoint.bytes(), clock.elapsed());
        Ok(())
    }

    /// Saves a checkpoint of a run that ends before its time, unless it could go back to there.
    pub(crate) fn save_at_end(&self, state: &State<B, O::Model>, log: &mut Log) -> Result<()> {
        let (recovery, every) = (&self.config.recovery, self.config.checkpoint_every);
        if recovery.holds_back(&state.counters, log.saved, every) {
            return Ok(());
        }
        self.save(state, log)
    }

    /// Saves what a failure has left whole, and gives the failure back; where the run was asked to stop and another machine did not
    /// hear of it in time, that is all that is told.
    pub(crate) fn rescued(
        &self,
        state: &State<B, O::Model>,
        log: &mut Log,
        failure: TrainError,
        stop: &StopFlag,
    ) -> TrainError {
        let step = state.counters.step;
        // Nothing is learnt since.
        if step > log.saved
            && let Err(error) = self.save_at_end(state, log)
        {
            tracing::warn!("no checkpoint of the updates so far: {error}");
        }
        match failure {
            TrainError::Machine { .. } if stop.is_set() => {
                tracing::warn!("{failure}");
                TrainError::Interrupted { step }
            }
            failure => failure,
        }
    }

    /// Removes the checkpoints up to `step` that are not to be kept; none of those that are `damaged` is.
    pub(crate) fn prune(&self, step: u64, damaged: &[u64]) -> Result<()> {
        let (keep, every) = (self.config.keep_last, self.config.checkpoint_every);
        // Each time that it does not help the run goes back one further: how far must not depend on how many are kept.
        let spare = usize::try_from(self.config.recovery.retries).unwrap_or(usize::MAX);
        checkpoint::prune(&self.dir, step, keep, (every, spare), damaged)
    }
}
