//! The causal transformer: writes a chain of thought token by token (the AR CoT models).

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use crate::block::{Block, Head};
use crate::config::CausalConfig;
use crate::context::Context;
use crate::dropout::DropoutKey;
use crate::init::Init;

/// The same block as the looped model's, causal, applied once, with a head for the next token.
#[derive(Module, Debug)]
pub struct CausalTransformer<B: Backend> {
    /// Embedding, layers, final norm.
    pub block: Block<B>,
    /// The next token.
    pub head: Head<B>,
    config: CausalConfig,
}

impl CausalConfig {
    /// Makes a model. The same seed gives the same weights on every backend, and every model the same parameter ids: see
    /// [`stable_id`](crate::stable_id).
    ///
    /// # Panics
    /// When the settings are not valid: call [`validate`](Self::validate) first.
    pub fn init<B: Backend>(&self, device: &B::Device, seed: u64) -> CausalTransformer<B> {
        if let Err(error) = self.validate() {
            panic!("{error}");
        }
        let init = Init { device, seed };
        CausalTransformer {
            block: Block::init(&init, &self.transformer),
            head: Head::init(&init, "head", &self.transformer),
            config: self.clone(),
        }
    }
}

impl<B: Backend> CausalTransformer<B> {
    /// The settings that the model was made from.
    pub fn config(&self) -> &CausalConfig {
        &self.config
    }

    /// What all layers of one forward pass share.
    pub(crate) fn context(
        &self,
        tokens: &Tensor<B, 2, Int>,
        pads: &[usize],
        dropout: Option<DropoutKey>,
    ) -> Context<B> {
        Context::new(
            &self.config.transformer,
            true,
            tokens.dims(),
            pads,
            dropout,
            &tokens.device(),
        )
    }

    /// States before the final norm: for callers that read out only some of the columns.
    ///
    /// # Shapes
    /// Left-padded `[size, width]` to `[size, width, d_model]`.
    ///
    /// # Panics
    /// When `pads` has not one entry a sample or exceeds the width, and on a CPU when a token is outside the vocabulary; on CUDA such
    /// a token gets zeros instead.
    pub fn states(
        &self,
        tokens: Tensor<B, 2, Int>,
        pads: &[usize],
        dropout: Option<DropoutKey>,
    ) -> Tensor<B, 3> {
        let context = self.context(&tokens, pads, dropout);
        self.block
            .forward(self.block.embed_and_drop(tokens, &context), &context, 1)
    }

    /// Logits of the next token.
    ///
    /// # Shapes
    /// `[rows, d_model]` to `[rows, vocab]`.
    pub fn logits(&self, states: Tensor<B, 2>) -> Tensor<B, 2> {
        self.head.forward(self.block.norm_final.forward(states))
    }

    /// Logits of the token that follows each column.
    ///
    /// # Shapes
    /// Left-padded `[size, width]` to `[size, width, vocab]`.
    ///
    /// # Panics
    /// When `pads` has not one entry a sample or exceeds the width, and on a CPU when a token is outside the vocabulary; on CUDA such
    /// a token gets zeros instead.
    pub fn forward(
        &self,
        tokens: Tensor<B, 2, Int>,
        pads: &[usize],
        dropout: Option<DropoutKey>,
    ) -> Tensor<B, 3> {
        let states = self.states(tokens, pads, dropout);
        let [size, width, d_model] = states.dims();
        let logits = self.logits(states.reshape([size * width, d_model]));
        logits.reshape([size, width, self.config.transformer.vocab])
    }
}
