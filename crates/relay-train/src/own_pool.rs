//! Threads of a run's own.

/// Runs `work` as one of the threads of a pool that nothing else uses.
///
/// Kernels split their work over the threads of a pool; to hand it over to a pool that one is not part of takes tens of
/// microseconds each time, a tenth of an update of a small model. In a shared pool one run could be made to wait inside
/// another one's.
pub(crate) fn in_own_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    match rayon::ThreadPoolBuilder::new().build() {
        Ok(pool) => pool.install(work),
        Err(error) => {
            tracing::debug!("no threads of its own for this run: {error}");
            work()
        }
    }
}
