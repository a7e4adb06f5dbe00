//! A stop in the middle of a run.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use relay_train::StopFlag;

/// Sets `stop` once `file` is there, while `work` is done.
pub fn stopped_by<T>(file: &Path, stop: &StopFlag, work: impl FnOnce() -> T) -> T {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !file.exists() && !ended.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            stop.set();
        });
        let outcome = work();
        ended.store(true, Ordering::SeqCst);
        outcome
    })
}
