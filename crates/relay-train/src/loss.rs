//! Masked cross-entropy as a weighted sum.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use relay_kernels::ReadoutParams;
use relay_models::{EPSILON, Head, LayerNorm};

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
/// When there are not as many targets and weights as rows.
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
/// The fused kernel reads out only rows that have a weight.
///
/// # Shapes
/// - `states`: `[rows, d_model]`; `targets` and `weights`: `rows` entries; the result: `[1]`.
///
/// # Panics
/// When there are not as many targets and weights as rows.
pub fn readout_cross_entropy<B: Backend>(
    head: &Head<B>,
    norm: Option<&LayerNorm<B>>,
    states: Tensor<B, 2>,
    targets: &[i32],
    weights: &[f32],
) -> Tensor<B, 1> {
    let fused = with_params(head, norm, |readout| {
        relay_kernels::readout_cross_entropy(&states, readout, targets, weights)
    });
    fused.unwrap_or_else(|| cross_entropy(logits(head, norm, states), targets, weights))
}

/// [`readout_cross_entropy`], and the guesses of the rows that have a weight.
pub(crate) fn judged_readout<B: AutodiffBackend>(
    head: &Head<B>,
    norm: Option<&LayerNorm<B>>,
    states: Tensor<B, 2>,
    targets: &[i32],
    weights: &[f32],
) -> (Tensor<B, 1>, Guesses<B::InnerBackend>) {
    let fused = with_params(head, norm, |readout| {
        relay_kernels::readout_judged(&states, readout, targets, weights)
    });
    if let Some((loss, right)) = fused {
        return (loss, Guesses::known(right.inner(), weights));
    }
    let logits = logits(head, norm, states);
    let guesses = Guesses::new(logits.clone().inner(), targets, weights);
    (cross_entropy(logits, targets, weights), guesses)
}

fn with_params<B: Backend, R>(
    head: &Head<B>,
    norm: Option<&LayerNorm<B>>,
    run: impl FnOnce(ReadoutParams<'_, B>) -> R,
) -> R {
    let vectors = norm.map(|norm| [norm.gamma.val(), norm.beta.val()]);
    run(ReadoutParams {
        norm: vectors.as_ref().map(|vectors| vectors.each_ref()),
        weight: &head.weight.val(),
        bias: &head.bias.val(),
        epsilon: EPSILON,
    })
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
