//! The layer as an operation on the tensors of burn's CUDA backend.

use std::sync::Arc;

use burn::tensor::DType;

use super::layer_backward::{self, Kept};
use super::layer_forward::{self, Inputs};
use super::op::{Lazy, Operation, Saved, submit};
use super::rows::HEAD;
use super::weights::{self, Packed};
use crate::dropout::LayerDropout;
use crate::layer::LayerSpec;

/// Most columns of a sample: a head's scores of a row stay in the registers of a warp.
const COLUMNS: usize = 128;
/// Most columns of the stream: a row stays in the registers of a warp.
const WIDTH: usize = 1024;
/// What widths are multiples of: slices of the products.
const SLICE: usize = 64;

/// `x` and the twelve parameters, or one thing for each.
type Thirteen<T> = [T; 13];

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

    /// Whether the kernels are written for such sizes; they count in 32 bits.
    fn fit(&self) -> bool {
        let widest = self.m.max(3 * self.d);
        self.rows() > 0
            && self.m > 0
            && self.d == HEAD * self.heads
            && self.width <= COLUMNS
            && self.d <= WIDTH
            && self.d.is_multiple_of(SLICE)
            && self.m.is_multiple_of(SLICE)
            && self.rows() * widest < 1 << 31
    }
}

/// What is done, apart from the tensors that it is done to.
#[derive(Debug)]
pub(super) struct Plan {
    pub sizes: Sizes,
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
    vectors: [Lazy; 6],
    weights: [Packed; 4],
}

impl Call {
    /// None if a tensor is not of `f32`, or if there are no kernels for such sizes.
    pub fn new(
        tensors: Thirteen<Lazy>,
        [batch, width, d]: [usize; 3],
        spec: &LayerSpec<'_>,
    ) -> Option<Self> {
        let sizes = Sizes {
            batch,
            width,
            d,
            m: tensors[9].shape[1],
            heads: spec.heads,
        };
        let floats = tensors.iter().all(|tensor| tensor.dtype == DType::F32);
        if !floats || !sizes.fit() {
            return None;
        }
        let plan = Plan {
            sizes,
            causal: spec.causal,
            rope_base: spec.rope.then_some(spec.rope_base),
            pads: spec
                .pads
                .iter()
                .map(|pads| super::launch::narrow((*pads).min(width)))
                .collect(),
            slopes: spec.slopes.to_vec(),
            dropout: spec.dropout,
            epsilon: spec.epsilon,
        };
        let [
            x,
            gamma,
            beta,
            query,
            key,
            value,
            output,
            gamma_mlp,
            beta_mlp,
            up,
            up_bias,
            down,
            down_bias,
        ] = tensors;
        Some(Self {
            plan: Arc::new(plan),
            x,
            vectors: [gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias],
            weights: weights::of_layer([&query, &key, &value, &output, &up, &down]),
        })
    }

    /// What the forward pass reads, in the order of [`Inputs`].
    fn inputs(&self) -> Vec<Lazy> {
        let weights = self.weights.iter().map(|packed| packed.transposed.clone());
        let x = core::iter::once(self.x.clone());
        x.chain(self.vectors.iter().cloned())
            .chain(weights)
            .collect()
    }
}

impl Operation<13> for Call {
    type Saved = Left;

    fn infer(self) -> Lazy {
        let (plan, out) = (Arc::clone(&self.plan), stream(&self.plan.sizes));
        let [out] = submit("relay_layer", self.inputs(), [out], move |queue, inputs| {
            vec![layer_forward::infer(queue, &plan, &Inputs::of(inputs))]
        });
        out
    }

    fn forward(self) -> (Lazy, Left) {
        let plan = Arc::clone(&self.plan);
        let [a, b, c, d, e, f, g, h, i, j] = Kept::<Lazy>::forms(&plan.sizes);
        let outputs = [stream(&plan.sizes), a, b, c, d, e, f, g, h, i, j];
        let inputs = self.inputs();
        let results = submit(
            "relay_layer_forward",
            inputs,
            outputs,
            move |queue, inputs| {
                let (out, kept) = layer_forward::run(queue, &plan, &Inputs::of(inputs));
                core::iter::once(out).chain(kept.into_array()).collect()
            },
        );
        let [out, kept @ ..] = results;
        let [gamma, _, gamma_mlp, ..] = self.vectors;
        let left = Left {
            plan: self.plan,
            x: self.x,
            gammas: [gamma, gamma_mlp],
            weights: self.weights.map(|packed| packed.rows),
            kept: Kept::of(kept),
        };
        (out, left)
    }
}

/// The form of the stream: of a layer's input and output.
fn stream(sizes: &Sizes) -> (DType, Vec<usize>) {
    (DType::F32, vec![sizes.batch, sizes.width, sizes.d])
}

/// What a layer's forward pass leaves.
#[derive(Debug, Clone)]
pub(super) struct Left {
    plan: Arc<Plan>,
    x: Lazy,
    gammas: [Lazy; 2],
    /// As they are, which the backward pass reads as transposed.
    weights: [Lazy; 4],
    kept: Kept<Lazy>,
}

impl Saved<13> for Left {
    fn backward(self, grad: Lazy) -> Thirteen<Lazy> {
        let plan = self.plan;
        let Sizes { d, m, .. } = plan.sizes;
        let parameters: [&[usize]; 12] = [
            &[d],
            &[d],
            &[d, d],
            &[d, d],
            &[d, d],
            &[d, d],
            &[d],
            &[d],
            &[d, m],
            &[m],
            &[m, d],
            &[d],
        ];
        let outputs: Thirteen<(DType, Vec<usize>)> = core::array::from_fn(|index| match index {
            0 => stream(&plan.sizes),
            _ => (DType::F32, parameters[index - 1].to_vec()),
        });
        let inputs = [grad, self.x].into_iter().chain(self.gammas);
        let inputs = inputs.chain(self.weights).chain(self.kept.into_array());
        let name = "relay_layer_backward";
        submit(name, inputs.collect(), outputs, move |queue, inputs| {
            layer_backward::run(queue, &plan, layer_backward::Inputs::of(inputs))
        })
    }
}
