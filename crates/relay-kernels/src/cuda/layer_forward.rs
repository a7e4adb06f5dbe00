//! The forward pass of a layer on the device.

use cubecl::server::Handle;

use super::attention::attention;
use super::constants;
use super::launch::{Parts, Queue};
use super::layer::{Plan, Sizes};
use super::layer_backward::Kept;
use super::parameters::{fields, forms};
use super::product::Product;
use super::rows::Norm;

/// The result, and what the backward pass needs of what came between. From input and parameters.
pub(super) fn run(queue: &Queue, plan: &Plan, inputs: &[Handle]) -> [Handle; 2] {
    let parts = plan.sizes.kept(plan.precision);
    let all = queue.room(&parts);
    let kept = Kept::of(parts.cut(&all));
    let slope = Some(&kept.slope);
    [pass(queue, plan, inputs, &kept, slope), all]
}

/// The result.
pub(super) fn infer(queue: &Queue, plan: &Plan, inputs: &[Handle]) -> Handle {
    let Sizes { d, m, heads, .. } = plan.sizes;
    let (rows, bytes) = (plan.sizes.rows(), queue.bytes());
    let row = bytes * rows * d;
    // What comes later takes the place of what is not needed any more: the MLP that of queries, keys and values.
    let parts = Parts::of([
        row,
        8 * rows,
        (3 * row).max(bytes * rows * m),
        row,
        4 * rows * heads,
        4 * rows * d,
    ]);
    let [normed, stats, wide, attended, sums, middle] = parts.cut(&queue.room(&parts));
    let kept = Kept {
        normed_mlp: normed.clone(),
        stats_mlp: stats.clone(),
        slope: wide.clone(),
        after: wide.clone(),
        qkv: wide,
        normed,
        stats,
        attended,
        sums,
        middle,
    };
    pass(queue, plan, inputs, &kept, None)
}

fn pass(
    queue: &Queue,
    plan: &Plan,
    inputs: &[Handle],
    kept: &Kept<Handle>,
    slope: Option<&Handle>,
) -> Handle {
    let Sizes { d, m, .. } = plan.sizes;
    let rows = plan.sizes.rows();
    let x = &inputs[0];
    let parameters = fields(d, m, plan.precision).cut(&inputs[1]);
    let [
        gamma,
        beta,
        gamma_mlp,
        beta_mlp,
        up_bias,
        down_bias,
        matrices @ ..,
    ] = &parameters;
    let sizes = [[d, 3 * d], [d, d], [d, m], [m, d]];
    // A product with the rows of a matrix's transpose.
    let product = |left: &Handle, index: usize, run: &dyn Fn(Product<'_>)| {
        let [inner, outer]: [usize; 2] = sizes[index];
        let [_, right] = forms(&matrices[index], queue.bytes() * inner * outer);
        run(Product {
            left,
            right: &right,
            sizes: [rows, outer, inner],
        });
    };
    let norm = |x: &Handle, vectors, out: &Handle, stats: &Handle| {
        let norm = Norm {
            sizes: [rows, d],
            epsilon: plan.epsilon,
            x,
            vectors,
            chosen: None,
        };
        norm.rounded(queue, out, stats);
    };

    norm(x, [gamma, beta], &kept.normed, &kept.stats);
    product(&kept.normed, 0, &|product| {
        product.rounded(queue, &kept.qkv);
    });
    let columns = constants::columns(queue, plan);
    let buffers = [&kept.qkv, &kept.attended, &kept.sums];
    attention(queue, plan, &columns, buffers);
    let mask = plan.dropout.map(|dropout| dropout.attention);
    product(&kept.attended, 1, &|product| {
        product.residual(queue, None, x, mask, &kept.middle);
    });

    let vectors = [gamma_mlp, beta_mlp];
    norm(&kept.middle, vectors, &kept.normed_mlp, &kept.stats_mlp);
    product(&kept.normed_mlp, 2, &|product| {
        product.gelu(queue, up_bias, slope, &kept.after);
    });
    let out = queue.floats(rows * d);
    let mask = plan.dropout.map(|dropout| dropout.mlp);
    product(&kept.after, 3, &|product| {
        product.residual(queue, Some(down_bias), &kept.middle, mask, &out);
    });
    out
}
