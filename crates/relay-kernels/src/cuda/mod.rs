//! Kernels for NVIDIA GPUs, on the tensors of burn's CUDA backend.
//!
//! They multiply bf16 on the tensor cores: in [`Precision::Bf16`] numbers rounded to it, in [`Precision::F32`] sums of two of
//! bf16, which have 16 bits of the numbers; see `rows.cuh`. The kernels are written in CUDA, in the `.cu` files beside this
//! one, compiled by CubeCL when they are first launched, and run in its queue between those of burn. What they allocate is
//! CubeCL's memory too. See `op.rs` for how the tensors of fusion, whose content is computed later, come by it.

mod attention;
mod blend;
mod cache;
mod constants;
mod decode;
mod decode_plan;
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
mod update;
mod weights;

use core::any::Any;

use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Tensor, backend::Backend};
use cubecl::Runtime;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::ir::features::{Features, Tma};

pub(crate) use self::decode::Decoding;
pub(crate) use self::parameters::{Gathered, Shared};
use crate::adamw::Step;
use crate::choices::Choices;
use crate::cross_entropy::Labels;
use crate::decode::DecoderSpec;
use crate::floats::wrap;
use crate::layer::LayerSpec;
use crate::node::float_tensor;
use crate::switch::{Precision, enabled, precision};
use crate::update::Update;

/// Whether `B` has kernels here.
pub(crate) fn is_backend<B: Backend>() -> bool {
    op::available::<B>()
}

/// Whether the kernels are to be asked for `B`.
pub(crate) fn wanted<B: Backend>() -> bool {
    enabled() && op::available::<B>()
}

/// Whether there is a kernel for layers of a width, with an MLP of a width and so many heads, on a device; known before anything
/// is made of their parameters.
pub(crate) fn has_layer<B: Backend>(device: &B::Device, [d, m, heads]: [usize; 3]) -> bool {
    let device = (device as &dyn Any).downcast_ref::<CudaDevice>();
    layer::fits([d, m, heads], precision()) && device.is_some_and(has_kernels)
}

/// The twelve parameters of such a layer, packed; their shapes have been checked. Their gradient is that which its calls gather.
pub(crate) fn pack_layer<B: Backend>(
    tensors: [FloatTensor<B>; 12],
    gradient: Gathered,
) -> Option<Tensor<B, 1>> {
    op::apply(tensors, |tensors| {
        parameters::Pack::new(tensors, gradient, precision())
    })
}

/// A layer with an MLP of so many columns on an input and parameters packed in a precision, which fit together.
pub(crate) fn layer<B: Backend>(
    tensors: [FloatTensor<B>; 2],
    gradient: Gathered,
    form: (usize, Precision),
    spec: &LayerSpec<'_>,
) -> Option<Tensor<B, 3>> {
    op::apply(tensors, |tensors| {
        layer::Call::new(tensors, gradient, form, spec)
    })
}

