//! One update of the weights.

use burn::tensor::backend::AutodiffBackend;
use relay_kernels::with_precision;
use relay_models::DropoutKey;

use crate::average::Average;
use crate::gradients::GradientSet;
use crate::manifest::Counters;
use crate::optimizer::Optimizer;
use crate::statistics::{UpdateNumbers, Window};
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

/// Gradients of all micro-batches, one step against them, and what to tell of it.
///
/// # Errors
/// When too many updates in a row had to be skipped.
pub(crate) fn update<B: AutodiffBackend, O: Objective<B>>(
    mut state: State<B, O::Model>,
    objective: &O,
    batches: &[O::Batch],
    config: &TrainConfig,
    device: &B::Device,
) -> Result<State<B, O::Model>> {
    let step = state.counters.step;
    let (mut gradients, mut numbers) = (GradientSet::new(), UpdateNumbers::default());
    for (batch, host) in (0..).zip(batches) {
        let key = DropoutKey {
            seed: config.seed,
            step,
            batch,
        };
        numbers.add(with_precision(config.precision, || {
            objective.backward(&state.model, host, key, device, &mut gradients)
        }));
    }
    let norm = gradients.norm();
    state.counters.step += 1;
    if numbers.loss.is_finite() && norm.is_finite() {
        let scale = config.recovery.rate(state.counters.recoveries);
        let factor = Schedule::new(config).factor(step) * scale;
        state.model = state
            .optimizer
            .update(state.model, &gradients, norm, factor);
        if let Some(average) = &mut state.average {
            average.update(&state.model, step);
        }
        state.counters.skipped_in_a_row = 0;
        state.window.add(&numbers, norm);
    } else {
        state.counters.skipped += 1;
        state.counters.skipped_in_a_row += 1;
        state.window.skipped += 1;
        tracing::warn!(
            "step {}: loss {} with gradient norm {norm}, update skipped",
            step + 1,
            numbers.loss
        );
        let updates = state.counters.skipped_in_a_row;
        if updates >= config.recovery.patience {
            let step = step + 1;
            return Err(TrainError::NotFinite { step, updates });
        }
    }
    Ok(state)
}
