//! Greedy decoding with a cache of keys and values, from prompts to finished texts in one op.

use core::any::TypeId;

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use crate::decode::cache::Layout;
use crate::decode::model::{Layer, Model};
use crate::decode::queue::Queue;
use crate::decode::worker::Worker;
use crate::floats::{Floats, primitive};
use crate::greedy::{Readout, ReadoutParams};
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
/// Each thread takes a few texts at a time and reads and writes on with them, through all layers, token after token,
/// without waiting for the others; the next text begins where one is done. What is written does not depend on what else
/// is in the batch nor on the number of threads, to the last bit.
#[derive(Debug)]
pub struct Decoder {
    model: Model,
}

impl Decoder {
    /// A decoder without layers, or `None` where there is no kernel for this backend or this `spec`.
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
        let [_, d] = embedding.dims();
        assert!(
            spec.heads > 0 && d % spec.heads == 0,
            "{} heads do not divide the width {d}",
            spec.heads
        );
        let head_dim = d / spec.heads;
        if spec.rope && head_dim % 2 == 1 || d == 0 {
            return None;
        }
        Some(Self {
            model: Model {
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
            },
        })
    }

    /// The decoder with one more layer, or `None` where there is no kernel for it.
    ///
    /// # Panics
    /// If the shapes of the parameters do not fit the embedding.
    pub fn layer<B: Backend>(mut self, params: LayerParams<'_, B>) -> Option<Self> {
        let layer = Layer::new(self.model.isa, self.model.layout.d(), params)?;
        self.model.layers.push(layer);
        self.model.layout.layers += 1;
        Some(self)
    }

    /// Continues every prompt until `end` or until it has written its number of tokens in `limits`, `end` counted.
    ///
    /// # Panics
    /// If a prompt is empty or has a token outside the vocabulary, if there is not one limit for each prompt, or if the
    /// decoder has no layers.
    pub fn generate(&self, prompts: &[Vec<u32>], end: u32, limits: &[usize]) -> Vec<Written> {
        assert_eq!(limits.len(), prompts.len(), "one limit for each prompt");
        assert!(!self.model.layers.is_empty(), "a decoder without layers");
        let vocab = self.model.vocab();
        for (index, prompt) in prompts.iter().enumerate() {
            let fits = prompt.iter().all(|token| (*token as usize) < vocab);
            assert!(
                fits && !prompt.is_empty(),
                "prompt {index} must not be empty nor hold tokens of {vocab} or more: {prompt:?}"
            );
        }
        let mut written = vec![Written::default(); prompts.len()];
        let queue = Queue::new(&self.model, prompts, end, limits);
        // Not a task for each text: those of a worker share the reading of the weights.
        let workers = rayon::current_num_threads().min(queue.len());
        let finished: Vec<_> = (0..workers)
            .into_par_iter()
            .map(|_| Worker::new(&self.model, &queue, workers).run())
            .collect();
        for (text, finished) in finished.into_iter().flatten() {
            written[text] = finished;
        }
        written
    }
}
