//! Independent work at the same time, each piece on threads of its own.
//!
//! A small model leaves most of a processor idle: its matrices are too small to share among many cores. Two models beside
//! each other use it better than one after the other. Results do not depend on it: kernels give the same with any number
//! of threads.

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use rayon::current_num_threads;
use relay_train::{StopFlag, ThreadPart, TrainError};

use crate::{PipelineError, Result};

/// How many of `items` are worked on at the same time; 0 `jobs` stands for as many as there are threads.
pub(crate) fn lanes(jobs: usize, items: usize) -> usize {
    let jobs = if jobs == 0 {
        current_num_threads()
    } else {
        jobs
    };
    jobs.min(items).max(1)
}

/// Works on all items, on [`lanes`] of them at the same time, and gives the results in the order of the items. Each lane
/// has its part of the threads, and more where another one has ended.
///
/// After the first failure nothing new is begun. Where there is work beside it, the failure sets `stop`, so that this saves
/// itself and ends.
///
/// # Errors
/// The first failure in the order of the items; one that is no mere interruption comes before those that are.
pub(crate) fn side_by_side<I: Send, T: Send>(
    jobs: usize,
    stop: &StopFlag,
    items: Vec<I>,
    work: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let begin = |item| {
        if stop.is_set() {
            return Err(PipelineError::Stopped);
        }
        let _guard = StopAtPanic(stop);
        work(item)
    };
    let lanes = lanes(jobs, items.len());
    if lanes == 1 {
        return items.into_iter().map(begin).collect();
    }
    let parts = ThreadPart::divide(lanes)?;
    let mut results: Vec<Option<Result<T>>> = items.iter().map(|_| None).collect();
    let queue = Mutex::new(items.into_iter().zip(&mut results));
    let lane = || {
        loop {
            // The guard goes before the work begins.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((item, place)) = next else { return };
            let result = begin(item);
            if result.is_err() {
                stop.set();
            }
            *place = Some(result);
        }
    };
    thread::scope(|scope| {
        parts.into_iter().try_for_each(|part| {
            let begun = thread::Builder::new().spawn_scoped(scope, move || part.run(lane));
            begun.map(drop).map_err(|error| {
                stop.set();
                let reason = error.to_string();
                PipelineError::from(TrainError::Threads { reason })
            })
        })
    })?;
    let mut made = Vec::new();
    let mut interrupted = None;
    for result in results.into_iter().flatten() {
        match result {
            Ok(result) => made.push(result),
            Err(error) if error.is_interrupted() => interrupted = interrupted.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    interrupted.map_or(Ok(made), Err)
}

/// A panic ends the process once the work beside it has ended: that must not take hours.
struct StopAtPanic<'a>(&'a StopFlag);

impl Drop for StopAtPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_items() {
        let stop = StopFlag::new();
        for jobs in [0, 1, 2, 5] {
            let squares = side_by_side(jobs, &stop, (0..20).collect(), |i: u64| Ok(i * i)).unwrap();
            assert_eq!(squares, (0..20).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn two_pieces_really_run_at_the_same_time_on_threads_of_their_own() {
        // Neither gets past the barrier alone.
        let (met, stop) = (Barrier::new(2), StopFlag::new());
        let threads = side_by_side(2, &stop, vec![1, 2], |_| {
            met.wait();
            Ok(current_num_threads())
        })
        .unwrap();
        let share = (current_num_threads() / 2).max(1);
        assert_eq!(threads, [share, share]);
    }

    #[test]
    fn a_failure_stops_the_others_and_is_what_is_told() {
        let (met, stop) = (Barrier::new(2), StopFlag::new());
        let all = StopFlag::child(&stop);
        let error = side_by_side(2, &all, vec![0, 1, 2, 3], |i| match i {
            0 => {
                met.wait();
                while !all.is_set() {
                    thread::yield_now();
                }
                Err(PipelineError::Stopped)
            }
            1 => {
                met.wait();
                Err(PipelineError::settings("arms", "x", "y"))
            }
            _ => Ok(()),
        });
        let error = error.unwrap_err();
        assert!(!error.is_interrupted(), "{error}");
        assert!(all.is_set() && !stop.is_set());
    }

    #[test]
    fn a_panic_stops_the_others_too() {
        let (met, stop) = (Barrier::new(2), StopFlag::new());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            side_by_side(2, &stop, vec![0, 1, 2, 3], |i| {
                met.wait();
                assert!(i == 0, "out of memory");
                while !stop.is_set() {
                    thread::yield_now();
                }
                Ok(())
            })
        }));
        assert!(ended.is_err() && stop.is_set());
    }

    #[test]
    fn nothing_is_begun_once_it_was_asked_to_stop() {
        let stop = StopFlag::new();
        stop.set();
        for jobs in [1, 2] {
            let error = side_by_side(jobs, &stop, vec![0, 1], |_| -> Result<()> {
                panic!("begun all the same")
            });
            assert!(error.unwrap_err().is_interrupted());
        }
    }
}
