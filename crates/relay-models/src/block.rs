//! What looped and causal transformers have in common: embedding, layers, final norm, heads.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::module::embedding;
use burn::tensor::{Int, Tensor};
use relay_kernels::ReadoutParams;

use crate::config::TransformerConfig;
use crate::context::Context;
use crate::device::is_cuda;
use crate::dropout::{Place, Site};
use crate::init::{EMBEDDING_STD, HEAD_STD, Init};
use crate::layer::Layer;
use crate::norm::{EPSILON, LayerNorm};

/// Token embedding, a stack of layers and the norm before the heads.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// `[vocab, d_model]`.
    pub embedding: Param<Tensor<B, 2>>,
    /// Applied one after the other.
    pub layers: Vec<Layer<B>>,
    /// Before the heads.
    pub norm_final: LayerNorm<B>,
}

impl<B: Backend> Block<B> {
    pub(crate) fn init(init: &Init<'_, B>, config: &TransformerConfig) -> Self {
        let layer = |index| Layer::init(init, &format!("block.layers.{index}"), config);
        Self {
            embedding: init.matrix(
                "block.embedding",
                [config.vocab, config.d_model],
                EMBEDDING_STD,
            ),
            layers: (0..config.layers).map(layer).collect(),
            norm_final: LayerNorm::init(init, "block.norm_final", config.d_model),
        }
    }

    /// `[size, width]` to `[size, width, d_model]`.
    ///
    /// On CUDA the backward pass of burn's embedding runs serially over all tokens, so there the
    /// rows are picked by a product with one-hot vectors; vocabularies here are small.
    ///
    /// # Panics
    /// When a token is outside the vocabulary; on CUDA such a token gets zeros instead.
    pub(crate) fn embed(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let weight = self.embedding.val();
        if let Some(embedded) = relay_kernels::embedding(&weight, &tokens) {
            return embedded;
        }
        if !is_cuda::<B>(&tokens.device()) {
            return embedding(weight, tokens);
        }
        let ([size, width], [vocab, d_model]) = (tokens.dims(), weight.dims());
        // Not burn's own `one_hot`, which asks the device for the largest token, twice a call.
        let ids = Tensor::<B, 1, Int>::arange(0..vocab as i64, &tokens.device());
        let one_hot = tokens
            .reshape([size * width, 1])
            .equal(ids.reshape([1, vocab]));
        one_hot
            .float()
            .matmul(weight)
            .reshape([size, width, d_model])
    }

    /// Embeds and drops.
    pub(crate) fn embed_and_drop(
        &self,
        tokens: Tensor<B, 2, Int>,
        context: &Context<B>,
    ) -> Tensor<B, 3> {
        context.drop(
            self.embed(tokens),
            Site {
                iteration: 0,
                layer: 0,
                place: Place::Embedding,
            },
        )
    }

    /// All layers once; `[size, width, d_model]` to the same.
    pub(crate) fn forward(
        &self,
        x: Tensor<B, 3>,
        context: &Context<B>,
        iteration: usize,
    ) -> Tensor<B, 3> {
        let layers = self.layers.iter().enumerate();
        layers.fold(x, |x, (index, layer)| {
            layer.forward(x, context, iteration, index)
        })
    }
}

/// A linear map from states to logits.
#[derive(Module, Debug)]
pub struct Head<B: Backend> {
    /// `[d_model, vocab]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[vocab]`.
    pub bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Head<B> {
    pub(crate) fn init(init: &Init<'_, B>, path: &str, config: &TransformerConfig) -> Self {
        Self {
            weight: init.matrix(
                &format!("{path}.weight"),
                [config.d_model, config.vocab],
                HEAD_STD,
            ),
            bias: init.vector(&format!("{path}.bias"), config.vocab, 0.0),
        }
    }

    /// Logits of states that are normalised.
    ///
    /// # Shapes
    /// `[rows, d_model]` to `[rows, vocab]`.
    pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }

    /// Gives `take` the head's parameters, and those of the norm that stands before it, as the kernels take them: for what makes logits and
    /// reads them in one, such as a loss.
    pub fn with_readout<R>(
        &self,
        norm: Option<&LayerNorm<B>>,
        take: impl FnOnce(ReadoutParams<'_, B>) -> R,
    ) -> R {
        let norm = norm.map(|norm| [norm.gamma.val(), norm.beta.val()]);
        take(ReadoutParams {
            norm: norm.as_ref().map(|norm| norm.each_ref()),
            weight: &self.weight.val(),
            bias: &self.bias.val(),
            epsilon: EPSILON,
        })
    }
}
