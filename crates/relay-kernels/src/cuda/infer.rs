//! A layer without a backward pass, in bf16: nothing is kept, and what one kernel leaves for the next is little.

use cubecl::server::Handle;

use super::attention::{WHOLE, attention_in_slabs};
use super::constants;
use super::launch::{Params, Queue};
use super::layer::{Plan, Sizes};
use super::parameters::{fields, forms};
use super::product::Product;
use super::rows::Norm;
use super::slabs::{NUMBERS, ROWS, grid, kernel, matrices};
use crate::switch::Precision;

/// Whether there are kernels for such a layer.
pub(super) fn fits(plan: &Plan) -> bool {
    let Sizes { width, d, m, .. } = plan.sizes;
    let small = width <= WHOLE && 3 * d + m <= NUMBERS;
    let plain = plan.precision == Precision::Bf16 && plan.dropout.is_none();
    plain && (d == 128 || d == 256) && m.is_multiple_of(ROWS) && small
}

/// The result, from input, packed parameters and [the matrices in slabs](super::slabs::of_layer).
pub(super) fn run(queue: &Queue, plan: &Plan, inputs: &[Handle]) -> Handle {
    let Sizes { d, m, .. } = plan.sizes;
    let rows = plan.sizes.rows();
    let x = &inputs[0];
    let [
        gamma,
        beta,
        gamma_mlp,
        beta_mlp,
        up_bias,
        down_bias,
        of_qkv,
        ..,
    ] = &fields(d, m, plan.precision).cut(&inputs[1]);
    let [of_output, of_up, of_down] = &matrices(d, m).cut(&inputs[2]);

    let (normed, stats) = (queue.operands(rows * d), queue.floats(2 * rows));
    let norm = Norm {
        sizes: [rows, d],
        epsilon: plan.epsilon,
        x,
        vectors: [gamma, beta],
        chosen: None,
    };
    norm.rounded(queue, &normed, &stats);
    let qkv = queue.operands(3 * rows * d);
    let [_, right] = &forms(of_qkv, queue.bytes() * 3 * d * d);
    let product = Product {
        left: &normed,
        right,
        sizes: [rows, 3 * d, d],
    };
    product.rounded(queue, &qkv);
    let attended = queue.operands(rows.next_multiple_of(ROWS) * d);
    let columns = constants::columns(queue, plan);
    attention_in_slabs(queue, plan, &columns, [&qkv, &attended]);
    let out = queue.floats(rows * d);
    queue.launch(
        kernel("project_mlp", d, 3 * d + m, true),
        grid(rows),
        &[
            &attended, x, gamma_mlp, beta_mlp, up_bias, down_bias, of_output, of_up, of_down, &out,
        ],
        Params::sizes([rows, m]).float(plan.epsilon),
    );
    out
}
