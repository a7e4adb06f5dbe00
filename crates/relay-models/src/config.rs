//! Settings of the models.

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};

/// How a transformer knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Rotary embeddings of queries and keys (the paper's choice, section 3.2).
    #[default]
    Rope,
    /// No positional information but the causal mask, if there is one (NoPE).
    #[serde(alias = "nope")]
    None,
    /// A bias of `-slope * |i - j|` on the scores, with one slope a head.
    Alibi,
}

/// How the embedded problem enters the iterations of a looped transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Injection {
    /// Only as the first state (the paper's choice, section 3.1).
    #[default]
    None,
    /// Added to the state before every iteration.
    Add,
    /// `state * S + embedded * E` before every iteration; both matrices start as the identity.
    Linear,
}

/// The usual base of RoPE's frequencies.
const ROPE_BASE: f32 = 10_000.0;

/// Whether runs and checkpoints from before there was a choice have this base.
fn is_default_base(base: &f32) -> bool {
    *base == ROPE_BASE
}

/// Settings of the block that every model here is made of (Appendix D).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformerConfig {
    /// Number of tokens of the vocabulary. Default 291, the paper's three tasks.
    pub vocab: usize,
    /// Width of the residual stream. Default 256; smaller learns faster on a laptop.
    pub d_model: usize,
    /// Attention heads; must divide `d_model`. Default 4.
    pub heads: usize,
    /// Layers of the block. Default 3.
    pub layers: usize,
    /// Hidden width of the MLP as a multiple of `d_model`. Default 4.
    pub mlp_ratio: usize,
    /// Dropout rate in training. Default 0.1.
    pub dropout: f32,
    /// Positional scheme. Default RoPE.
    pub positions: Positions,
    /// Base of RoPE's frequencies, at least 1: pair `i` of a head turns by `base^(-2 i / head_dim)` a column, so that with
    /// more fewer pairs turn round within the window. Default 10,000; files hold it only where it differs.
    #[serde(skip_serializing_if = "is_default_base")]
    pub rope_base: f32,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            vocab: 291,
            d_model: 256,
            heads: 4,
            layers: 3,
            mlp_ratio: 4,
            dropout: 0.1,
            positions: Positions::Rope,
            rope_base: ROPE_BASE,
        }
    }
}

