//! Layers, decoders and greedy tokens by hand-written kernels. Embedding, norm and linear injection ask for theirs where they
//! stand.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use relay_kernels::{Choices, Decoder, DecoderSpec, LayerParams, LayerSpec};

use crate::block::Head;
use crate::causal::CausalTransformer;
use crate::config::Positions;
use crate::context::Context;
use crate::layer::Layer;
use crate::norm::{EPSILON, LayerNorm};

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
    let spec = LayerSpec {
        heads: context.heads,
        causal: context.causal,
        pads: &context.pads,
        rope: context.positions == Positions::Rope,
        rope_base: context.rope_base,
        slopes: &context.slopes,
        dropout: context
            .dropout
            .map(|dropout| dropout.layer(iteration, index)),
        epsilon: EPSILON,
    };
    let prepare = || {
        with_params(layer, |params| {
            relay_kernels::prepare_layer(params, context.heads)
        })
    };
    match context.prepared(index, prepare) {
        Some(prepared) => relay_kernels::prepared_layer(x, &prepared, &spec),
        None => with_params(layer, |params| relay_kernels::layer(x, params, &spec)),
    }
}

/// A decoder for the whole model by hand-written kernels, if there is one for this backend and these settings.
pub(crate) fn decoder<B: Backend>(model: &CausalTransformer<B>) -> Option<Decoder> {
    let config = &model.config().transformer;
    if config.positions == Positions::Alibi {
        return None;
    }
    let spec = DecoderSpec {
        heads: config.heads,
        rope: config.positions == Positions::Rope,
        rope_base: config.rope_base,
        epsilon: EPSILON,
    };
    let block = &model.block;
    let norm = Some(&block.norm_final);
    let decoder = model.head.with_readout(norm, |readout| {
        Decoder::new(&block.embedding.val(), readout, &spec)
    });
    let mut layers = block.layers.iter();
    layers.try_fold(decoder?, |decoder, layer| {
        with_params(layer, |params| decoder.layer(params))
    })
}

/// The most probable token of each state and its probability by a hand-written kernel, if there is one.
///
/// # Shapes
/// `[rows, d_model]` to `rows`.
pub(crate) fn greedy<B: Backend>(
    states: &Tensor<B, 2>,
    norm: Option<&LayerNorm<B>>,
    head: &Head<B>,
) -> Option<Choices<B>> {
    head.with_readout(norm, |readout| relay_kernels::greedy(states, readout))
}

fn with_params<B: Backend, R>(layer: &Layer<B>, take: impl FnOnce(LayerParams<'_, B>) -> R) -> R {
    take(LayerParams {
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
    })
}
