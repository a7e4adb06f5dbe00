//! The most probable token of each state, chosen on the device: what comes back are two numbers a row instead of all logits.

use burn::tensor::DType;
use cubecl::server::Handle;

use super::launch::{Params, Queue, narrow};
use super::op::{Lazy, exactly, submit};
use super::product::Product;
use super::readout::{COLUMNS, columns};
use super::rows::{Norm, blocks, kernel, round};
use super::source::File;
use super::{slabs, weights};
use crate::switch::Precision;

/// Widest states whose rows stay in the registers of four lanes, in bf16.
const FUSED: usize = 256;

/// What is done, apart from the tensors that it is done to.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rows: usize,
    d: usize,
    vocab: usize,
    padded: usize,
    /// What is added to the variance, if there is a norm.
    epsilon: Option<f32>,
}

/// `[rows, 2]`: the token of each row, as a number of f32, and its probability. From states, matrix and bias, and with
/// `epsilon` the norm's scale and shift, in a precision; None if a tensor is not of `f32`, or if there are no kernels for such sizes.
pub(super) fn choose(
    tensors: Vec<Lazy>,
    epsilon: Option<f32>,
    precision: Precision,
) -> Option<Lazy> {
    let (rows, d, vocab) = (
        tensors[0].shape[0],
        tensors[0].shape[1],
        tensors[1].shape[1],
    );
    let plan = Plan {
        rows,
        d,
        vocab,
        padded: columns(&tensors, vocab)?,
        epsilon,
    };
    let mut inputs = tensors;
    let mut run: fn(&Queue, &Plan, Vec<Handle>) -> Handle = by_logits;
    if precision == Precision::Bf16 && d <= FUSED {
        inputs[1] = slabs::of_matrix(&inputs[1]);
        run = fused;
    } else {
        inputs[1] = weights::padded(&inputs[1], COLUMNS, precision).transposed;
    }
    let outputs = [(DType::F32, vec![rows, 2])];
    let work = move |queue: &Queue, inputs| vec![run(queue, &plan, inputs)];
    let [chosen] = submit(("relay_greedy", precision), inputs, outputs, work);
    Some(chosen)
}

/// Without logits in memory; the matrix is in slabs.
fn fused(queue: &Queue, plan: &Plan, inputs: Vec<Handle>) -> Handle {
    let [states, weight, bias, vectors @ ..] = inputs.as_slice() else {
        unreachable!("states, matrix and bias")
    };
    // Vectors that are not read have their places taken by one that is there anyway.
    let [gamma, beta] = match vectors {
        [gamma, beta] => [gamma, beta],
        _ => [bias; 2],
    };
    let chosen = queue.floats(2 * plan.rows);
    queue.launch(
        slabs::kernel("project_greedy", plan.d, plan.vocab, plan.epsilon.is_some()),
        slabs::grid(plan.rows),
        &[states, gamma, beta, weight, bias, &chosen],
        Params::sizes([plan.rows, plan.vocab]).float(plan.epsilon.unwrap_or_default()),
    );
    chosen
}

/// For wider states, and for f32: norm, product and choice one after the other.
fn by_logits(queue: &Queue, plan: &Plan, mut inputs: Vec<Handle>) -> Handle {
    let Plan { rows, d, .. } = *plan;
    let vectors = inputs.split_off(3);
    let [states, weight, bias] = exactly(inputs);
    let rounded = queue.operands(rows * d);
    match (plan.epsilon, vectors.as_slice()) {
        (Some(epsilon), [gamma, beta]) => {
            let norm = Norm {
                sizes: [rows, d],
                epsilon,
                x: &states,
                vectors: [gamma, beta],
                chosen: None,
            };
            norm.rounded(queue, &rounded, &queue.floats(2 * rows));
        }
        _ => {
            let [ignored] = queue.zeros([d]);
            round(queue, [rows, d], &states, None, [&rounded, &ignored]);
        }
    }
    let product = Product {
        left: &rounded,
        right: &weight,
        sizes: [rows, plan.padded, d],
    };
    // In f32: rounded logits would have more equals.
    let logits = queue.floats(rows * plan.padded);
    product.scaled(queue, &queue.one(), &logits);
    let chosen = queue.floats(2 * rows);
    let defines = vec![("PADDED", narrow(plan.padded)), queue.split()];
    queue.launch(
        kernel(File::Readout, "greedy", defines, 0),
        blocks(rows, usize::MAX),
        &[&logits, &bias, &chosen],
        Params::sizes([rows, plan.vocab, plan.padded]),
    );
    chosen
}
