//! A tiny model for tests of what changes weights.

use burn::backend::{Autodiff, Flex};
use relay_models::{CausalConfig, CausalTransformer, TransformerConfig};

pub(crate) type Model = CausalTransformer<Autodiff<Flex>>;

/// The same one each time.
pub(crate) fn model() -> Model {
    let config = CausalConfig {
        transformer: TransformerConfig {
            vocab: 5,
            d_model: 8,
            heads: 2,
            layers: 1,
            mlp_ratio: 2,
            ..TransformerConfig::default()
        },
    };
    config.init(&Default::default(), 1)
}
