//! Batches made ahead, on a thread of their own.

use std::any::Any;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

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
pub(crate) struct Loader<'scope, T> {
    // Dropped before anyone waits for the thread, which ends as soon as nobody listens.
    updates: Receiver<Result<Update<T>>>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope, T: Send + 'static> Loader<'scope, T> {
    /// Starts to make the updates of `steps`, in widths that are a multiple of `width_multiple`.
    pub fn start<'env, B, O>(
        scope: &'scope Scope<'scope, 'env>,
        source: &'env dyn ExampleSource,
        objective: &'env O,
        width_multiple: usize,
        steps: Range<u64>,
    ) -> Self
    where
        B: AutodiffBackend,
        O: Objective<B, Batch = T>,
    {
        let (sender, updates) = sync_channel(AHEAD);
        let make = move |step| {
            let examples = source.examples(step)?;
            if examples.is_empty() {
                let update = format!("examples of update {step}");
                let expected = "at least one example";
                return Err(TrainError::setting(update, "an empty list", expected));
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
        let thread = scope.spawn(move || {
            for step in steps {
                let update = make(step);
                let failed = update.is_err();
                if sender.send(update).is_err() || failed {
                    return;
                }
            }
        });
        Self { updates, thread }
    }

    /// The next update, which is that of `step`; with the loader itself, which is lost when it fails.
    ///
    /// # Errors
    /// What the source or the objective returned, or that the thread panicked.
    pub fn next(self, step: u64) -> Result<(Update<T>, Self)> {
        match self.updates.recv() {
            Ok(update) => Ok((update?, self)),
            Err(_) => {
                let reason = match self.thread.join() {
                    Ok(()) => "it ended early".to_owned(),
                    Err(panic) => message(panic.as_ref()),
                };
                Err(TrainError::Loader { step, reason })
            }
        }
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
