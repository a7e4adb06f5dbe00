//! A layer whose parameters are prepared once for all calls in a graph.

use burn::tensor::{Tensor, backend::Backend};

use crate::layer::{LayerParams, LayerSpec};

/// A layer's parameters in the form that the kernel of its backend reads them in.
///
/// It belongs to one graph: after a backward pass through any of its calls it must not be used again, which would lose the
/// gradients of the parameters.
#[derive(Debug, Clone)]
pub struct PreparedLayer<B: Backend> {
    #[cfg(feature = "cuda")]
    packed: Tensor<B, 1>,
    #[cfg(feature = "cuda")]
    gradient: crate::cuda::Gathered,
    /// Width of the model, and of the MLP, and heads.
    #[cfg(feature = "cuda")]
    sizes: [usize; 3],
    #[cfg(feature = "cuda")]
    precision: crate::Precision,
    #[cfg(not(feature = "cuda"))]
    never: (core::convert::Infallible, core::marker::PhantomData<B>),
}

/// Prepares the parameters of a layer with so many heads for several calls of [`prepared_layer`], or `None` where kernels take
/// them as they are, or there are none for such a layer: there [`layer`](crate::layer()) is to be asked.
///
/// On `burn::backend::Cuda` with the feature `cuda` the matrices are rounded once, as this thread's
/// [`precision`](crate::precision()) wants them now: calls are in that precision, too. They add their gradients up in f32
/// without the help of the graph.
///
/// # Panics
/// If the shapes of the parameters do not fit each other.
pub fn prepare_layer<B: Backend>(
    params: LayerParams<'_, B>,
    heads: usize,
) -> Option<PreparedLayer<B>> {
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        let [d] = params.norm_attention_gamma.dims();
        let [m] = params.up_bias.dims();
        let sizes = [d, m, heads];
        if !crate::cuda::has_layer::<B>(&params.up_bias.device(), sizes) {
            return None;
        }
        let tensors = params.primitives();
        crate::layer_op::check_shapes(&tensors.each_ref(), d, m);
        let gradient = crate::cuda::Gathered::default();
        return Some(PreparedLayer {
            packed: crate::cuda::pack_layer::<B>(tensors, gradient.clone())?,
            gradient,
            sizes,
            precision: crate::precision(),
        });
    }
    let _ = (params, heads);
    None
}

/// [`layer`](crate::layer()) with prepared parameters, or `None` where there is no kernel for this `spec`, or while kernels are
/// [off](crate::set_enabled).
///
/// # Shapes
/// - `x` and the result: `[batch, width, d_model]`.
///
/// # Panics
/// As [`layer`](crate::layer()) does; also if the layer was prepared for another number of heads, or if there was a backward pass
/// through one of its calls.
pub fn prepared_layer<B: Backend>(
    x: &Tensor<B, 3>,
    prepared: &PreparedLayer<B>,
    spec: &LayerSpec<'_>,
) -> Option<Tensor<B, 3>> {
    #[cfg(feature = "cuda")]
    {
        use crate::node::float_tensor;
        let (dims, [d, m, heads]) = (x.dims(), prepared.sizes);
        assert_eq!(dims[2], d, "width of the input of a layer of width {d}");
        assert_eq!(spec.heads, heads, "heads that the layer was prepared for");
        crate::layer_op::check_spec(dims, spec);
        prepared.gradient.check();
        if !crate::enabled() {
            return None;
        }
        let tensors = [float_tensor(x), float_tensor(&prepared.packed)];
        let form = (m, prepared.precision);
        crate::cuda::layer::<B>(tensors, prepared.gradient.clone(), form, spec)
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (x, spec);
        match prepared.never.0 {}
    }
}
