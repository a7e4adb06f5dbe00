//! The forward pass of a layer on the device.

use cubecl::server::Handle;

use super::constants;
use super::launch::Queue;
use super::layer::{Plan, Sizes};
use super::layer_backward::Kept;
use super::product::Product;
use super::rows::{Norm, attention};

/// What the forward pass reads.
#[derive(Debug)]
pub(super) struct Inputs {
    x: Handle,
    /// Scale and shift of the first norm, of the second, both biases.
    vectors: [Handle; 6],
    /// Queries, keys and values, output, up, down: transposed.
    weights: [Handle; 4],
}

impl Inputs {
    /// In the order of the fields.
    pub fn of(inputs: Vec<Handle>) -> Self {
        let [x, a, b, c, d, e, f, qkv, output, up, down] = super::op::exactly(inputs);
        Self {
            x,
            vectors: [a, b, c, d, e, f],
            weights: [qkv, output, up, down],
        }
    }
}

/// The result, and what the backward pass needs of what came between.
pub(super) fn run(queue: &Queue, plan: &Plan, inputs: &Inputs) -> (Handle, Kept<Handle>) {
    let Sizes { d, m, .. } = plan.sizes;
    let rows = plan.sizes.rows();
    let x = &inputs.x;
    let [gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias] = &inputs.vectors;
    let [qkv_weight, output, up, down] = &inputs.weights;
    let product = |left, right, n, k| Product {
        left,
        right,
        sizes: [rows, n, k],
    };
    let norm = |x, vectors| {
        let norm = Norm {
            sizes: [rows, d],
            epsilon: plan.epsilon,
            x,
            vectors,
            chosen: None,
        };
        norm.rounded(queue)
    };

    let [normed, stats] = norm(x, [gamma, beta]);
    let qkv = product(&normed, qkv_weight, 3 * d, d).rounded(queue);
    let columns = constants::columns(queue, plan);
    let [attended, sums] = attention(queue, plan, &columns, &qkv);
    let mask = plan.dropout.map(|dropout| dropout.attention);
    let middle = product(&attended, output, d, d).residual(queue, None, x, mask);

    let [normed_mlp, stats_mlp] = norm(&middle, [gamma_mlp, beta_mlp]);
    let [before, after] = product(&normed_mlp, up, m, d).gelu(queue, up_bias);
    let mask = plan.dropout.map(|dropout| dropout.mlp);
    let out = product(&after, down, d, m).residual(queue, Some(down_bias), &middle, mask);
    let kept = Kept {
        normed,
        stats,
        qkv,
        attended,
        sums,
        middle,
        normed_mlp,
        stats_mlp,
        before,
        after,
    };
    (out, kept)
}
