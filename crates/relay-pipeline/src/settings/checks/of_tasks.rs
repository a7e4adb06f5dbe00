//! What the settings of generated tasks can be.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::{TaskSettings, count, within};
use crate::{PipelineError, Result, generated::Lengths};

impl TaskSettings {
    /// Own chains take the place of samples: some have to be left.
    pub(super) fn something_is_left(&self, samples: usize) -> Result<()> {
        let phases = self.self_phases.iter();
        match phases.map(|(_, count)| *count).max() {
            Some(most) if most >= samples => Err(PipelineError::settings(
                format!("data.{}.self_phases", self.name()),
                format!("{most} chains in a phase"),
                format!(
                    "fewer in each phase than `self_chains.samples`, {samples}, or no other sample is left"
                ),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let name = self.name();
        let built = self.task.build();
        let built = built.map_err(|e| within(&format!("data.{name}.task"), e))?;
        self.lengths().validate(name, built.lengths())
    }
}

impl Lengths {
    /// Checks that the task called `name` has them, and how many problems are asked for.
    pub(crate) fn validate(&self, name: &str, possible: RangeInclusive<usize>) -> Result<()> {
        for (field, [from, to]) in [("train", self.train), ("test", self.test)] {
            if from > to || !possible.contains(&from) || !possible.contains(&to) {
                return Err(PipelineError::settings(
                    format!("data.{name}.{field}"),
                    format!("{from}..{to}"),
                    format!(
                        "within {}..{}, from the shortest to the longest",
                        possible.start(),
                        possible.end()
                    ),
                ));
            }
        }
        count(&format!("data.{name}.original"), self.original, 0)?;
        for (field, table) in [("longer", &self.longer), ("self_phases", &self.self_phases)] {
            for (length, chains) in table {
                count(&format!("data.{name}.{field}, length {length}"), *chains, 0)?;
            }
            if let Some((length, _)) = table.iter().find(|(length, _)| !possible.contains(length)) {
                return Err(PipelineError::settings(
                    format!("data.{name}.{field}"),
                    length.to_string(),
                    format!("lengths within {}..{}", possible.start(), possible.end()),
                ));
            }
        }
        self.each_longer_once(name)
    }

    /// A length that is there twice would have the same problems twice.
    fn each_longer_once(&self, name: &str) -> Result<()> {
        let mut seen = BTreeSet::new();
        match self.longer.iter().find(|(length, _)| !seen.insert(length)) {
            Some((length, _)) => Err(PipelineError::settings(
                format!("data.{name}.longer"),
                format!("{length} twice"),
                "each length once, with all its chains",
            )),
            None => Ok(()),
        }
    }
}

pub(super) fn different_tasks(tasks: &[TaskSettings]) -> Result<()> {
    let names: Vec<_> = tasks.iter().map(TaskSettings::name).collect();
    let twice = |(place, name): &(usize, &&str)| names[..*place].contains(*name);
    match names.iter().enumerate().find(twice) {
        Some((_, name)) => Err(PipelineError::settings(
            "data",
            format!("two tasks `{name}`"),
            "each task once: results are told apart by its name",
        )),
        None => Ok(()),
    }
}

/// Fine-tuning needs samples.
pub(super) fn something_to_learn(tasks: &[TaskSettings]) -> Result<()> {
    let longer = |task: &TaskSettings| task.longer.iter().map(|(_, count)| count).sum::<usize>();
    match tasks
        .iter()
        .all(|task| task.original == 0 && longer(task) == 0)
    {
        true => Err(PipelineError::settings(
            format!("data.{}.original", tasks[0].name()),
            "0",
            "at least 1, or `longer` must list chains, for one task at least: else there is nothing to fine-tune on",
        )),
        false => Ok(()),
    }
}
