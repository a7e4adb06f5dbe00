//! One update of the weights.

use burn::tensor::backend::AutodiffBackend;
use relay_kernels::with_precision;
use relay_models::DropoutKey;

use crate::all_reduce::{AllReduce, exchange};
use crate::average::Average;
use crate::gradients::GradientSet;
use crate::manifest::Counters;
use crate::optimizer::Optimizer;
use crate::statistics::{Reports, Window};
use crate::{Objective, Result, Schedule, TrainConfig, TrainError};

/// All that changes in the course of a run.
#[derive(Debug)]
pub(crate) struct State<B: AutodiffBackend, M> {
    pub model: M,
    pub optimizer: Optimizer<B::InnerBackend>,
    pub average: Option<Average<B::InnerBackend>>,
    pub counters: Counters,
    pub window: Window,
}

/// Who makes updates on one device, alone or as one of several that share the micro-batches.
#[derive(Debug)]
pub(crate) struct Worker<'a, B: AutodiffBackend, O> {
    pub objective: &'a O,
    pub config: &'a TrainConfig,
    pub device: B::Device,
    /// Its place among the workers, from 0.
    pub rank: usize,
    pub workers: usize,
    /// Tasks of the codec.
    pub tasks: usize,
    /// What connects it with the others, if there are any.
    pub others: Option<Box<dyn AllReduce<B::InnerBackend>>>,
}

impl<B: AutodiffBackend, O: Objective<B>> Worker<'_, B, O> {
    /// Gradients of all micro-batches, one step against them, and what to tell of it. `batches` are this worker's shares
    /// of them.
    ///
    /// # Errors
    /// When too many updates in a row had to be skipped; and, with `state` as it was, when another worker is lost or the objective
    /// names a task that there is not.
    pub fn update(
        &mut self,
        state: &mut State<B, O::Model>,
        batches: &[Option<O::Batch>],
    ) -> Result<()> {
        let (config, step) = (self.config, state.counters.step);
        let (mut gradients, reports) = self.gradients(&state.model, step, batches);
        if let Some(task) = reports.task_beyond(self.tasks) {
            let expected = format!("below {}, the number of tasks of the codec", self.tasks);
            return Err(TrainError::input("the task of a loss", task, expected));
        }
        // The one time in an update that the host waits for its device: an update that is not finite must not be made.
        let (mut numbers, mut norm) = match self.others {
            None => reports.read(&gradients),
            Some(_) => reports.read(&GradientSet::new()),
        };
        if let Some(others) = &mut self.others {
            let own = (gradients, numbers);
            let all = exchange::<B, _>(&state.model, own, self.tasks, self.rank, others.as_mut())?;
            (gradients, numbers, norm) = all;
        }
        state.counters.step += 1;
        if !(numbers.loss.is_finite() && norm.is_finite()) {
            return self.skip(state, numbers.loss, norm);
        }
        let scale = config.recovery.rate(state.counters.recoveries);
        let factor = Schedule::new(config).factor(step) * scale;
        // A clone shares its parameters, which get new memory in any case.
        let model = state.model.clone();
        state.model = state.optimizer.update(model, &gradients, norm, factor);
        if let Some(average) = &mut state.average {
            average.update(&state.model, step);
        }
        state.counters.skipped_in_a_row = 0;
        state.window.add(&numbers, norm);
        Ok(())
    }

    /// The gradients of this worker's shares, added up, and what the micro-batches report.
    fn gradients(
        &self,
        model: &O::Model,
        step: u64,
        batches: &[Option<O::Batch>],
    ) -> (GradientSet<B::InnerBackend>, Reports<B::InnerBackend>) {
        let (mut gradients, mut reports) = (GradientSet::new(), Reports::new());
        for (place, host) in (0..).zip(batches) {
            let Some(host) = host else { continue };
            let key = DropoutKey {
                seed: self.config.seed,
                step,
                batch: place * self.workers as u64 + self.rank as u64,
            };
            reports.add(with_precision(self.config.precision, || {
                self.objective
                    .backward(model, host, key, &self.device, &mut gradients)
            }));
        }
        (gradients, reports)
    }

    /// Counts an update that cannot be made, and tells of it.
    fn skip(&self, state: &mut State<B, O::Model>, loss: f64, norm: f64) -> Result<()> {
        let step = state.counters.step;
        state.counters.skipped += 1;
        state.counters.skipped_in_a_row += 1;
        state.window.skipped += 1;
        if self.rank == 0 {
            tracing::warn!("step {step}: loss {loss} with gradient norm {norm}, update skipped");
        }
        let updates = state.counters.skipped_in_a_row;
        if updates >= self.config.recovery.patience {
            return Err(TrainError::NotFinite { step, updates });
        }
        Ok(())
    }
}
