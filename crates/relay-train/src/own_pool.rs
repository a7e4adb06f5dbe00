//! Threads of a run's own, and those of all.

use std::{error::Error, sync::OnceLock};

use rayon::ThreadPoolBuilder;

use crate::{Result, TrainError};

/// Runs `work` as one of the threads of a pool that nothing else uses.
///
/// Kernels split their work over the threads of a pool; to hand it over to a pool that one is not part of takes tens of
/// microseconds each time, a tenth of an update of a small model. In a shared pool one run could be made to wait inside
/// another one's.
///
/// # Errors
/// When the system gives no threads; what `work` returns.
pub(crate) fn in_own_pool<R: Send>(work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    match ThreadPoolBuilder::new().build() {
        Ok(pool) => pool.install(work),
        Err(error) => {
            start_threads()?;
            tracing::debug!("no threads of its own for this run: {error}");
            work()
        }
    }
}

/// Starts the threads of the process that all computing without threads of its own shares. Without it the first use starts them,
/// and panics where the system gives none.
///
/// # Errors
/// When the system gives none.
pub fn start_threads() -> Result<()> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        let error = ThreadPoolBuilder::new().build_global().err()?;
        // Without a source it says that they run already.
        error.source().map(ToString::to_string)
    });
    match refused.clone() {
        None => Ok(()),
        Some(reason) => Err(TrainError::Threads { reason }),
    }
}
