//! The layer as an operation on the tensors of burn's CUDA backend.

use std::sync::Arc;

use burn::tensor::DType;
use cubecl::server::Handle;

use super::attention::HEAD;
use super::launch::{Parts, Queue, bytes, narrow};
use super::op::{Lazy, Operation, Saved, submit};
use super::parameters::{Gathered, sums};
use super::{infer, layer_backward, layer_forward, slabs};
use crate::dropout::LayerDropout;
use crate::layer::LayerSpec;
use crate::switch::Precision;

/// Most columns of the stream: a row stays in the registers of a warp.
const WIDTH: usize = 1024;
/// What widths are multiples of: slices of the products.
const SLICE: usize = 64;

/// Whether the kernels are written for layers of width `d` with an MLP of width `m` and so many heads; they count in 32 bits.
pub(super) fn fits([d, m, heads]: [usize; 3], precision: Precision) -> bool {
    d == HEAD * heads
        && (1..=WIDTH).contains(&d)
        && m > 0
        && [d, m].iter().all(|size| size.is_multiple_of(SLICE))
        && 3 * d * d.max(m) * bytes(precision) < 1 << 30
}

/// The sizes of a layer's input and of its MLP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub batch: usize,
    pub width: usize,
    pub d: usize,
    pub m: usize,
    pub heads: usize,
}

impl Sizes {
    pub fn rows(&self) -> usize {
        self.batch * self.width
    }

    /// Whether kernels that are written for the layer are for so many rows; they count in 32 bits.
    fn fit(&self) -> bool {
        let widest = self.m.max(3 * self.d);
        self.rows() > 0 && self.rows() * widest < 1 << 31
    }

    /// What the forward pass leaves, see [`Kept`](layer_backward::Kept).
    pub fn kept(&self, precision: Precision) -> Parts<10> {
        let (rows, d, m, bytes) = (self.rows(), self.d, self.m, bytes(precision));
        let (row, wide) = (bytes * rows * d, bytes * rows * m);
        let moments = 8 * rows;
        Parts::of([
            row,
            moments,
            3 * row,
            row,
            4 * rows * self.heads,
            4 * rows * d,
            row,
            moments,
            wide,
            wide,
        ])
    }
}

/// What is done, apart from the tensors that it is done to.
#[derive(Debug)]
pub(super) struct Plan {
    pub sizes: Sizes,
    pub precision: Precision,
    pub causal: bool,
    /// Whether queries and keys are rotated.
    pub rope_base: Option<f32>,
    pub pads: Vec<u32>,
    pub slopes: Vec<f32>,
    pub dropout: Option<LayerDropout>,
    pub epsilon: f32,
}

/// A layer applied to an input.
#[derive(Debug)]
pub(super) struct Call {
    plan: Arc<Plan>,
    x: Lazy,
    /// The parameters, packed.
    packed: Lazy,
    gradient: Gathered,
}

impl Call {
    /// Of a layer of `m` columns in its MLP, whose parameters are packed in a precision. None if the input is not of `f32`, or
    /// if there are no kernels for so many rows.
    pub fn new(
        [x, packed]: [Lazy; 2],
        gradient: Gathered,
        (m, precision): (usize, Precision),
        spec: &LayerSpec<'_>,
    ) -> Option<Self> {
        let sizes = Sizes {
            batch: x.shape[0],
            width: x.shape[1],
            d: x.shape[2],
            m,
            heads: spec.heads,
        };
        if x.dtype != DType::F32 || !sizes.fit() {
            return None;
        }
        let pads = spec.pads.iter().map(|pads| (*pads).min(sizes.width));
        let plan = Plan {
            sizes,
            precision,
            causal: spec.causal,
            rope_base: spec.rope.then_some(spec.rope_base),
            pads: pads.map(narrow).collect(),
            slopes: spec.slopes.to_vec(),
            dropout: spec.dropout,
            epsilon: spec.epsilon,
        };
        Some(Self {
            plan: Arc::new(plan),
            x,
            packed,
            gradient,
        })
    }
}

/// The form of the stream: of a layer's input and output.
fn stream(sizes: &Sizes) -> (DType, Vec<usize>) {
    (DType::F32, vec![sizes.batch, sizes.width, sizes.d])
}

impl Operation<2> for Call {
    type Saved = ForBackward;

    fn infer(self) -> Lazy {
        let (out, plan) = (stream(&self.plan.sizes), self.plan);
        let mut inputs = vec![self.x, self.packed];
        let mut run: fn(&Queue, &Plan, &[Handle]) -> Handle = layer_forward::infer;
        if infer::fits(&plan) {
            let Sizes { d, m, .. } = plan.sizes;
            inputs.push(slabs::of_layer(&inputs[1], d, m));
            run = infer::run;
        }
        let name = ("relay_layer", plan.precision);
        let [out] = submit(name, inputs, [out], move |queue, inputs| {
            vec![run(queue, &plan, &inputs)]
        });
        out
    }

    fn forward(self) -> (Lazy, ForBackward) {
        let plan = Arc::clone(&self.plan);
        let outputs = [stream(&plan.sizes), plan.sizes.kept(plan.precision).form()];
        let inputs = vec![self.x.clone(), self.packed.clone()];
        let [out, kept] = submit(
            ("relay_layer_forward", self.plan.precision),
            inputs,
            outputs,
            move |queue, inputs| layer_forward::run(queue, &plan, &inputs).into(),
        );
        let left = ForBackward {
            plan: self.plan,
            x: self.x,
            packed: self.packed,
            kept,
            gradient: self.gradient,
        };
        (out, left)
    }
}

/// What a layer's forward pass leaves.
#[derive(Debug, Clone)]
pub(super) struct ForBackward {
    plan: Arc<Plan>,
    x: Lazy,
    packed: Lazy,
    kept: Lazy,
    gradient: Gathered,
}

impl Saved<2> for ForBackward {
    fn backward(self, grad: Lazy) -> [Option<Lazy>; 2] {
        let plan = self.plan;
        let Plan {
            sizes, precision, ..
        } = *plan;
        let x = stream(&sizes);
        let mut inputs = vec![grad, self.x, self.packed, self.kept];
        match self.gradient.get() {
            // The graph has it already: what it holds is added to where it is.
            Some(sum) => {
                inputs.push(sum);
                let work = move |queue: &_, inputs: Vec<_>| {
                    vec![layer_backward::run(queue, &plan, &inputs, &inputs[4])]
                };
                let name = ("relay_layer_backward", precision);
                let [grad_x] = submit(name, inputs, [x], work);
                [Some(grad_x), None]
            }
            None => {
                let fields = sums(sizes.d, sizes.m);
                let work = move |queue: &Queue, inputs: Vec<_>| {
                    let sum = queue.room(&fields);
                    queue.zero(&sum, fields.bytes);
                    vec![layer_backward::run(queue, &plan, &inputs, &sum), sum]
                };
                let outputs = [x, fields.form()];
                let name = ("relay_layer_backward_first", precision);
                let [grad_x, sum] = submit(name, inputs, outputs, work);
                self.gradient.put(sum.clone());
                [Some(grad_x), Some(sum)]
            }
        }
    }
}
