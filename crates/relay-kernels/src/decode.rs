//! Greedy decoding with a cache of keys and values, from prompts to finished texts in one op.

use core::any::TypeId;

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::{Flex, FlexTensor};

use crate::decode::cache::Layout;
use crate::decode::model::{Layer, Model};
use crate::floats::{Floats, primitive};
use crate::greedy::{Readout, ReadoutParams, check};
use crate::isa::Isa;
use crate::layer::LayerParams;
use crate::switch::enabled;

mod attend;
mod cache;
mod model;
mod pass;
mod queue;
mod worker;

/// What a decoder has to know besides its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecoderSpec {
    /// Number of attention heads; divides the model width.
    pub heads: usize,
    /// Whether queries and keys are rotated by their column (RoPE, rotate-half); without, there are no positions.
    pub rope: bool,
    /// Base of the wavelengths of RoPE; usually 10000.
    pub rope_base: f32,
    /// Added to the variance in the norms of the layers; usually 1e-5.
    pub epsilon: f32,
}

/// What was written after a prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Written {
    /// The new tokens, without the end token.
    pub tokens: Vec<u32>,
    /// The probability of each.
    pub probabilities: Vec<f32>,
    /// Whether the end token was written before the limit.
    pub ended: bool,
}

/// A causal transformer that continues texts: embedding, pre-norm layers as [`layer`](crate::layer) computes them, head.
///
/// On a CPU each thread takes a few texts at a time and reads and writes on with them, through all layers, token after
/// token, without waiting for the others; the next text begins where one is done. What is written does not depend on what
/// else is in the batch nor on the number of threads, to the last bit.
///
/// On `burn::backend::Cuda` there is one with the feature `cuda`, in [`Precision::Bf16`](crate::Precision::Bf16) alone: for
/// heads of 32 or 64, a model width of up to 1344 and MLPs of one width of up to 4096, both multiples of 64, and up to 4096
/// tokens, if what a text needs fits shared memory. There clusters of multiprocessors take texts as threads do here, and
/// again a text is the same in any batch. Matrices, keys and values are bf16, sums and the stream f32.
#[derive(Debug)]
pub struct Decoder {
    model: Kind,
}

/// Where a model is.
#[derive(Debug)]
enum Kind {
    Host(Box<Model>),
    #[cfg(feature = "cuda")]
    Device(Box<crate::cuda::Decoding>),
}

impl Decoder {
    /// A decoder without layers, or `None` where there is no kernel for this backend or this `spec`, or where the readout may
    /// choose tokens that the embedding does not have.
    ///
    /// # Shapes
    /// - `embedding`: `[vocab, d]`.
    ///
    /// # Panics
    /// If the readout does not fit the embedding, or if `heads` does not divide the model's width.
    pub fn new<B: Backend>(
        embedding: &Tensor<B, 2>,
        readout: ReadoutParams<'_, B>,
        spec: &DecoderSpec,
    ) -> Option<Self> {
        #[cfg(feature = "cuda")]
        if crate::cuda::wanted::<B>() {
            check_heads(embedding.dims()[1], spec);
            let epsilon = readout.norm.map(|_| readout.epsilon);
            let tensors = readout.primitives(embedding);
            let decoding = crate::cuda::decoding::<B>(tensors, epsilon, spec)?;
            return Some(Self {
                model: Kind::Device(Box::new(decoding)),
            });
        }
        if !enabled() {
            return None;
        }
        Self::on(Isa::best(), embedding, readout, spec)
    }

    /// As [`new`](Self::new) while kernels are on, for an instruction set.
    pub(crate) fn on<B: Backend>(
        isa: Isa,
        embedding: &Tensor<B, 2>,
        readout: ReadoutParams<'_, B>,
        spec: &DecoderSpec,
    ) -> Option<Self> {
        if TypeId::of::<B>() != TypeId::of::<Flex>() {
            return None;
        }
        let [known, d] = embedding.dims();
        check_heads(d, spec);
        let head_dim = d / spec.heads;
        // Every token that is written is read.
        if spec.rope && head_dim % 2 == 1 || d == 0 || check(d, &readout) > known {
            return None;
        }
        let model = Model {
            isa,
            layout: Layout {
                layers: 0,
                heads: spec.heads,
                head_dim,
                padded: head_dim.next_multiple_of(isa.lanes()),
            },
            rope_base: spec.rope.then_some(spec.rope_base),
            epsilon: spec.epsilon,
            embedding: Floats::new(&primitive::<B, FlexTensor, 2>(embedding)?)?,
            layers: Vec::new(),
            readout: Readout::new(isa, d, readout)?,
        };
        Some(Self {
            model: Kind::Host(Box::new(model)),
        })
    }

    /// The decoder with one more layer, or `None` where there is no kernel for it.
    ///
    /// # Panics
    /// If the shapes of the parameters do not fit the embedding.
    pub fn layer<B: Backend>(self, params: LayerParams<'_, B>) -> Option<Self> {
        let model = match self.model {
            Kind::Host(mut model) => {
                let layer = Layer::new(model.isa, model.layout.d(), params)?;
                model.layers.push(layer);
                model.layout.layers += 1;
                Kind::Host(model)
            }
            #[cfg(feature = "cuda")]
            Kind::Device(decoding) => {
                let tensors = params.primitives();
                let [m] = params.up_bias.dims();
                crate::layer_op::check_shapes(&tensors.each_ref(), decoding.d(), m);
                Kind::Device(Box::new(crate::cuda::decoding_layer::<B>(
                    *decoding, tensors,
                )?))
            }
        };
        Some(Self { model })
    }

    /// Continues every prompt until `end` or until it has written its number of tokens in `limits`, `end` counted.
    ///
    /// # Panics
    /// If a prompt is empty or has a token outside the vocabulary, if there is not one limit for each prompt, or if the
    /// decoder has no layers.
    pub fn generate(&self, prompts: &[Vec<u32>], end: u32, limits: &[usize]) -> Vec<Written> {
        let (layers, vocab) = match &self.model {
            Kind::Host(model) => (model.layers.len(), model.vocab()),
            #[cfg(feature = "cuda")]
            Kind::Device(decoding) => (decoding.depth(), decoding.vocab()),
        };
        assert_eq!(limits.len(), prompts.len(), "one limit for each prompt");
        assert!(layers > 0, "a decoder without layers");
        for (index, prompt) in prompts.iter().enumerate() {
            let fits = prompt.iter().all(|token| (*token as usize) < vocab);
            assert!(
                fits && !prompt.is_empty(),
                "prompt {index} must not be empty nor hold tokens of {vocab} or more: {prompt:?}"
            );
        }
        match &self.model {
            Kind::Host(model) => worker::generate(model, prompts, end, limits),
            #[cfg(feature = "cuda")]
            Kind::Device(decoding) => decoding.generate(prompts, end, limits),
        }
    }
}

/// Asserts that heads divide the model's width.
fn check_heads(d: usize, spec: &DecoderSpec) {
    assert!(
        spec.heads > 0 && d.is_multiple_of(spec.heads),
        "{} heads do not divide the width {d}",
        spec.heads
    );
}
