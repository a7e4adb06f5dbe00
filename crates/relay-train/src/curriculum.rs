//! Short problems first.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{Result, TrainError};

/// The longest problems come in one by one: a pure function of the step.
///
/// At first the shortest `start` of a task's range of lengths are drawn from, after `steps` updates all of it, in
/// between a share that grows linearly. The paper trains on all lengths from the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curriculum {
    /// Share of the range of lengths that is open at the first update, in [0, 1]; the shortest length always is.
    pub start: f64,
    /// The update from which on all lengths are open.
    pub steps: u64,
    /// Names of the tasks that it is for; of the others all lengths are open from the start. Empty: it is for every task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
}

impl Curriculum {
    /// Checks `start`; whether there are such tasks is known to who knows the tasks.
    ///
    /// # Errors
    /// [`TrainError::Setting`] names the one that is wrong.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.start) {
            return Err(TrainError::setting(
                "curriculum.start",
                self.start,
                "in [0, 1]",
            ));
        }
        Ok(())
    }

    /// Whether lengths of the task called `task` come in one by one.
    pub fn is_for(&self, task: &str) -> bool {
        self.tasks.is_empty() || self.tasks.iter().any(|name| name == task)
    }

    /// The lengths of `all`, the range of the task called `task`, that are open at `step`.
    pub fn lengths(
        &self,
        step: u64,
        task: &str,
        all: &RangeInclusive<usize>,
    ) -> RangeInclusive<usize> {
        let time = if !self.is_for(task) || step >= self.steps {
            1.0
        } else {
            step as f64 / self.steps as f64
        };
        let share = self.start + (1.0 - self.start) * time;
        let span = all.end().saturating_sub(*all.start());
        *all.start()..=all.start() + (span as f64 * share).floor() as usize
    }
}
