//! Looped and causal transformers on burn, with greedy generation of reasoning chains.
//!
//! ```
//! use burn_flex::Flex;
//! use relay_models::{LoopedConfig, LoopedPrompts, TransformerConfig, generate_looped};
//!
//! # fn main() -> Result<(), relay_models::ModelError> {
//! let transformer = TransformerConfig { vocab: 20, d_model: 32, ..Default::default() };
//! let config = LoopedConfig { transformer, ..Default::default() };
//! config.validate()?;
//! let device = Default::default();
//! let model = config.init::<Flex>(&device, 1);
//! // One problem of two tokens, right-aligned in a window of three columns; two iterations.
//! let prompts = LoopedPrompts { tokens: vec![0, 7, 8], size: 1, width: 3, pads: vec![1], iterations: vec![2] };
//! let chains = generate_looped(&model, &prompts, &device)?;
//! assert_eq!(chains[0].columns.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! The models give states and logits; they compute no loss and know no task. From the outside in:
//!
//! | module | what is in it |
//! |---|---|
//! | `config` | settings of both models, their defaults and checks |
//! | `looped` | [`LoopedTransformer`]: `embed`, `iterate`, read-out, and the loop over them (section 3) |
//! | `causal` | [`CausalTransformer`]: the AR CoT models |
//! | `generate_looped`, `generate_causal`, `greedy` | greedy generation and its bookkeeping, over any model |
//! | `decode`, `cache` | the causal model one column at a time, with its keys and values, in ordinary operations |
//! | `block`, `layer`, `norm` | the block that both models are made of |
//! | `product` | the layers' matrix products in ordinary operations, in f32 or bf16 |
//! | `fused` | where layers and generation ask `relay-kernels` for hand-written kernels |
//! | `context`, `positions`, `indices`, `dropout` | what all layers and iterations of a forward pass share |
//! | `flops` | what a forward pass costs, counted from shapes |
//! | `init`, `ids` | initial weights, and parameter ids that are the same in every process |
//! | `device`, `error` | what a device is; what can go wrong |
//!
//! Initial weights are drawn on the host, each parameter's from a stream of its own, and a mask of dropout is a hash of its
//! name and the element: a seed gives the same weights and the same dropout on every backend.
//!
//! Two deviations from common practice, both for exactness. Attention rows that may see no key at
//! all (a window of nothing but padding) get zero instead of NaN. The GELU is the exact one, and so
//! is its derivative, on every backend.
//!
//! Floating point is that of f32 or bf16. What attention may not see is lowered by more than f16 can hold.

mod block;
mod cache;
mod causal;
mod config;
mod context;
mod decode;
mod device;
mod dropout;
mod error;
mod flops;
mod fused;
mod generate_causal;
mod generate_looped;
mod greedy;
mod ids;
mod indices;
mod init;
mod layer;
mod looped;
mod norm;
mod positions;
mod product;

pub use block::{Block, Head};
pub use causal::CausalTransformer;
pub use config::{CausalConfig, Injection, LoopedConfig, Positions, TransformerConfig};
pub use context::Context;
pub use dropout::DropoutKey;
pub use error::{ModelError, Result};
pub use flops::Work;
pub use generate_causal::{CausalChain, NextToken, decode_causal, generate_causal};
pub use generate_looped::{
    LoopedChain, LoopedDecoder, LoopedPrompts, decode_looped, generate_looped,
};
pub use greedy::Logits;
pub use ids::stable_id;
pub use layer::Layer;
pub use looped::{LinearInjection, LoopedInput, LoopedTransformer};
pub use norm::LayerNorm;
pub use relay_kernels::{Precision, ReadoutParams, with_precision};
