//! A layer whose parameters are prepared once for all calls in a graph.

use burn::tensor::{Tensor, backend::Backend};

use crate::layer::{LayerParams, LayerSpec};

/// A layer's parameters in the form that the kernel of its backend reads them in.
///
/// It belongs to one graph: after a backward pass through any of its calls it must not be used again.
#[derive(Debug, Clone)]
pub struct PreparedLayer<B: Backend> {
    #[cfg(feature = "cuda")]
    packed: Tensor<B, 1>,
    #[cfg(feature = "cuda")]
    shared: crate::cuda::Shared,
    /// Width of the model, and of the MLP.
    #[cfg(feature = "cuda")]
    sizes: [usize; 2],
    #[cfg(feature = "cuda")]
    precision: crate::Precision,
    #[cfg(not(feature = "cuda"))]
    never: (core::convert::Infallible, core::marker::PhantomData<B>),
}

/// Prepares parameters for several calls of [`prepared_layer`], or `None` where kernels take them as they are, or there are
/// none: there [`layer`](crate::layer()) is to be asked.
///
/// On `burn::backend::Cuda` with the feature `cuda` the matrices are rounded once, as this thread's
/// [`precision`](crate::precision()) wants them now: calls are in that precision, too. They add their gradients up in f32
/// without the help of the graph.
///
/// # Panics
/// If the shapes of the parameters do not fit each other.
pub fn prepare_layer<B: Backend>(params: LayerParams<'_, B>) -> Option<PreparedLayer<B>> {
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        let tensors = params.primitives();
        let sizes = [
            params.norm_attention_gamma.dims()[0],
            params.up_bias.dims()[0],
        ];
        crate::layer_op::check_shapes(&tensors.each_ref(), sizes[0], sizes[1]);
        return Some(PreparedLayer {
            packed: crate::cuda::pack_layer::<B>(tensors)?,
            shared: crate::cuda::Shared::default(),
            sizes,
            precision: crate::precision(),
        });
    }
    let _ = params;
    None
}

/// [`layer`](crate::layer()) with prepared parameters, or `None` where there is no kernel for this `spec`.
///
/// # Shapes
/// - `x` and the result: `[batch, width, d_model]`.
///
/// # Panics
/// As [`layer`](crate::layer()) does.
pub fn prepared_layer<B: Backend>(
    x: &Tensor<B, 3>,
    prepared: &PreparedLayer<B>,
    spec: &LayerSpec<'_>,
) -> Option<Tensor<B, 3>> {
    #[cfg(feature = "cuda")]
    {
        use crate::node::float_tensor;
        let (dims, [d, m]) = (x.dims(), prepared.sizes);
        assert_eq!(dims[2], d, "width of the input of a layer of width {d}");
        crate::layer_op::check_spec(dims, spec);
        let tensors = [float_tensor(x), float_tensor(&prepared.packed)];
        let form = (m, prepared.precision);
        crate::cuda::layer::<B>(tensors, prepared.shared.clone(), form, spec)
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (x, spec);
        match prepared.never.0 {}
    }
}
