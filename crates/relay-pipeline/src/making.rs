//! What the runs of this process are making, so that none makes anew what another one is about to have finished.

use std::{
    collections::{HashMap, HashSet},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use relay_train::TrainError;

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
    /// Nothing yet, for several runs: a training that diverged in one of them is not made in others, where it would diverge after as
    /// many hours. What failed for its files may do well in another directory.
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
    /// Remembers, for other runs, that the stage failed, if it would in any of them.
    pub(crate) fn failed(&self, error: &PipelineError) {
        let of_training = matches!(
            error,
            PipelineError::Train(TrainError::NotFinite { .. } | TrainError::Diverged { .. })
        );
        if self.making.remembers && of_training {
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
        let full = PipelineError::io("write", "a".as_ref(), std::io::Error::other("full"));
        for elsewhere in [PipelineError::Stopped, full] {
            several.turn("ar_baseline", "a").unwrap().failed(&elsewhere);
        }
        let diverged = || {
            PipelineError::from(TrainError::NotFinite {
                step: 3,
                updates: 20,
            })
        };
        several
            .turn("ar_baseline", "a")
            .unwrap()
            .failed(&diverged());
        let error = several.turn("ar_baseline", "a").unwrap_err().to_string();
        assert!(error.contains("ar_baseline"), "{error}");
        several.turn("ar_baseline", "b").unwrap();
        // One run tries again.
        let alone = Making::default();
        alone.turn("ar_baseline", "a").unwrap().failed(&diverged());
        alone.turn("ar_baseline", "a").unwrap();
    }
}
