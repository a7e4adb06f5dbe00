//! Tasks that problems are drawn from, with the lengths they are used at.

use std::sync::Arc;

use relay_tasks::Task;
use serde_json::{Value, json};

use crate::{Result, TaskSettings, json::to_value, settings::MOST_SAMPLES};

/// How problems of a task of one's own become samples; each change of it has a number, so that runs of before are begun anew.
const RULES: u32 = 2;

/// A task of one's own and the lengths it is used at, for [`GeneratedCorpus::of_tasks`](crate::GeneratedCorpus::of_tasks).
#[derive(Debug, Clone)]
pub struct OwnTask {
    /// The task.
    pub task: Arc<dyn Task>,
    /// Shortest and longest length of the original training data.
    pub train: [usize; 2],
    /// Shortest and longest length at which the arms are measured.
    pub test: [usize; 2],
    /// Samples of the original data in the merged set.
    pub original: usize,
    /// Length and number of the chains in the merged set.
    pub longer: Vec<(usize, usize)>,
}

/// The lengths that a task is used at, and how many problems of them; see [`TaskSettings`].
#[derive(Debug, Clone)]
pub(crate) struct Lengths {
    pub train: [usize; 2],
    pub test: [usize; 2],
    pub original: usize,
    pub longer: Vec<(usize, usize)>,
    pub self_phases: Vec<(usize, usize)>,
}

/// A task that problems are drawn from.
#[derive(Debug)]
pub(super) struct Drawn {
    pub task: Arc<dyn Task>,
    /// All that its problems depend on.
    pub made_from: Value,
    pub lengths: Lengths,
}

impl Drawn {
    pub(super) fn of_settings(settings: &TaskSettings) -> Result<Self> {
        Ok(Self {
            task: settings.task.build()?,
            made_from: to_value(&settings.task)?,
            lengths: settings.lengths(),
        })
    }

    pub(super) fn of_own(own: OwnTask) -> Result<Self> {
        let OwnTask {
            task,
            train,
            test,
            original,
            longer,
        } = own;
        let lengths = Lengths {
            train,
            test,
            original,
            longer,
            self_phases: Vec::new(),
        };
        lengths.validate(task.name(), task.lengths())?;
        let made_from = json!({
            "own": task.name(), "dialect": task.dialect(), "drawing": task.drawing(), "rules": RULES,
        });
        Ok(Self {
            task,
            made_from,
            lengths,
        })
    }
}

impl Lengths {
    /// Where the indices of the problems begin whose chains are written. Those of a trained length lie behind all that the
    /// original part can have, which would be learnt twice, once with a chain that may be wrong.
    pub(super) fn first_index(&self, length: usize) -> u64 {
        let [shortest, longest] = self.train;
        match (shortest..=longest).contains(&length) {
            true => MOST_SAMPLES as u64,
            false => 0,
        }
    }
}

impl TaskSettings {
    pub(crate) fn lengths(&self) -> Lengths {
        Lengths {
            train: self.train,
            test: self.test,
            original: self.original,
            longer: self.longer.clone(),
            self_phases: self.self_phases.clone(),
        }
    }
}
