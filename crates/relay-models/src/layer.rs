//! One pre-norm transformer layer: attention, then an MLP, each added to the stream.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;

use crate::cache::{KeysValues, LayerCache};
use crate::config::TransformerConfig;
use crate::context::Context;
use crate::decode::Column;
use crate::dropout::{Place, Site};
use crate::fused;
use crate::init::Init;
use crate::norm::LayerNorm;
use crate::positions::Rope;
use crate::product::{product, product_in_parts};

/// One layer. Matrices are `[in, out]`; `x * W` is the product.
///
/// `x1 = x + output(attention(norm_attention(x)))`, then
/// `x1 + down(gelu(up(norm_mlp(x1))))`, with the exact (erf) GELU.
#[derive(Module, Debug)]
pub struct Layer<B: Backend> {
    /// Before attention.
    pub norm_attention: LayerNorm<B>,
    /// `[d_model, d_model]`.
    pub query: Param<Tensor<B, 2>>,
    /// `[d_model, d_model]`.
    pub key: Param<Tensor<B, 2>>,
    /// `[d_model, d_model]`.
    pub value: Param<Tensor<B, 2>>,
    /// `[d_model, d_model]`.
    pub output: Param<Tensor<B, 2>>,
    /// Before the MLP.
    pub norm_mlp: LayerNorm<B>,
    /// `[d_model, hidden]`.
    pub up: Param<Tensor<B, 2>>,
    /// `[hidden]`.
    pub up_bias: Param<Tensor<B, 1>>,
    /// `[hidden, d_model]`.
    pub down: Param<Tensor<B, 2>>,
    /// `[d_model]`.
    pub down_bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Layer<B> {
    /// Standard deviations are 1 / sqrt(inputs), and for what is added to the stream smaller by
    /// sqrt(2 * layers), so that one pass over the block adds about one unit of variance.
    pub(crate) fn init(init: &Init<'_, B>, path: &str, config: &TransformerConfig) -> Self {
        let (d, hidden) = (config.d_model, config.d_model * config.mlp_ratio);
        let std = (d as f32).recip().sqrt();
        let residual = (2.0 * config.layers as f32).recip().sqrt();
        let name = |field: &str| format!("{path}.{field}");
        Self {
            norm_attention: LayerNorm::init(init, &name("norm_attention"), d),
            query: init.matrix(&name("query"), [d, d], std),
            key: init.matrix(&name("key"), [d, d], std),
            value: init.matrix(&name("value"), [d, d], std),
            output: init.matrix(&name("output"), [d, d], std * residual),
            norm_mlp: LayerNorm::init(init, &name("norm_mlp"), d),
            up: init.matrix(&name("up"), [d, hidden], std),
            up_bias: init.vector(&name("up_bias"), hidden, 0.0),
            down: init.matrix(
                &name("down"),
                [hidden, d],
                (hidden as f32).recip().sqrt() * residual,
            ),
            down_bias: init.vector(&name("down_bias"), d, 0.0),
        }
    }

    /// Applies the layer. `index` is the layer's place in its block.
    ///
    /// # Shapes
    /// `[size, width, d_model]` to the same.
    pub(crate) fn forward(
        &self,
        x: Tensor<B, 3>,
        context: &Context<B>,
        iteration: usize,
        index: usize,
    ) -> Tensor<B, 3> {
        if let Some(out) = fused::layer(self, &x, context, iteration, index) {
            return out;
        }
        let shape = x.dims();
        let site = |place| Site {
            iteration,
            layer: index,
            place,
        };
        // Everything on rows: a product of a 3-D tensor with a matrix is many small products.
        let x = x.reshape([shape[0] * shape[1], shape[2]]);
        let attention = self.attention(
            self.norm_attention.forward(x.clone()),
            context,
            site(Place::AttentionProbabilities),
        );
        let x = x + context.drop(
            product(attention, self.output.val()),
            site(Place::AttentionOutput),
        );
        let x =
            x.clone() + context.drop(self.mlp(self.norm_mlp.forward(x)), site(Place::MlpOutput));
        x.reshape(shape)
    }

    /// Self-attention without the output product; `[size * width, d_model]` to the same.
    fn attention(&self, x: Tensor<B, 2>, context: &Context<B>, site: Site) -> Tensor<B, 2> {
        let (size, width, heads, head_dim) =
            (context.size, context.width, context.heads, context.head_dim);
        let tables = context.tables();
        let split = |x: Tensor<B, 2>| x.reshape([size, width, heads, head_dim]).swap_dims(1, 2);
        let rope = tables.rope.as_ref();
        let query = split(turned(rope, product(x.clone(), self.query.val())));
        let key = split(turned(rope, product(x.clone(), self.key.val())));
        let value = split(product(x, self.value.val()));

        let scores =
            product(query, key.swap_dims(2, 3)).mul_scalar((head_dim as f32).recip().sqrt());
        let scores = match &tables.bias {
            Some(bias) => scores.reshape([size * heads, width * width]) + bias.clone(),
            None => scores.reshape([size * heads, width * width]),
        };
        let probabilities = softmax(scores.reshape([size * heads * width, width]), 1);
        let probabilities = context
            .drop(probabilities, site)
            .reshape([size, heads, width, width]);
        let out = product(probabilities, value)
            .swap_dims(1, 2)
            .reshape([size * width, heads * head_dim]);
        match &tables.seeing {
            Some(seeing) => out * seeing.clone(),
            None => out,
        }
    }

    /// Rotated keys, and values, of every column: `[size, width, d_model]` to
    /// `[size, heads, width, head_dim]` each.
    pub(crate) fn keys_values(&self, x: Tensor<B, 3>, context: &Context<B>) -> KeysValues<B> {
        let [size, width, d_model] = x.dims();
        let x = self
            .norm_attention
            .forward(x.reshape([size * width, d_model]));
        let split = |x: Tensor<B, 2>| {
            x.reshape([size, width, context.heads, context.head_dim])
                .swap_dims(1, 2)
        };
        let rope = context.tables().rope.as_ref();
        let keys = turned(rope, product(x.clone(), self.key.val()));
        [split(keys), split(product(x, self.value.val()))]
    }

    /// The layer for one new column that sees the cached ones and itself; `[rows, d_model]` to the same.
    pub(crate) fn append(
        &self,
        x: Tensor<B, 2>,
        cache: &mut LayerCache<B>,
        column: &Column<B>,
    ) -> Tensor<B, 2> {
        let (rows, heads, head_dim) = (x.dims()[0], column.heads, column.head_dim);
        let split = |x: Tensor<B, 2>| x.reshape([rows, heads, 1, head_dim]);
        let rope = column.rope.as_ref();
        let normal = self.norm_attention.forward(x.clone());
        let query = split(turned(rope, product(normal.clone(), self.query.val())));
        let key = split(turned(rope, product(normal.clone(), self.key.val())));
        cache.push([key, split(product(normal, self.value.val()))]);
        let attention = attend(query, cache, column.bias.as_ref());
        let attention = attention.reshape([rows, heads * head_dim]);
        let x = x + product(attention, self.output.val());
        x.clone() + self.mlp(self.norm_mlp.forward(x))
    }

    /// The MLP; `[rows, d_model]` to the same.
    pub(crate) fn mlp(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = product(x, self.up.val()) + self.up_bias.val().unsqueeze();
        product(gelu(hidden), self.down.val()) + self.down_bias.val().unsqueeze()
    }
}

/// Queries or keys, rotated where there is something to rotate by.
fn turned<B: Backend>(rope: Option<&Rope<B>>, x: Tensor<B, 2>) -> Tensor<B, 2> {
    match rope {
        Some(rope) => rope.apply(x),
        None => x,
    }
}

/// Attention of one query a row and head to all cached columns; `[rows, heads, 1, head_dim]` to the same.
fn attend<B: Backend>(
    query: Tensor<B, 4>,
    cache: &LayerCache<B>,
    bias: Option<&Tensor<B, 2>>,
) -> Tensor<B, 4> {
    let [rows, heads, _, head_dim] = query.dims();
    let scores = |[keys, _]: &KeysValues<B>| product(query.clone(), keys.clone().swap_dims(2, 3));
    let scores = Tensor::cat(cache.parts().map(scores).collect(), 3);
    let scores = scores.mul_scalar((head_dim as f32).recip().sqrt());
    let length = scores.dims()[3];
    let scores = scores.reshape([rows * heads, length]);
    let scores = match bias {
        Some(bias) => scores + bias.clone(),
        None => scores,
    };
    let probabilities = softmax(scores, 1).reshape([rows, heads, 1, length]);
    product_in_parts(probabilities, cache.parts().map(|[_, values]| values))
}

/// The exact GELU from its parts: burn's own has the derivative of the tanh approximation on some
/// backends.
fn gelu<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let erf = x.clone().mul_scalar(core::f32::consts::FRAC_1_SQRT_2).erf();
    x * erf.add_scalar(1.0).mul_scalar(0.5)
}