/// [`blend`](crate::blend()) of tensors whose shapes have been checked.
pub(crate) fn blend<B: Backend>(tensors: [FloatTensor<B>; 4]) -> Option<Tensor<B, 2>> {
    op::apply(tensors, |tensors| {
        supported(&tensors[0]).then(|| blend::Call::new(tensors, precision()))?
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
/// bias, and with `epsilon` the norm's scale and shift. The number of right guesses is put to `right`.
pub(crate) fn readout_cross_entropy<B: Backend, const N: usize>(
    tensors: [FloatTensor<B>; N],
    epsilon: Option<f32>,
    labels: impl FnOnce() -> Labels,
    right: Option<Shared>,
) -> Option<Tensor<B, 1>> {
    let form = (precision(), right);
    op::apply::<B, readout::Call, N, 1>(tensors, |tensors| {
        supported(&tensors[0]).then(|| readout::Call::new(tensors.into(), epsilon, labels, form))?
    })
}

/// What was put to `right`, recorded in no graph.
pub(crate) fn known_right<B: Backend>(right: &Shared) -> Option<Tensor<B, 1>> {
    op::constant(right.get()?)
}

/// [`greedy`](crate::greedy()) of tensors whose shapes have been checked: states, matrix and bias, and with `epsilon` the
/// norm's scale and shift.
pub(crate) fn greedy<B: Backend>(
    tensors: Vec<FloatTensor<B>>,
    epsilon: Option<f32>,
) -> Option<Choices<B>> {
    let tensors = op::untracked::<B>(tensors)?;
    if !supported(tensors.first()?) {
        return None;
    }
    Some(Choices::later(wrap(greedy::choose(
        tensors,
        epsilon,
        precision(),
    )?)?))
}

/// [`update`](crate::update()) where AdamW moves all, in either precision; the updates as they are where there is no kernel
/// for them.
pub(crate) fn update<B: Backend>(
    updates: Vec<Update<B>>,
) -> Result<Vec<Update<B>>, Vec<Update<B>>> {
    let Some(moved) = moved(&updates) else {
        return Err(updates);
    };
    let moved = moved.into_iter().zip(updates);
    let next = |([value, first, second], update): ([Tensor<B, 1>; 3], Update<B>)| {
        update.moved_by_adamw(value, [first, second])
    };
    Ok(moved.map(next).collect())
}

fn moved<B: Backend>(updates: &[Update<B>]) -> Option<Vec<[Tensor<B, 1>; 3]>> {
    let steps = updates.iter().map(|update| {
        let (moments, step) = update.adamw()?;
        let tensors = [&update.value, &update.gradient, &moments[0], &moments[1]];
        let tensors = op::untracked::<B>(tensors.map(float_tensor).into())?;
        Some((op::exactly(tensors), step))
    });
    let steps: Vec<(update::Moved, Step)> = steps.collect::<Option<_>>()?;
    if !enabled() || !supported(&steps.first()?.0[0]) {
        return None;
    }
    let moved = update::adamw(steps)?.into_iter();
    moved
        .map(|[value, first, second]| Some([wrap(value)?, wrap(first)?, wrap(second)?]))
        .collect()
}

/// The sum of the squares of each tensor, `[tensors]`, in either precision.
pub(crate) fn squares<B: Backend>(tensors: Vec<FloatTensor<B>>) -> Option<Tensor<B, 1>> {
    let tensors = op::untracked::<B>(tensors)?;
    if !enabled() || !supported(tensors.first()?) {
        return None;
    }
    wrap(update::squares(tensors)?)
}

/// A decoder without layers of tensors whose shapes have been checked: embedding, the readout's matrix and bias, and with
/// `epsilon` the norm's scale and shift. In bf16 alone.
pub(crate) fn decoding<B: Backend>(
    tensors: Vec<FloatTensor<B>>,
    epsilon: Option<f32>,
    spec: &DecoderSpec,
) -> Option<Decoding> {
    let tensors = op::untracked::<B>(tensors)?;
    let fits = precision() == Precision::Bf16 && supported(tensors.first()?);
    fits.then(|| Decoding::new(tensors, epsilon, spec))?
}

/// With one more layer, whose shapes have been checked.
pub(crate) fn decoding_layer<B: Backend>(
    decoding: Decoding,
    tensors: [FloatTensor<B>; 12],
) -> Option<Decoding> {
    let tensors = op::untracked::<B>(tensors.into())?;
    decoding.layer(op::exactly(tensors))
}

/// Bytes of shared memory that a block of the kernels may have.
const SHARED: usize = 227 * 1024;

/// Whether a tensor's device is what the kernels are written for.
fn supported(tensor: &op::Lazy) -> bool {
    has_kernels(tensor.client.device())
}

/// Whether this device is: Hopper, compute capability 9.0.
fn has_kernels(device: &CudaDevice) -> bool {
    let client = CudaRuntime::client(device);
    is_hopper(
        client.features(),
        client.properties().hardware.max_shared_memory_size,
    )
}

/// CubeCL does not tell the compute capability, but what came with one. Clusters came with 9.0; `wgmma` came with it too, and
/// went with 10.0, which copies to shared memory in one more way.
fn is_hopper(features: &Features, shared: usize) -> bool {
    features.cube_cluster && !features.tma.contains(Tma::Im2colWide) && shared >= SHARED
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `cubecl-cuda` tells of devices.
    #[test]
    fn kernels_are_for_hopper_alone() {
        let ampere = Features::default();
        let hopper = Features {
            cube_cluster: true,
            tma: Tma::Base.into(),
            ..Features::default()
        };
        let blackwell = Features {
            tma: Tma::Base | Tma::Im2colWide,
            ..hopper.clone()
        };
        assert!(is_hopper(&hopper, 232_448));
        assert!(!is_hopper(&ampere, 166_912));
        assert!(!is_hopper(&blackwell, 232_448));
        assert!(!is_hopper(&hopper, 101_376));
    }
}
