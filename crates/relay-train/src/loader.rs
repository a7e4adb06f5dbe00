//! Batches made ahead, on a thread of their own.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope};

use burn::tensor::backend::AutodiffBackend;

use crate::{Effort, ExampleSource, Objective, Result, TrainError};

/// Updates that may lie ready.
const AHEAD: usize = 2;

/// The micro-batches of one update.
#[derive(Debug)]
pub(crate) struct Update<T> {
    pub samples: u64,
    pub effort: Effort,
    pub batches: Vec<T>,
}

/// Hands out the updates of some steps, one after the other.
#[derive(Debug)]
pub(crate) struct Loader<T> {
    // Whoever waits for the thread drops it before: the thread ends as soon as nobody listens.
    updates: Receiver<Result<Update<T>>>,
}

impl<T: Send + 'static> Loader<T> {
    /// Starts to make the updates of `steps`, in widths that are a multiple of `width_multiple`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<'scope, 'env, B, O>(
        scope: &'scope Scope<'scope, 'env>,
        source: &'env dyn ExampleSource,
        objective: &'env O,
        width_multiple: usize,
        steps: Range<u64>,
    ) -> Result<Self>
    where
        B: AutodiffBackend,
        O: Objective<B, Batch = T>,
    {
        let (sender, updates) = sync_channel(AHEAD);
        let make = move |step| {
            let examples = source.examples(step)?;
            if examples.is_empty() {
                let what = format!("the list of examples of update {step}");
                let expected = "at least one example long";
                return Err(TrainError::input(what, "empty", expected));
            }
            let batches = objective.collate(&examples)?.into_iter();
            let batches: Vec<T> = match width_multiple {
                0 | 1 => batches.collect(),
                columns => (batches.map(|batch| objective.widen(batch, columns))).collect(),
            };
            Ok(Update {
                samples: examples.len() as u64,
                effort: batches.iter().map(|batch| objective.effort(batch)).sum(),
                batches,
            })
        };
        let first = steps.start;
        let work = move || {
            for step in steps {
                // A panic is told with the update that it belongs to, and only if the run comes so far.
                let made = catch_unwind(AssertUnwindSafe(|| make(step)));
                let update = made.unwrap_or_else(|panic| {
                    let reason = message(panic.as_ref());
                    Err(TrainError::Loader { step, reason })
                });
                let failed = update.is_err();
                if sender.send(update).is_err() || failed {
                    return;
                }
            }
        };
        match thread::Builder::new().spawn_scoped(scope, work) {
            Ok(_) => Ok(Self { updates }),
            Err(error) => Err(TrainError::Loader {
                step: first,
                reason: format!("the system gives no thread: {error}"),
            }),
        }
    }

    /// The next update, which is that of `step`.
    ///
    /// # Errors
    /// What the source or the objective returned, or that one of them panicked.
    pub fn next(&self, step: u64) -> Result<Update<T>> {
        self.updates.recv().unwrap_or_else(|_| {
            let reason = "it ended early".to_owned();
            Err(TrainError::Loader { step, reason })
        })
    }
}

/// What a thread said when it panicked.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
