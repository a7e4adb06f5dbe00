//! Masked cross-entropy as a weighted sum.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use relay_models::{Head, LayerNorm};

use crate::batch::{last_columns, last_states};
use crate::objective::Guesses;

/// Sum over the rows of `weights[row] * -log softmax(logits[row])[targets[row]]`.
///
/// Means are made by the weights (equations 8 and 9), so that parts of a batch can be added up in any grouping. The
/// fused kernel computes it where there is one.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`; `targets` and `weights`: `rows` entries; the result: `[1]`.
///
/// # Panics
/// When there are not as many targets and weights as rows; on a CPU, also for a target outside the vocabulary in a row that has weight.
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: &[i32],
    weights: &[f32],
) -> Tensor<B, 1> {
    let [rows, _] = logits.dims();
    assert_eq!(
        [rows, rows],
        [targets.len(), weights.len()],
        "rows of logits, and of targets and weights"
    );
    if let Some(loss) = relay_kernels::cross_entropy(&logits, targets, weights) {
        return loss;
    }
    let device = logits.device();
    let targets: Tensor<B, 2, Int> =
        Tensor::from_data(TensorData::new(targets.to_vec(), [rows, 1]), &device);
    let weights: Tensor<B, 2> =
        Tensor::from_data(TensorData::new(weights.to_vec(), [rows, 1]), &device);
    (log_softmax(logits, 1).gather(1, targets) * weights)
        .sum()
        .neg()
}

/// [`cross_entropy`] of what `head` reads out of states, after `norm` if they are not normalised.
///
/// The fused kernel reads out only rows that have a weight; on a GPU without a norm all of them.
///
/// # Shapes
/// - `states`: `[rows, d_model]`; `targets` and `weights`: `rows` entries; the result: `[1]`.
///
/// # Panics
/// When there are not as many targets and weights as rows; on a CPU, also for a target outside the vocabulary in a row that has weight.
pub fn readout_cross_entropy<B: Backend>(
    head: &Head<B>,
    norm: Option<&LayerNorm<B>>,
    states: Tensor<B, 2>,
    targets: &[i32],
    weights: &[f32],
) -> Tensor<B, 1> {
    let fused = head.with_readout(norm, |readout| {
        relay_kernels::readout_cross_entropy(&states, readout, targets, weights)
    });
    fused.unwrap_or_else(|| cross_entropy(logits(head, norm, states), targets, weights))
}

/// [`readout_cross_entropy`] of states whose columns have a weight among the last `columns` alone.
///
/// The fused kernel gets all columns: it leaves out what has no weight by itself, and better. Ordinary operations get the last
/// ones.
///
/// # Shapes
/// - `states`: `[size, width, d_model]`; targets and weights: `size * width` entries; the result: `[1]`.
///
/// # Panics
/// When there are not as many targets and weights as columns of all samples, or fewer than `columns` to a sample.
pub(crate) fn readout_of_last<B: Backend>(
    head: &Head<B>,
    norm: Option<&LayerNorm<B>>,
    states: &Tensor<B, 3>,
    (targets, weights): (&[i32], &[f32]),
    columns: usize,
) -> Tensor<B, 1> {
    let rows = |states: Tensor<B, 3>| {
        let [size, width, d_model] = states.dims();
        states.reshape([size * width, d_model])
    };
    let all = rows(states.clone());
    let fused = head.with_readout(norm, |readout| {
        relay_kernels::readout_cross_entropy(&all, readout, targets, weights)
    });
    fused.unwrap_or_else(|| {
        let [_, width, _] = states.dims();
        let targets = last_columns(targets, width, columns);
        let weights = last_columns(weights, width, columns);
        let states = rows(last_states(states, columns));
        cross_entropy(logits(head, norm, states), &targets, &weights)
    })
}

/// [`readout_cross_entropy`], and the guesses of the rows that have a weight.
pub(crate) fn judged_readout<B: AutodiffBackend>(
    head: &Head<B>,
    norm: Option<&LayerNorm<B>>,
    states: Tensor<B, 2>,
    targets: &[i32],
    weights: &[f32],
) -> (Tensor<B, 1>, Guesses<B::InnerBackend>) {
    let fused = head.with_readout(norm, |readout| {
        relay_kernels::readout_judged(&states, readout, targets, weights)
    });
    if let Some((loss, right)) = fused {
        return (loss, Guesses::known(right.inner(), weights));
    }
    let logits = logits(head, norm, states);
    let guesses = Guesses::new(logits.clone().inner(), targets, weights);
    (cross_entropy(logits, targets, weights), guesses)
}

fn logits<B: Backend>(
    head: &Head<B>,
    norm: Option<&LayerNorm<B>>,
    states: Tensor<B, 2>,
) -> Tensor<B, 2> {
    head.forward(match norm {
        Some(norm) => norm.forward(states),
        None => states,
    })
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::ElementConversion;
    use burn_flex::Flex;
    use burn_ndarray::NdArray;

    use super::*;

    /// Of two samples of five columns, with weights in the last two alone: of the last columns, and of all, with targets
    /// that exist.
    fn losses<B: Backend>() -> [f32; 2] {
        let numbers = |count: i64| {
            let all = Tensor::<B, 1, Int>::arange(0..count, &Default::default()).float();
            (all * 7.3).sin()
        };
        let head = Head {
            weight: Param::from_tensor(numbers(12).reshape([3, 4])),
            bias: Param::from_tensor(numbers(4)),
        };
        let states = (numbers(30) * 2.0).reshape([2, 5, 3]);
        let targets = [-1, -1, -1, 2, 0, -1, -1, -1, 3, 1];
        let weights = [0.0, 0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 0.25];
        let last = readout_of_last(&head, None, &states, (&targets, &weights), 2);
        let targets = targets.map(|target| target.max(0));
        let states = states.reshape([10, 3]);
        let all = readout_cross_entropy(&head, None, states, &targets, &weights);
        [last, all].map(|loss| loss.into_scalar().elem())
    }

    #[test]
    fn the_last_columns_hold_the_whole_loss() {
        // With the kernel, and by ordinary operations, which would not know what to take for a target of -1.
        let [last, all] = losses::<Flex>();
        assert_eq!(last, all);
        let [ordinary, of_all] = losses::<NdArray>();
        assert!(
            last > 0.1 && (ordinary - last).abs() < 1e-5 * last,
            "{last}, {ordinary}"
        );
        assert!((ordinary - of_all).abs() < 1e-5 * last);
    }
}
