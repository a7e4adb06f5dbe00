//! The backward pass of a layer on the device, and what it needs of the forward pass.

use cubecl::server::Handle;

use super::attention::attention_backward;
use super::constants;
use super::launch::{Parts, Queue};
use super::layer::{Plan, Sizes};
use super::parameters::{fields, forms, sums};
use super::product::{Gradient, Product};
use super::rows::{NormBackward, round};

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
    /// The slope of GELU, and what comes out of it.
    pub slope: T,
    pub after: T,
}

impl<T> Kept<T> {
    /// In the order of the fields.
    pub fn of(parts: [T; 10]) -> Self {
        let [
            normed,
            stats,
            qkv,
            attended,
            sums,
            middle,
            normed_mlp,
            stats_mlp,
            slope,
            after,
        ] = parts;
        Self {
            normed,
            stats,
            qkv,
            attended,
            sums,
            middle,
            normed_mlp,
            stats_mlp,
            slope,
            after,
        }
    }
}

/// The gradient of the input; those of the parameters are added to `sum`. From the gradient of the result, the input, the
/// parameters and what was kept.
pub(super) fn run(queue: &Queue, plan: &Plan, inputs: &[Handle], sum: &Handle) -> Handle {
    let Sizes { d, m, .. } = plan.sizes;
    let rows = plan.sizes.rows();
    let [grad, x, parameters, kept, ..] = inputs else {
        unreachable!("{} inputs", inputs.len())
    };
    let kept = Kept::of(plan.sizes.kept(plan.precision).cut(kept));
    let parameters = fields(d, m, plan.precision).cut(parameters);
    let sums = sums(d, m).cut(sum);
    let [
        grad_gamma,
        grad_beta,
        grad_gamma_mlp,
        grad_beta_mlp,
        grad_up_bias,
        grad_down_bias,
        ..,
    ] = &sums;
    let sizes = [[d, 3 * d], [d, d], [d, m], [m, d]];
    // A product with a matrix's transpose, whose rows are the matrix's columns.
    let product = |left: &Handle, index: usize, run: &dyn Fn(Product<'_>)| {
        let [inner, outer]: [usize; 2] = sizes[index];
        let [right, _] = forms(&parameters[6 + index], queue.bytes() * inner * outer);
        run(Product {
            left,
            right: &right,
            sizes: [rows, inner, outer],
        });
    };
    let add_gradient = |index: usize, left: &Handle, right: &Handle| {
        let gradient = Gradient {
            left,
            right,
            rows,
            sizes: sizes[index],
        };
        gradient.add_to(queue, &sums[6 + index]);
    };
    let norm = |grad, x, stats, gamma, skip, sums| NormBackward {
        sizes: [rows, d],
        grad,
        wide: false,
        x,
        stats,
        gamma,
        skip: Some(skip),
        chosen: None,
        scale: None,
        sums,
    };
    let (row, wide) = (
        queue.bytes() * rows * d,
        queue.bytes() * rows * m.max(3 * d),
    );
    // Of gradients: of what dropout lets through, of something wide, of what was normalised, of the stream in between.
    let parts = Parts::of([row, wide, row, 4 * rows * d]);
    let [dropped, inner, narrow, middle] = &parts.cut(&queue.room(&parts));

    // The MLP.
    let mask = plan.dropout.map(|dropout| dropout.mlp);
    round(queue, [rows, d], grad, mask, [dropped, grad_down_bias]);
    add_gradient(3, &kept.after, dropped);
    product(dropped, 3, &|product| {
        product.through_gelu(queue, &kept.slope, grad_up_bias, inner);
    });
    add_gradient(2, &kept.normed_mlp, inner);
    product(inner, 2, &|product| product.rounded(queue, narrow));
    let mask = plan.dropout.map(|dropout| dropout.attention);
    let (stats, added) = (&kept.stats_mlp, [grad_gamma_mlp, grad_beta_mlp]);
    norm(narrow, &kept.middle, stats, &parameters[2], grad, added)
        .run_dropping(queue, mask, middle, dropped);

    // Attention.
    add_gradient(1, &kept.attended, dropped);
    product(dropped, 1, &|product| product.rounded(queue, narrow));
    let columns = constants::columns(queue, plan);
    let saved = [&kept.qkv, &kept.attended, narrow, &kept.sums];
    attention_backward(queue, plan, &columns, saved, inner);
    add_gradient(0, &kept.normed, inner);
    product(inner, 0, &|product| product.rounded(queue, narrow));
    let out = queue.floats(rows * d);
    let added = [grad_gamma, grad_beta];
    norm(narrow, x, &kept.stats, &parameters[0], middle, added).run(queue, &out);
    out
}
