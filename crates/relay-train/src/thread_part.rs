//! Threads that trainings beside each other share; whoever stays longest has them all in the end.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use burn::tensor::backend::Backend;
use rayon::{ThreadPool, ThreadPoolBuilder, current_num_threads};

use crate::{Result, TrainError};

/// The kernels' work is small; what burn does behind it may recurse.
const STACK: usize = 8 << 20;

/// A part of the threads of a process: what one training computes on while others have the other parts.
///
/// When a part is dropped the others have its threads, too: a training on a CPU takes them from its next update on. What it computes does
/// not depend on it, as kernels give the same with any number of threads.
#[derive(Debug)]
pub struct ThreadPart {
    pool: ThreadPool,
    all: Shared,
}

/// The threads of all parts.
#[derive(Debug, Clone)]
struct Shared {
    threads: usize,
    /// How many parts there still are.
    parts: Arc<AtomicUsize>,
}

/// The part that a thread computes for.
#[derive(Debug)]
struct Current {
    all: Shared,
    /// Where the part has grown, the threads that it has by now.
    grown: Option<Rc<ThreadPool>>,
    /// Whether the system gave no more of them: it is not asked in every update.
    refused: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

impl ThreadPart {
    /// The threads of the current pool in so many parts, each of one thread at least.
    ///
    /// # Errors
    /// [`TrainError::Threads`] when the system gives none.
    pub fn divide(parts: usize) -> Result<Vec<Self>> {
        let all = Shared {
            threads: current_num_threads(),
            parts: Arc::new(AtomicUsize::new(parts)),
        };
        let part = |_| {
            Ok(Self {
                pool: pool(all.threads_of_a_part())?,
                all: all.clone(),
            })
        };
        // All of them before the first one is dropped and the others grow.
        (0..parts).map(part).collect()
    }

    /// Runs `work` on this part of the threads.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(|| {
            let current = Current {
                all: self.all.clone(),
                grown: None,
                refused: false,
            };
            let before = CURRENT.replace(Some(current));
            let result = work();
            CURRENT.set(before);
            result
        })
    }
}

impl Drop for ThreadPart {
    fn drop(&mut self) {
        self.all.parts.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn threads_of_a_part(&self) -> usize {
        let parts = self.parts.load(Ordering::Relaxed).max(1);
        (self.threads / parts).max(1)
    }
}

/// Runs `work` on all threads that the part of this thread has by now; where it has none, and where `device` works on its own and orders
/// its work by the thread that asks for it, on this one.
pub(crate) fn on_all_threads<B: Backend, R: Send>(
    device: &B::Device,
    work: impl FnOnce() -> R + Send,
) -> R {
    let name = B::name(device);
    let computes_here = ["flex", "ndarray"].iter().any(|cpu| name.contains(cpu));
    match computes_here.then(grown).flatten() {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// The threads of the current part, if it has grown.
fn grown() -> Option<Rc<ThreadPool>> {
    CURRENT.with_borrow_mut(|current| {
        let Current {
            all,
            grown,
            refused,
        } = current.as_mut()?;
        let threads = all.threads_of_a_part();
        let has = grown
            .as_ref()
            .map_or_else(current_num_threads, |pool| pool.current_num_threads());
        if threads > has && !*refused {
            match pool(threads) {
                Ok(more) => *grown = Some(Rc::new(more)),
                Err(error) => {
                    tracing::debug!("no more threads for this run: {error}");
                    *refused = true;
                }
            }
        }
        grown.clone()
    })
}

fn pool(threads: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK)
        .build()
        .map_err(|error| TrainError::Threads {
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;

    fn on_all<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        on_all_threads::<Flex, R>(&Default::default(), work)
    }

    #[test]
    fn what_others_give_back_is_there_from_the_next_update_on() {
        let four = pool(4).unwrap();
        four.install(|| {
            let mut parts = ThreadPart::divide(3).unwrap();
            let last = parts.pop().unwrap();
            last.run(|| {
                assert_eq!((current_num_threads(), on_all(current_num_threads)), (1, 1));
                for threads in [2, 4] {
                    parts.pop();
                    assert_eq!(on_all(current_num_threads), threads);
                    assert_eq!(current_num_threads(), 1, "of the part itself");
                }
            });
            // Nor is anything left of it for whoever has the thread next.
            assert_eq!(on_all(current_num_threads), 4);
        });
        assert!(CURRENT.with_borrow(Option::is_none));
    }

    #[test]
    fn more_parts_than_threads_have_one_each() {
        let two = pool(2).unwrap();
        two.install(|| {
            let parts = ThreadPart::divide(5).unwrap();
            let threads: Vec<_> = parts
                .iter()
                .map(|part| part.run(current_num_threads))
                .collect();
            assert_eq!(threads, [1; 5]);
        });
    }
}
