//! Whether there are kernels, and in which precision layers are trained.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

static ENABLED: AtomicBool = AtomicBool::new(true);

/// Turns the kernels of this crate on or off for the whole process; they start on.
///
/// While off, all operations of this crate answer that they have no kernel, so that models and optimizers take their path
/// of ordinary ops. Graphs recorded before keep their kernels, and so do decoders.
pub fn set_enabled(on: bool) {
    ENABLED.store(on, Ordering::Relaxed);
}

/// Whether the kernels are on, see [`set_enabled`].
pub fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// What the products of a layer's training multiply, see [`with_precision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The operands as they are. For GPUs, where kernels multiply bf16, each is the sum of two of them: 16 bits of a number
    /// are kept, where TF32 keeps 11.
    #[default]
    F32,
    /// The operands rounded to bf16: 8 bits of a number are kept.
    Bf16,
}

impl core::str::FromStr for Precision {
    type Err = String;

    /// From `f32` or `bf16`.
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("no precision `{name}`: f32 or bf16")),
        }
    }
}

impl core::fmt::Display for Precision {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

thread_local! {
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Does `work`, where this thread computes the products of layers in `precision`; elsewhere it is f32.
///
/// With [`Precision::Bf16`] a [`layer`](crate::layer) that is recorded for a backward pass multiplies bf16 with its
/// matrices, forward, backward and for the gradients of the matrices, and adds up in f32. All else is f32 as before: the
/// matrices that an optimizer changes, norms, softmax, the products within attention, losses; and whatever is not
/// recorded, such as evaluation and generation. A graph keeps the precision that it was recorded with.
///
/// Kernels for GPUs compute in the precision of the thread, recorded or not, and the products within attention and those of
/// readouts in it too; the logits of a readout are rounded to it before a loss is taken of them, in f32. In
/// [`Precision::F32`] such a product is the sum of three of bf16: results are near those of burn's f32, not the same to the
/// last bit.
///
/// Layers are to be called from this thread: tasks of rayon that run on others do not inherit the precision, and those that this
/// thread takes up while it waits in `work` do.
///
/// Models ask for [`precision`] where there is no kernel, and round the operands of their own operations, recorded or not.
///
/// A backend that has neither kernels nor bf16, such as `burn::backend::NdArray`, panics in such a product: `check_precision` of
/// `relay-train` tells beforehand.
///
/// The kernels are faster where the processor has AVX-512 BF16. Others compute the same with f32 instructions on rounded
/// numbers, which is slower than f32.
pub fn with_precision<R>(precision: Precision, work: impl FnOnce() -> R) -> R {
    struct Before(Precision);
    impl Drop for Before {
        fn drop(&mut self) {
            PRECISION.set(self.0);
        }
    }
    let _before = Before(PRECISION.replace(precision));
    work()
}

/// Does `work`, which generates with a model that was trained in `precision`.
///
/// On `burn::backend::Cuda` with the feature `cuda` generation is as training was: there [`Bf16`](Precision::Bf16) is faster,
/// and the [`Decoder`](crate::Decoder) exists in it alone. Elsewhere it is f32 whatever the training was, and whatever the
/// precision of the thread.
pub fn with_generation_of<B: Backend, R>(precision: Precision, work: impl FnOnce() -> R) -> R {
    #[cfg(feature = "cuda")]
    let as_in_training = crate::cuda::is_backend::<B>();
    #[cfg(not(feature = "cuda"))]
    let as_in_training = false;
    let precision = if as_in_training {
        precision
    } else {
        Precision::F32
    };
    with_precision(precision, work)
}

/// The precision in which this thread computes the products of layers, see [`with_precision`].
pub fn precision() -> Precision {
    PRECISION.get()
}
