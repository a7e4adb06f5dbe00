//! What the updates since the last line of metrics had in common.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::LossReport;

/// Sums over the updates since the last line of metrics; part of a checkpoint, so that the lines of a resumed run are
/// those of one that was never stopped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Updates that were made.
    pub updates: u64,
    /// Updates that were skipped because loss or gradient was not finite.
    pub skipped: u64,
    /// Sum of the updates' losses, task weights included.
    pub loss: f64,
    /// Sum of the gradients' norms before clipping.
    pub gradient_norm: f64,
    /// Per task, by its index.
    pub tasks: BTreeMap<usize, TaskWindow>,
}

/// Sums of one task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskWindow {
    /// Updates with samples of the task.
    pub updates: u64,
    /// Sum of the answer losses (equation 9), or of the next-token losses, without the task's weight.
    pub answer_loss: f64,
    /// Sum of the step losses (equation 8), without the task's weight and lambda.
    pub step_loss: f64,
    /// Right greedy guesses of answers, or of tokens.
    pub right: u64,
    /// All guesses.
    pub guesses: u64,
}

impl Window {
    /// Adds an update that was made.
    pub(crate) fn add(&mut self, update: &UpdateNumbers, gradient_norm: f64) {
        self.updates += 1;
        self.loss += update.loss;
        self.gradient_norm += gradient_norm;
        for (&task, numbers) in &update.tasks {
            let sums = self.tasks.entry(task).or_default();
            sums.updates += 1;
            sums.answer_loss += numbers.answer_loss;
            sums.step_loss += numbers.step_loss;
            sums.right += numbers.right;
            sums.guesses += numbers.guesses;
        }
    }

    /// Mean loss of the updates.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.updates.max(1) as f64
    }

    /// Share of right guesses over all tasks.
    pub fn accuracy(&self) -> f64 {
        let (right, all) = self
            .tasks
            .values()
            .fold((0, 0), |(right, all), t| (right + t.right, all + t.guesses));
        right as f64 / all.max(1) as f64
    }
}

/// The numbers of one update, gathered over its micro-batches.
#[derive(Debug, Default)]
pub(crate) struct UpdateNumbers {
    pub loss: f64,
    pub tasks: BTreeMap<usize, TaskWindow>,
}

impl UpdateNumbers {
    /// Adds a micro-batch, after its backward pass.
    pub fn add<I: Backend>(&mut self, parts: LossReport<I>) {
        self.loss += scalar(parts.total);
        let sums = self.tasks.entry(parts.task).or_default();
        // Without a weight there is no loss to tell.
        let unweighted = if parts.weight > 0.0 {
            f64::from(parts.weight).recip()
        } else {
            0.0
        };
        sums.answer_loss += scalar(parts.answer) * unweighted;
        sums.step_loss += parts.steps.map_or(0.0, scalar) * unweighted;
        for guesses in parts.guesses {
            let (right, all) = guesses.count();
            sums.right += right;
            sums.guesses += all;
        }
    }
}

fn scalar<B: Backend>(value: Tensor<B, 1>) -> f64 {
    value.into_data().iter::<f64>().next().unwrap_or(f64::NAN)
}
