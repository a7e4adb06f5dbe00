//! The switch that turns the kernels off.

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
