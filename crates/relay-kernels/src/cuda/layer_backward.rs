//! The backward pass of a layer on the device, and what it needs of the forward pass.

use burn::tensor::DType;
use cubecl::server::Handle;

use super::constants;
use super::launch::Queue;
use super::layer::{Plan, Sizes};
use super::op::exactly;
use super::product::{Gradient, Product};
use super::rows::{NormBackward, attention_backward, round};

/// What comes between input and output, or one thing for each.
#[derive(Debug, Clone)]
pub(super) struct Kept<T> {
    /// The input normalised, and its rows' mean and reciprocal deviation.
    pub normed: T,
    pub stats: T,
    /// Queries, keys and values.
    pub qkv: T,
    /// What attention brings together, and the logarithms of its rows' sums.
    pub attended: T,
    pub sums: T,
    /// The stream between attention and MLP, normalised, and its moments.
    pub middle: T,
    pub normed_mlp: T,
    pub stats_mlp: T,
    /// What goes into GELU and comes out of it.
    pub before: T,
    pub after: T,
}

impl<T> Kept<T> {
    pub fn of(
        [
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
        ]: [T; 10],
    ) -> Self {
        Self {
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
        }
    }

    /// In the order of the fields.
    pub fn into_array(self) -> [T; 10] {
        [
            self.normed,
            self.stats,
            self.qkv,
            self.attended,
            self.sums,
            self.middle,
            self.normed_mlp,
            self.stats_mlp,
            self.before,
            self.after,
        ]
    }

    /// Types and shapes in the order of the fields.
    pub fn forms(sizes: &Sizes) -> [(DType, Vec<usize>); 10] {
        let Sizes { d, m, heads, .. } = *sizes;
        let rows = sizes.rows();
        [
            (DType::BF16, vec![rows, d]),
            (DType::F32, vec![rows, 2]),
            (DType::BF16, vec![rows, 3 * d]),
            (DType::BF16, vec![rows, d]),
            (DType::F32, vec![sizes.batch, heads, sizes.width]),
            (DType::F32, vec![rows, d]),
            (DType::BF16, vec![rows, d]),
            (DType::F32, vec![rows, 2]),
            (DType::BF16, vec![rows, m]),
            (DType::BF16, vec![rows, m]),
        ]
    }
}

/// What the backward pass reads.
#[derive(Debug)]
pub(super) struct Inputs {
    grad: Handle,
    x: Handle,
    /// Scales of the norms.
    gammas: [Handle; 2],
    /// Queries, keys and values, output, up, down.
    weights: [Handle; 4],
    kept: Kept<Handle>,
}

impl Inputs {
    /// In the order of the fields.
    pub fn of(inputs: Vec<Handle>) -> Self {
        let [grad, x, gamma, gamma_mlp, qkv, output, up, down, kept @ ..]: [Handle; 18] =
            exactly(inputs);
        Self {
            grad,
            x,
            gammas: [gamma, gamma_mlp],
            weights: [qkv, output, up, down],
            kept: Kept::of(kept),
        }
    }
}

/// The gradients of `x` and of the twelve parameters.
pub(super) fn run(queue: &Queue, plan: &Plan, inputs: Inputs) -> Vec<Handle> {
    let Sizes { d, m, .. } = plan.sizes;
    let rows = plan.sizes.rows();
    let Inputs {
        grad,
        x,
        gammas: [gamma, gamma_mlp],
        weights: [qkv_weight, output_weight, up_weight, down_weight],
        kept,
    } = inputs;
    let gradients = queue.zeros([d, d, d * d, d * d, d * d, d * d, d, d, d * m, m, m * d, d]);
    let [
        grad_gamma,
        grad_beta,
        query,
        key,
        value,
        output,
        grad_gamma_mlp,
        grad_beta_mlp,
        up,
        up_bias,
        down,
        down_bias,
    ] = gradients.each_ref();
    let product = |left, right, n, k| Product {
        left,
        right,
        sizes: [rows, n, k],
    };
    let add_to = |out, left, i, right, j| {
        let gradient = Gradient {
            left,
            right,
            rows,
            sizes: [i, j],
            stride: j,
            offset: 0,
        };
        gradient.add_to(queue, out);
    };

    // The MLP.
    let mask = plan.dropout.map(|dropout| dropout.mlp);
    let dropped = round(queue, [rows, d], &grad, mask, down_bias);
    add_to(down, &kept.after, m, &dropped, d);
    let before = product(&dropped, &down_weight, m, d).through_gelu(queue, &kept.before, up_bias);
    add_to(up, &kept.normed_mlp, d, &before, m);
    let normed = product(&before, &up_weight, d, m).rounded(queue);
    let norm = NormBackward {
        sizes: [rows, d],
        grad: &normed,
        wide: false,
        x: &kept.middle,
        stats: &kept.stats_mlp,
        gamma: &gamma_mlp,
        skip: Some(&grad),
        chosen: None,
        scale: None,
        sums: [grad_gamma_mlp, grad_beta_mlp],
    };
    let mask = plan.dropout.map(|dropout| dropout.attention);
    let [middle, dropped] = norm.run_dropping(queue, mask);

    // Attention.
    add_to(output, &kept.attended, d, &dropped, d);
    let attended = product(&dropped, &output_weight, d, d).rounded(queue);
    let columns = constants::columns(queue, plan);
    let saved = [&kept.qkv, &kept.attended, &attended, &kept.sums];
    let qkv = attention_backward(queue, plan, &columns, saved);
    for (index, out) in [query, key, value].into_iter().enumerate() {
        let gradient = Gradient {
            left: &kept.normed,
            right: &qkv,
            rows,
            sizes: [d, d],
            stride: 3 * d,
            offset: index * d,
        };
        gradient.add_to(queue, out);
    }
    let normed = product(&qkv, &qkv_weight, d, 3 * d).rounded(queue);
    let norm = NormBackward {
        sizes: [rows, d],
        grad: &normed,
        wide: false,
        x: &x,
        stats: &kept.stats,
        gamma: &gamma,
        skip: Some(&middle),
        chosen: None,
        scale: None,
        sums: [grad_gamma, grad_beta],
    };
    let grad_x = queue.floats(rows * d);
    norm.run(queue, &grad_x);
    core::iter::once(grad_x).chain(gradients).collect()
}
