//! Kernels for NVIDIA GPUs, on the tensors of burn's CUDA backend.
//!
//! They multiply bf16 on the tensor cores, and are asked only where training is in [`Precision::Bf16`]. The kernels are
//! written in CUDA, in the `.cu` files beside this one, compiled by CubeCL when they are first launched, and run in its
//! queue between those of burn. What they allocate is CubeCL's memory too. See `op.rs` for how the tensors of fusion,
//! whose content is computed later, come by it.

mod blend;
mod cache;
mod constants;
mod embedding;
mod greedy;
mod infer;
mod launch;
mod layer;
mod layer_backward;
mod layer_forward;
mod norm;
mod op;
mod parameters;
mod product;
mod readout;
mod rows;
mod slabs;
mod source;
mod weights;

use core::any::Any;

use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Tensor, backend::Backend};
use cubecl::Runtime;
use cubecl::cuda::CudaRuntime;

pub(crate) use self::parameters::Shared;
use crate::cross_entropy::Labels;
use crate::floats::wrap;
use crate::layer::LayerSpec;
use crate::switch::{Precision, enabled, precision};

/// Whether the kernels are to be asked: for `B`, in this thread's precision.
pub(crate) fn wanted<B: Backend>() -> bool {
    enabled() && precision() == Precision::Bf16 && op::available::<B>()
}

/// The twelve parameters of a layer, packed; their shapes have been checked.
pub(crate) fn pack_layer<B: Backend>(tensors: [FloatTensor<B>; 12]) -> Option<Tensor<B, 1>> {
    op::apply(tensors, |tensors| {
        supported(&tensors[0]).then(|| parameters::Pack::new(tensors))?
    })
}

/// A layer with an MLP of `m` columns on an input and packed parameters, which fit together.
pub(crate) fn layer<B: Backend>(
    tensors: [FloatTensor<B>; 2],
    shared: Shared,
    m: usize,
    spec: &LayerSpec<'_>,
) -> Option<Tensor<B, 3>> {
    op::apply(tensors, |tensors| {
        layer::Call::new(tensors, shared, m, spec)
    })
}

/// [`blend`](crate::blend()) of tensors whose shapes have been checked.
pub(crate) fn blend<B: Backend>(tensors: [FloatTensor<B>; 4]) -> Option<Tensor<B, 2>> {
    op::apply(tensors, |tensors| {
        supported(&tensors[0]).then(|| blend::Call::new(tensors))?
    })
}

/// [`embedding`](crate::embedding()) of tensors whose shapes have been checked.
pub(crate) fn embedding<B: Backend>(
    table: FloatTensor<B>,
    tokens: IntTensor<B>,
) -> Option<Tensor<B, 3>> {
    let tokens = (Box::new(tokens) as Box<dyn Any>).downcast().ok()?;
    op::apply([table], |tensors| {
        supported(&tensors[0]).then(|| embedding::Call::new(tensors, *tokens))?
    })
}

/// [`norm`](crate::norm()) of tensors whose shapes have been checked.
pub(crate) fn norm<B: Backend>(tensors: [FloatTensor<B>; 3], epsilon: f32) -> Option<Tensor<B, 2>> {
    op::apply(tensors, |tensors| {
        supported(&tensors[0]).then(|| norm::Call::new(tensors, epsilon))?
    })
}

/// [`readout_cross_entropy`](crate::readout_cross_entropy()) of tensors whose shapes have been checked: states, matrix and
/// bias, and with `epsilon` the norm's scale and shift.
pub(crate) fn readout_cross_entropy<B: Backend, const N: usize>(
    tensors: [FloatTensor<B>; N],
    epsilon: Option<f32>,
    labels: Labels,
) -> Option<Tensor<B, 1>> {
    op::apply::<B, readout::Call, N, 1>(tensors, |tensors| {
        supported(&tensors[0]).then(|| readout::Call::new(tensors.into(), epsilon, labels))?
    })
}

/// [`greedy`](crate::greedy()) of tensors whose shapes have been checked: states, matrix and bias, and with `epsilon` the
/// norm's scale and shift.
pub(crate) fn greedy<B: Backend>(
    tensors: Vec<FloatTensor<B>>,
    epsilon: Option<f32>,
) -> Option<Vec<(u32, f32)>> {
    let tensors = op::untracked::<B>(tensors)?;
    if !supported(tensors.first()?) {
        return None;
    }
    let chosen: Tensor<B, 2> = wrap(greedy::choose(tensors, epsilon)?)?;
    let chosen: Vec<f32> = chosen.into_data().iter().collect();
    let pairs = chosen.chunks_exact(2);
    Some(pairs.map(|pair| (pair[0] as u32, pair[1])).collect())
}

/// Whether the device has what the kernels are written for, which came with compute capability 9.0 (Hopper).
fn supported(tensor: &op::Lazy) -> bool {
    let client = CudaRuntime::client(tensor.client.device());
    client.features().cube_cluster
}
