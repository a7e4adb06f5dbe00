//! The sum of two products as an operation on the tensors of burn's CUDA backend.

use burn::tensor::DType;
use cubecl::server::Handle;

use super::launch::{Parts, Queue, bytes};
use super::op::{Lazy, Operation, Saved, exactly, submit};
use super::product::{Gradient, Product};
use super::rows::round;
use super::weights::{self, Packed};
use crate::switch::Precision;

/// Most columns: a row stays in the registers of a warp when it is rounded.
const MOST: usize = 1024;
/// What columns are a multiple of: slices of the products.
const SLICE: usize = 64;

/// `x * a + y * b`.
#[derive(Debug)]
pub(super) struct Call {
    inputs: [Lazy; 2],
    weights: [Packed; 2],
    shape: [usize; 2],
    precision: Precision,
}

impl Call {
    /// None if a tensor is not of `f32`, or if there are no kernels for such sizes.
    pub fn new(tensors: [Lazy; 4], precision: Precision) -> Option<Self> {
        let (rows, d) = (tensors[0].shape[0], tensors[0].shape[1]);
        let floats = tensors.iter().all(|tensor| tensor.dtype == DType::F32);
        let fits = rows > 0 && (1..=MOST).contains(&d) && d.is_multiple_of(SLICE);
        if !floats || !fits || rows * d >= 1 << 31 {
            return None;
        }
        let [x, y, a, b] = tensors;
        Some(Self {
            inputs: [x, y],
            weights: [a, b].map(|matrix| weights::padded(&matrix, SLICE, precision)),
            shape: [rows, d],
            precision,
        })
    }
}

/// Both inputs, rounded.
fn kept([rows, d]: [usize; 2], bytes: usize) -> Parts<2> {
    Parts::of([bytes * rows * d; 2])
}

impl Operation<4> for Call {
    type Saved = ForBackward;

    fn forward(self) -> (Lazy, ForBackward) {
        let Self {
            shape, precision, ..
        } = self;
        let [a, b] = self.weights;
        let inputs = self.inputs.into_iter().chain([a.transposed, b.transposed]);
        let outputs = [
            (DType::F32, shape.to_vec()),
            kept(shape, bytes(precision)).form(),
        ];
        let [out, kept] = submit(
            ("relay_blend_forward", precision),
            inputs.collect(),
            outputs,
            move |queue, inputs| forward(queue, shape, exactly(inputs)).into(),
        );
        let left = ForBackward {
            kept,
            weights: [a.rows, b.rows],
            shape,
            precision,
        };
        (out, left)
    }
}

/// The result, and both inputs, rounded.
fn forward(queue: &Queue, shape: [usize; 2], [x, y, a, b]: [Handle; 4]) -> [Handle; 2] {
    let [rows, d] = shape;
    let kept = kept(shape, queue.bytes());
    let all = queue.room(&kept);
    let rounded = kept.cut(&all);
    let [ignored] = queue.zeros([d]);
    for (input, rounded) in [&x, &y].into_iter().zip(&rounded) {
        round(queue, shape, input, None, [rounded, &ignored]);
    }
    let product = |left, right| Product {
        left,
        right,
        sizes: [rows, d, d],
    };
    let [second, out] = [(); 2].map(|()| queue.floats(rows * d));
    product(&rounded[1], &b).scaled(queue, &queue.one(), &second);
    product(&rounded[0], &a).residual(queue, None, &second, None, &out);
    [out, all]
}

/// What the forward pass leaves.
#[derive(Debug, Clone)]
pub(super) struct ForBackward {
    kept: Lazy,
    /// As they are, which the backward pass reads as transposed.
    weights: [Lazy; 2],
    shape: [usize; 2],
    precision: Precision,
}

impl Saved<4> for ForBackward {
    fn backward(self, grad: Lazy) -> [Option<Lazy>; 4] {
        let shape @ [_, d] = self.shape;
        let outputs = [shape, shape, [d, d], [d, d]].map(|shape| (DType::F32, shape.to_vec()));
        let inputs = [grad, self.kept].into_iter().chain(self.weights);
        let gradients = submit(
            ("relay_blend_backward", self.precision),
            inputs.collect(),
            outputs,
            move |queue, inputs| backward(queue, shape, exactly(inputs)),
        );
        gradients.map(Some)
    }
}

/// The gradients of both inputs and of both matrices.
fn backward(queue: &Queue, shape: [usize; 2], inputs: [Handle; 4]) -> Vec<Handle> {
    let ([rows, d], [grad, kept_inputs, a, b]) = (shape, inputs);
    let [x, y] = kept(shape, queue.bytes()).cut(&kept_inputs);
    let [grad_a, grad_b, ignored] = queue.zeros([d * d, d * d, d]);
    let rounded = queue.operands(rows * d);
    round(queue, shape, &grad, None, [&rounded, &ignored]);
    let [grad_x, grad_y] = [(); 2].map(|()| queue.floats(rows * d));
    for (matrix, out) in [(&a, &grad_x), (&b, &grad_y)] {
        let product = Product {
            left: &rounded,
            right: matrix,
            sizes: [rows, d, d],
        };
        product.scaled(queue, &queue.one(), out);
    }
    for (left, out) in [(&x, &grad_a), (&y, &grad_b)] {
        let gradient = Gradient {
            left,
            right: &rounded,
            rows,
            sizes: [d, d],
        };
        gradient.add_to(queue, out);
    }
    vec![grad_x, grad_y, grad_a, grad_b]
}
