//! A whole transformer layer as one op.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, backend::Backend};

use crate::dropout::LayerDropout;
use crate::layer_op::Call;
use crate::node::{apply, float_tensor};

/// The parameters of a layer, borrowed from the model that owns them.
///
/// Matrices are `[in, out]` and multiply from the right; `d` is the model width, `m` the width of the MLP.
#[derive(Debug, Clone, Copy)]
pub struct LayerParams<'a, B: Backend> {
    /// Scale of the norm before attention, `[d]`.
    pub norm_attention_gamma: &'a Tensor<B, 1>,
    /// Shift of the norm before attention, `[d]`.
    pub norm_attention_beta: &'a Tensor<B, 1>,
    /// Query projection, `[d, d]`.
    pub query: &'a Tensor<B, 2>,
    /// Key projection, `[d, d]`.
    pub key: &'a Tensor<B, 2>,
    /// Value projection, `[d, d]`.
    pub value: &'a Tensor<B, 2>,
    /// Output projection of attention, `[d, d]`.
    pub output: &'a Tensor<B, 2>,
    /// Scale of the norm before the MLP, `[d]`.
    pub norm_mlp_gamma: &'a Tensor<B, 1>,
    /// Shift of the norm before the MLP, `[d]`.
    pub norm_mlp_beta: &'a Tensor<B, 1>,
    /// First matrix of the MLP, `[d, m]`.
    pub up: &'a Tensor<B, 2>,
    /// Bias of the first matrix of the MLP, `[m]`.
    pub up_bias: &'a Tensor<B, 1>,
    /// Second matrix of the MLP, `[m, d]`.
    pub down: &'a Tensor<B, 2>,
    /// Bias of the second matrix of the MLP, `[d]`.
    pub down_bias: &'a Tensor<B, 1>,
}

/// What a layer has to know besides its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerSpec<'a> {
    /// Number of attention heads; divides the model width.
    pub heads: usize,
    /// Whether a column sees only itself and the columns to its left.
    pub causal: bool,
    /// For each sample the number of columns at the left that are padding: they are never attended to. More than there are
    /// columns stand for all of them.
    pub pads: &'a [usize],
    /// Whether queries and keys are rotated by their column (RoPE, rotate-half).
    pub rope: bool,
    /// Base of the wavelengths of RoPE; usually 10000.
    pub rope_base: f32,
    /// For each head, what a score loses with every column between query and key (ALiBi); empty if that is nothing.
    pub slopes: &'a [f32],
    /// What is dropped, if anything.
    pub dropout: Option<LayerDropout>,
    /// Added to the variance in both norms; usually 1e-5.
    pub epsilon: f32,
}

/// A pre-norm transformer layer, or `None` where there is no kernel for this backend or this `spec`.
///
/// `x1 = x + attention(norm(x)) · output`, then `x1 + gelu(norm(x1) · up + up_bias) · down + down_bias`, with the exact
/// (erf) GELU and scores scaled by `1 / sqrt(head width)`. Rows that may attend to no column get zero from attention.
///
/// With dropout three places drop elements: the probabilities, and what attention and MLP add to the stream.
///
/// On `burn::backend::Cuda` there is a kernel with the feature `cuda`, recorded or not, in the thread's
/// [`precision`](crate::precision()): for heads of 64, a model width up to 1024 and a width of the MLP that is a multiple of 64.
/// Several calls in a graph are faster with [`prepare_layer`](crate::prepare_layer).
///
/// # Shapes
/// - `x` and the result: `[batch, width, d_model]`.
///
/// # Panics
/// If the shapes of the parameters do not fit `x`, if there is not one entry of `pads` for each sample, if there are
/// slopes and not one for each head, or if `heads` does not divide the model's width.
pub fn layer<B: Backend>(
    x: &Tensor<B, 3>,
    params: LayerParams<'_, B>,
    spec: &LayerSpec<'_>,
) -> Option<Tensor<B, 3>> {
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        crate::layer_op::check_spec(x.dims(), spec);
        let prepared = crate::prepare_layer(params, spec.heads)?;
        return crate::prepared_layer(x, &prepared, spec);
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l] = params.primitives();
    let tensors = [float_tensor(x), a, b, c, d, e, f, g, h, i, j, k, l];
    apply(tensors, |tensors| Call::new(tensors, x.dims(), spec))
}

impl<B: Backend> LayerParams<'_, B> {
    /// The primitives of the parameters in the order of their fields.
    pub(crate) fn primitives(&self) -> [FloatTensor<B>; 12] {
        [
            float_tensor(self.norm_attention_gamma),
            float_tensor(self.norm_attention_beta),
            float_tensor(self.query),
            float_tensor(self.key),
            float_tensor(self.value),
            float_tensor(self.output),
            float_tensor(self.norm_mlp_gamma),
            float_tensor(self.norm_mlp_beta),
            float_tensor(self.up),
            float_tensor(self.up_bias),
            float_tensor(self.down),
            float_tensor(self.down_bias),
        ]
    }
}