impl TransformerConfig {
    /// Width of one head.
    ///
    /// # Panics
    /// When there are no heads, which [`validate`](Self::validate) refuses.
    pub fn head_dim(&self) -> usize {
        self.d_model / self.heads
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`ModelError::Setting`] names the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        self.check_sizes()?;
        self.check_parameters()?;
        if !(self.rope_base.is_finite() && self.rope_base >= 1.0) {
            return Err(ModelError::setting(
                "transformer.rope_base",
                self.rope_base,
                "at least 1 and finite",
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(ModelError::setting(
                "transformer.dropout",
                self.dropout,
                "in [0, 1)",
            ));
        }
        Ok(())
    }

    /// That there is something of everything, and that the heads share the width.
    fn check_sizes(&self) -> Result<()> {
        let at_least_one = [
            ("transformer.vocab", self.vocab),
            ("transformer.d_model", self.d_model),
            ("transformer.heads", self.heads),
            ("transformer.layers", self.layers),
            ("transformer.mlp_ratio", self.mlp_ratio),
        ];
        for (field, value) in at_least_one {
            if value == 0 {
                return Err(ModelError::setting(field, value, "at least 1"));
            }
        }
        if !self.d_model.is_multiple_of(self.heads) {
            let expected = format!("a divisor of d_model, {}", self.d_model);
            return Err(ModelError::setting(
                "transformer.heads",
                self.heads,
                expected,
            ));
        }
        if self.positions == Positions::Rope && !self.head_dim().is_multiple_of(2) {
            let expected = format!(
                "such that d_model / heads is even with RoPE, heads = {}",
                self.heads
            );
            return Err(ModelError::setting(
                "transformer.d_model",
                self.d_model,
                expected,
            ));
        }
        Ok(())
    }

    /// That the model is not too large: counts of parameters and operations could not be told otherwise, and no memory holds it.
    fn check_parameters(&self) -> Result<()> {
        const MOST: f64 = (1_u64 << 40) as f64;
        let [vocab, d, layers, ratio] =
            [self.vocab, self.d_model, self.layers, self.mlp_ratio].map(|size| size as f64);
        let parameters = vocab * d + layers * (4.0 + 2.0 * ratio) * d * d;
        if parameters > MOST {
            let expected = format!(
                "such that the model has at most {MOST:.1e} parameters; with vocab {vocab}, layers {layers} and mlp_ratio \
                 {ratio} it has {parameters:.1e}"
            );
            return Err(ModelError::setting(
                "transformer.d_model",
                self.d_model,
                expected,
            ));
        }
        Ok(())
    }

    /// Floating-point operations of the block's products for one token in one pass (one iteration of
    /// a looped model), forward only, in a window of `width` columns. Training costs three times as much.
    pub(crate) fn flops_per_token_pass(&self, width: usize) -> u64 {
        let d = self.d_model as u64;
        let matrices = 4 * d * d + 2 * d * d * self.mlp_ratio as u64;
        let attention = 2 * d * width as u64;
        2 * self.layers as u64 * (matrices + attention)
    }

    /// Parameters of embedding, layers and final norm.
    fn number_of_parameters(&self) -> usize {
        let (d, hidden) = (self.d_model, self.d_model * self.mlp_ratio);
        let layer = 4 * d * d + 2 * d * hidden + hidden + d + 4 * d;
        self.vocab * d + self.layers * layer + 2 * d
    }

    fn head_parameters(&self) -> usize {
        (self.d_model + 1) * self.vocab
    }
}

/// Settings of a [`LoopedTransformer`](crate::LoopedTransformer) (section 3.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoopedConfig {
    /// The block that is applied again and again.
    pub transformer: TransformerConfig,
    /// How the embedded problem enters the iterations. Default none.
    pub injection: Injection,
    /// Whether a sinusoidal encoding of the iteration is added to the state. Default false.
    pub timestep: bool,
    /// Whether the final norm is part of what is looped, so that every iteration starts from a state of the same
    /// size. Default false: the norm then stands before the heads only, and the state grows with every iteration.
    pub norm_state: bool,
    /// Whether there is a head that spells the step of each iteration. Default true; the vanilla
    /// looped model has only the answer head.
    pub step_head: bool,
}

impl Default for LoopedConfig {
    fn default() -> Self {
        Self {
            transformer: TransformerConfig::default(),
            injection: Injection::None,
            timestep: false,
            norm_state: false,
            step_head: true,
        }
    }
}

impl LoopedConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ModelError::Setting`] names the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        self.transformer.validate()
    }

    /// Number of parameters of the model that [`init`](Self::init) makes.
    pub fn number_of_parameters(&self) -> usize {
        let heads = if self.step_head { 2 } else { 1 };
        let injection = match self.injection {
            Injection::Linear => 2 * self.transformer.d_model * self.transformer.d_model,
            Injection::None | Injection::Add => 0,
        };
        self.transformer.number_of_parameters()
            + heads * self.transformer.head_parameters()
            + injection
    }
}

/// Settings of a [`CausalTransformer`](crate::CausalTransformer) (the AR CoT baseline).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CausalConfig {
    /// The block, applied once.
    pub transformer: TransformerConfig,
}

impl CausalConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ModelError::Setting`] names the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        self.transformer.validate()
    }

    /// Number of parameters of the model that [`init`](Self::init) makes.
    pub fn number_of_parameters(&self) -> usize {
        self.transformer.number_of_parameters() + self.transformer.head_parameters()
    }
}
