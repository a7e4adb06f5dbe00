//! What the runs of this process are making, so that none makes anew what another one is about to have finished.

use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, PoisonError},
};

/// The stages in the making, shared by runs beside each other.
#[derive(Debug, Default)]
pub(crate) struct Making {
    stages: Mutex<HashSet<String>>,
    ended: Condvar,
}

/// The right to make a stage, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    making: &'a Making,
    stage: String,
}

impl Making {
    /// Waits until nobody makes the stage `name` from the same.
    pub(crate) fn turn(&self, name: &str, made_from: &str) -> Turn<'_> {
        let stage = format!("{name} {made_from}");
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        while stages.contains(&stage) {
            stages = self
                .ended
                .wait(stages)
                .unwrap_or_else(PoisonError::into_inner);
        }
        stages.insert(stage.clone());
        Turn {
            making: self,
            stage,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut stages = self
            .making
            .stages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        stages.remove(&self.stage);
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
        let other = making.turn("looped_aligned", "b");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let turn = making.turn("looped_aligned", "a");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
        });
        drop(other);
        drop(making.turn("looped_aligned", "b"));
    }
}
