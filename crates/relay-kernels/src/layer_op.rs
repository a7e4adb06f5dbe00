//! The layer as an operation on the tensors of the Flex backend.

use std::sync::Arc;

use burn::tensor::TensorMetadata;
use burn_flex::FlexTensor;

use crate::attention::Attention;
use crate::block::{Block, Vectors};
use crate::floats::{Floats, tensor};
use crate::isa::Isa;
use crate::layer::LayerSpec;
use crate::node::Operation;
use crate::pool::Buffer;
use crate::rope::Rope;
use crate::switch::{Precision, precision};
use crate::weights::Weights;

/// `x` and the twelve parameters, or one thing for each.
type Thirteen<T> = [T; 13];

/// A layer applied to an input.
#[derive(Debug)]
pub(crate) struct Call {
    block: Block,
    x: Floats,
    /// Scale and shift of the first norm, of the second, both biases.
    vectors: [Floats; 6],
    weights: Arc<Weights>,
    /// Of training; inference is f32.
    precision: Precision,
}

impl Call {
    /// None if a tensor is not of `f32` or has no elements, or if heads of an odd width are to be rotated.
    pub fn new(
        tensors: Thirteen<&FlexTensor>,
        dims: [usize; 3],
        spec: &LayerSpec<'_>,
    ) -> Option<Self> {
        let [batch, width, d] = dims;
        let [.., up, _, _, _] = tensors;
        let m = up.shape()[1];
        check_spec(dims, spec);
        let [_, parameters @ ..] = tensors;
        check_shapes(&parameters, d, m);
        let head_dim = d / spec.heads;
        if spec.rope && head_dim % 2 == 1 || dims.contains(&0) || m == 0 {
            return None;
        }
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
        ] = tensors.map(Floats::new);
        let vectors = [gamma?, beta?, gamma_mlp?, beta_mlp?, up_bias?, down_bias?];
        let matrices = [query?, key?, value?, output?, up?, down?];
        let isa = Isa::best();
        let rope = spec.rope.then(|| Rope::of(width, head_dim, spec.rope_base));
        let attention = Attention {
            isa,
            width,
            heads: spec.heads,
            head_dim,
            causal: spec.causal,
            rope,
            slopes: spec.slopes.to_vec(),
            dropout: spec.dropout.map(|dropout| dropout.probabilities),
        };
        let pads = spec.pads.iter().map(|pads| (*pads).min(width)).collect();
        let block = Block {
            attention,
            batch,
            d,
            m,
            epsilon: spec.epsilon,
            dropout: spec.dropout,
            pads,
        };
        Some(Self {
            block,
            x: x?,
            vectors,
            weights: Weights::of(isa, d, m, matrices),
            precision: precision(),
        })
    }

    fn output(&self, out: Vec<f32>) -> FlexTensor {
        let Block {
            attention,
            batch,
            d,
            ..
        } = &self.block;
        tensor(out, [*batch, attention.width, *d])
    }

    fn vectors(&self) -> Vectors<&[f32]> {
        Vectors::of(self.vectors.each_ref().map(Floats::get))
    }
}

impl Operation<13> for Call {
    type Saved = Buffer;

    fn infer(&self) -> FlexTensor {
        let (x, weights) = (self.x.get(), &self.weights.forward);
        self.output(self.block.forward(x, self.vectors(), weights, None))
    }

    fn forward(&self) -> (FlexTensor, Buffer) {
        let mut saved = Buffer::take(self.block.batch * self.block.saved());
        let (block, x, vectors) = (&self.block, self.x.get(), self.vectors());
        let out = match self.precision {
            Precision::F32 => block.forward(x, vectors, &self.weights.forward, Some(&mut saved)),
            Precision::Bf16 => {
                block.forward(x, vectors, self.weights.forward_bf16(), Some(&mut saved))
            }
        };
        (self.output(out), saved)
    }

    fn backward(&self, saved: &Buffer, grad: &[f32]) -> Thirteen<FlexTensor> {
        let (d, m) = (self.block.d, self.block.m);
        let (block, x, vectors) = (&self.block, self.x.get(), self.vectors());
        let gradients = match self.precision {
            Precision::F32 => block.backward(x, grad, vectors, self.weights.backward(), saved),
            Precision::Bf16 => {
                block.backward(x, grad, vectors, self.weights.backward_bf16(), saved)
            }
        };
        let [query, key, value, output, up, down] = gradients.matrices;
        let [gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias] = gradients.vectors;
        [
            tensor(
                gradients.x,
                [self.block.batch, self.block.attention.width, d],
            ),
            tensor(gamma, [d]),
            tensor(beta, [d]),
            tensor(query, [d, d]),
            tensor(key, [d, d]),
            tensor(value, [d, d]),
            tensor(output, [d, d]),
            tensor(gamma_mlp, [d]),
            tensor(beta_mlp, [d]),
            tensor(up, [d, m]),
            tensor(up_bias, [m]),
            tensor(down, [m, d]),
            tensor(down_bias, [d]),
        ]
    }
}

/// Asserts that settings fit the input.
pub(crate) fn check_spec([batch, _, d]: [usize; 3], spec: &LayerSpec<'_>) {
    assert_eq!(
        spec.pads.len(),
        batch,
        "one entry of pads for each of the {batch} samples"
    );
    assert!(
        spec.heads > 0 && d % spec.heads == 0,
        "{} heads do not divide the width {d}",
        spec.heads
    );
    assert!(
        spec.slopes.is_empty() || spec.slopes.len() == spec.heads,
        "{} slopes for {} heads",
        spec.slopes.len(),
        spec.heads
    );
}

/// Asserts that the parameters are those of a layer of width `d` with an MLP of width `m`.
pub(crate) fn check_shapes<T: TensorMetadata>(tensors: &[&T; 12], d: usize, m: usize) {
    let expected: [&[usize]; 12] = [
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
    for (index, (tensor, expected)) in tensors.iter().zip(expected).enumerate() {
        let shape = tensor.shape();
        assert_eq!(
            shape.as_slice(),
            expected,
            "shape of parameter {index} of a layer of width {d}, {m}"
        );
    }
}
