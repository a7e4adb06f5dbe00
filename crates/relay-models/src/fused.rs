//! The one place where a layer asks for a hand-written kernel.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use relay_kernels::{LayerParams, LayerSpec};

use crate::config::Positions;
use crate::context::Context;
use crate::layer::Layer;
use crate::norm::EPSILON;
use crate::positions::ROPE_BASE;

/// The layer's output by a hand-written kernel, if there is one for this backend and these settings.
///
/// Iteration and index name the layer's masks of dropout.
pub(crate) fn layer<B: Backend>(
    layer: &Layer<B>,
    x: &Tensor<B, 3>,
    context: &Context<B>,
    iteration: usize,
    index: usize,
) -> Option<Tensor<B, 3>> {
    if context.positions == Positions::Alibi {
        return None;
    }
    let spec = LayerSpec {
        heads: context.heads,
        causal: context.causal,
        pads: &context.pads,
        rope: context.positions == Positions::Rope,
        rope_base: ROPE_BASE,
        dropout: context
            .dropout
            .map(|dropout| dropout.layer(iteration, index)),
        epsilon: EPSILON,
    };
    let params = LayerParams {
        norm_attention_gamma: &layer.norm_attention.gamma.val(),
        norm_attention_beta: &layer.norm_attention.beta.val(),
        query: &layer.query.val(),
        key: &layer.key.val(),
        value: &layer.value.val(),
        output: &layer.output.val(),
        norm_mlp_gamma: &layer.norm_mlp.gamma.val(),
        norm_mlp_beta: &layer.norm_mlp.beta.val(),
        up: &layer.up.val(),
        up_bias: &layer.up_bias.val(),
        down: &layer.down.val(),
        down_bias: &layer.down_bias.val(),
    };
    relay_kernels::layer(x, params, &spec)
}
