//! What the runs of this process are making, so that none makes anew what another one is about to have finished.

use std::{
    collections::{HashMap, HashSet},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{PipelineError, Result};

/// The stages in the making, shared by runs beside each other.
#[derive(Debug, Default)]
pub(crate) struct Making {
    stages: Mutex<Stages>,
    ended: Condvar,
    remembers: bool,
}

#[derive(Debug, Default)]
struct Stages {
    going: HashSet<String>,
    /// Why those that failed did.
    failed: HashMap<String, String>,
}

/// The right to make a stage, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    making: &'a Making,
    stage: String,
}

impl Making {
    /// Nothing yet, for several runs: a stage that failed in one of them is not made in others, where it would fail in the same way after
    /// as many hours.
    pub(crate) fn of_several() -> Self {
        Self {
            remembers: true,
            ..Self::default()
        }
    }

    /// Waits until nobody makes the stage `name` from the same.
    ///
    /// # Errors
    /// When it has failed in another run.
    pub(crate) fn turn(&self, name: &str, made_from: &str) -> Result<Turn<'_>> {
        let stage = format!("{name} {made_from}");
        let mut stages = self.stages();
        while stages.going.contains(&stage) {
            stages = self
                .ended
                .wait(stages)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(reason) = stages.failed.get(&stage) {
            return Err(PipelineError::Shared {
                stage: name.to_owned(),
                reason: reason.clone(),
            });
        }
        stages.going.insert(stage.clone());
        Ok(Turn {
            making: self,
            stage,
        })
    }

    fn stages(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Remembers, for other runs, that the stage failed, unless it was only interrupted.
    pub(crate) fn failed(&self, error: &PipelineError) {
        if self.making.remembers && !error.is_interrupted() {
            let mut stages = self.making.stages();
            stages.failed.insert(self.stage.clone(), error.to_string());
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.making.stages().going.remove(&self.stage);
        self.making.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn one_at_a_time_makes_a_stage_and_others_do_not_wait() {
        let (making, inside) = (Making::default(), AtomicUsize::new(0));
        let other = making.turn("looped_aligned", "b").unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let turn = making.turn("looped_aligned", "a").unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
        });
        drop(other);
        drop(making.turn("looped_aligned", "b").unwrap());
    }

    #[test]
    fn what_failed_in_one_run_is_not_made_in_another() {
        let several = Making::of_several();
        let turn = several.turn("ar_baseline", "a").unwrap();
        turn.failed(&PipelineError::Stopped);
        drop(turn);
        let turn = several.turn("ar_baseline", "a").unwrap();
        turn.failed(&PipelineError::settings("rate", "9", "less"));
        drop(turn);
        let error = several.turn("ar_baseline", "a").unwrap_err().to_string();
        assert!(
            error.contains("ar_baseline") && error.contains("rate is 9"),
            "{error}"
        );
        several.turn("ar_baseline", "b").unwrap();
        // One run tries again.
        let alone = Making::default();
        let turn = alone.turn("ar_baseline", "a").unwrap();
        turn.failed(&PipelineError::settings("rate", "9", "less"));
        drop(turn);
        alone.turn("ar_baseline", "a").unwrap();
    }
}
