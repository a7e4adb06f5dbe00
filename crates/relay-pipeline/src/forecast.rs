//! What a training will cost, counted from the shapes of some of its updates before anything is trained.

use burn::tensor::backend::AutodiffBackend;
use relay_models::Work;
use relay_train::{Effort, LoopedMicroBatch, Objective};
use serde::Serialize;

use crate::{Result, Stages, arms::is_looped};

/// Means over some updates of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// Updates of the whole training.
    pub updates: u64,
    /// Parameters of the model.
    pub parameters: usize,
    /// Samples an update.
    pub samples: f64,
    /// Micro-batches an update.
    pub micro_batches: f64,
    /// Iterations that come one after the other in an update, over all its micro-batches.
    pub iterations: f64,
    /// Token positions that go through the whole block, an update.
    pub block_passes: f64,
    /// Floating-point operations of the matrix products an update, backward pass included.
    pub flops: f64,
}

impl Forecast {
    /// Bytes of the gradients, which devices that share the work exchange in every update.
    pub fn gradient_bytes(&self) -> usize {
        4 * self.parameters
    }
}

impl<B: AutodiffBackend> Stages<B> {
    /// What an arm's training on the original data costs, by this many of its updates, evenly spread over it.
    ///
    /// # Errors
    /// When the data cannot be made.
    pub fn forecast(&self, arm: &str, updates: u64) -> Result<Forecast> {
        if is_looped(arm) {
            let (config, objective) = (self.looped(arm), self.looped_objective(arm)?);
            let count = self.count(arm, updates, &objective, looped_iterations)?;
            let parameters = config.number_of_parameters();
            Ok(count.forecast(parameters, |work| config.forward_flops(work)))
        } else {
            let (config, objective) = (self.causal(), self.causal_objective(arm)?);
            let count = self.count(arm, updates, &objective, |_| 1)?;
            let parameters = config.number_of_parameters();
            Ok(count.forecast(parameters, |work| config.forward_flops(work)))
        }
    }

    /// Adds up `some` of the updates of an arm's training; `iterations` tells those of a micro-batch.
    fn count<O: Objective<B>>(
        &self,
        arm: &str,
        some: u64,
        objective: &O,
        iterations: impl Fn(&O::Batch) -> usize,
    ) -> Result<Count> {
        let source = self.source(arm)?;
        let mut count = Count {
            all_updates: self.updates(arm)?,
            ..Count::default()
        };
        for step in spread(count.all_updates, some) {
            let examples = source.examples(step)?;
            let batches = objective.collate(&examples)?;
            count.updates += 1;
            count.samples += examples.len();
            count.micro_batches += batches.len();
            count.iterations += batches.iter().map(&iterations).sum::<usize>();
            count.effort += batches
                .iter()
                .map(|batch| objective.effort(batch))
                .sum::<Effort>();
        }
        Ok(count)
    }
}

fn looped_iterations(batch: &LoopedMicroBatch) -> usize {
    batch.host.iterations
}

/// At least one of `all` updates, at most `some`, evenly spread: a curriculum makes the later ones longer.
fn spread(all: u64, some: u64) -> impl Iterator<Item = u64> {
    let some = some.clamp(1, all.max(1));
    // Of any number of updates: the product may be beyond 64 bits, the quotient is below `all`.
    (0..some).map(move |i| (u128::from(i) * u128::from(all) / u128::from(some)) as u64)
}

/// Sums over some updates.
#[derive(Debug, Default)]
struct Count {
    /// Updates of the whole training.
    all_updates: u64,
    updates: u64,
    samples: usize,
    micro_batches: usize,
    iterations: usize,
    effort: Effort,
}

impl Count {
    /// Means of what was counted; `forward_flops` tells what a model's forward pass over some work costs.
    fn forecast(&self, parameters: usize, forward_flops: impl Fn(&Work) -> f64) -> Forecast {
        let mean = |sum: f64| sum / self.updates as f64;
        Forecast {
            updates: self.all_updates,
            parameters,
            samples: mean(self.samples as f64),
            micro_batches: mean(self.micro_batches as f64),
            iterations: mean(self.iterations as f64),
            block_passes: mean(self.effort.block_passes() as f64),
            flops: mean(self.effort.flops(forward_flops)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_updates_of_any_number_are_spread_over_all_of_them() {
        assert_eq!(spread(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
        assert_eq!(spread(2, 4).collect::<Vec<_>>(), [0, 1]);
        assert!(spread(u64::MAX, 32).is_sorted());
    }
}
