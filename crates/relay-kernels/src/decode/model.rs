//! The parameters of a decoder.

use std::sync::Arc;

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::FlexTensor;

use super::cache::Layout;
use crate::block::Vectors;
use crate::floats::{Floats, primitive};
use crate::greedy::Readout;
use crate::isa::Isa;
use crate::layer::LayerParams;
use crate::weights::Weights;

/// A whole causal transformer.
#[derive(Debug)]
pub(super) struct Model {
    pub isa: Isa,
    pub layout: Layout,
    /// None for no positions.
    pub rope_base: Option<f32>,
    pub epsilon: f32,
    /// `[vocab, d]`.
    pub embedding: Floats,
    pub layers: Vec<Layer>,
    pub readout: Readout,
}

impl Model {
    /// Tokens that can be read.
    pub fn vocab(&self) -> usize {
        self.embedding.get().len() / self.layout.d()
    }

    /// Width of the widest MLP.
    pub fn m(&self) -> usize {
        let widths = self
            .layers
            .iter()
            .map(|layer| layer.weights.forward.up.cols);
        widths.max().unwrap_or(0)
    }
}

/// One layer.
#[derive(Debug)]
pub(super) struct Layer {
    /// Scale and shift of the first norm, of the second, both biases.
    vectors: [Floats; 6],
    pub weights: Arc<Weights>,
}

impl Layer {
    /// None if a tensor is not one of `f32` on Flex.
    pub fn new<B: Backend>(isa: Isa, d: usize, params: LayerParams<'_, B>) -> Option<Self> {
        let [_, m] = params.up.dims();
        if m == 0 {
            return None;
        }
        let vectors = [
            vector(params.norm_attention_gamma, d)?,
            vector(params.norm_attention_beta, d)?,
            vector(params.norm_mlp_gamma, d)?,
            vector(params.norm_mlp_beta, d)?,
            vector(params.up_bias, m)?,
            vector(params.down_bias, d)?,
        ];
        let matrices = [
            matrix(params.query, [d, d])?,
            matrix(params.key, [d, d])?,
            matrix(params.value, [d, d])?,
            matrix(params.output, [d, d])?,
            matrix(params.up, [d, m])?,
            matrix(params.down, [m, d])?,
        ];
        Some(Self {
            vectors,
            weights: Weights::of(isa, d, m, matrices),
        })
    }

    pub fn vectors(&self) -> Vectors<&[f32]> {
        Vectors::of(self.vectors.each_ref().map(Floats::get))
    }
}

fn vector<B: Backend>(tensor: &Tensor<B, 1>, len: usize) -> Option<Floats> {
    assert_eq!(tensor.dims(), [len], "a vector among a layer's parameters");
    Floats::new(&primitive::<B, FlexTensor, 1>(tensor)?)
}

fn matrix<B: Backend>(tensor: &Tensor<B, 2>, dims: [usize; 2]) -> Option<Floats> {
    assert_eq!(tensor.dims(), dims, "a matrix among a layer's parameters");
    Floats::new(&primitive::<B, FlexTensor, 2>(tensor)?)
}
