//! The switches of the process: whether there are kernels, and in which precision layers are trained.

use core::sync::atomic::{AtomicBool, Ordering};

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

/// What the products of a layer's training multiply, see [`set_precision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The operands as they are.
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

static BF16: AtomicBool = AtomicBool::new(false);

/// Sets the precision in which [`layer`](crate::layer) is trained, for the whole process; it starts as f32.
///
/// With [`Precision::Bf16`] a layer that is recorded for a backward pass multiplies bf16 with its matrices, forward,
/// backward and for the gradients of the matrices, and adds up in f32. All else is f32 as before: the matrices that an
/// optimizer changes, norms, softmax, the products within attention, losses; and whatever is not recorded, such as
/// evaluation and generation. Graphs recorded before keep their precision.
///
/// It is faster where the processor has AVX-512 BF16. Others compute the same with f32 instructions on rounded
/// numbers, which is slower than f32.
pub fn set_precision(precision: Precision) {
    BF16.store(precision == Precision::Bf16, Ordering::Relaxed);
}

/// The precision in which layers are trained, see [`set_precision`].
pub fn precision() -> Precision {
    if BF16.load(Ordering::Relaxed) {
        Precision::Bf16
    } else {
        Precision::F32
    }
}
