//! What settings can be.

use std::collections::BTreeSet;

use burn::tensor::backend::AutodiffBackend;
use relay_models::ModelError;
use relay_tasks::{Example, TaskError};
use relay_train::{Curriculum, TrainError, check_precision, check_task_weights};

use super::{DataSettings, MOST_SAMPLES, Settings, StageSettings, TaskSettings};
use crate::{Corpus, PipelineError, Result, arms::AR_RELAY, json::to_value};

mod of_tasks;

use of_tasks::{different_tasks, something_to_learn};

impl Settings {
    /// Checks every part.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn validate(&self) -> Result<()> {
        // It is part of the name of the directory where none is asked for.
        if self.preset.trim().is_empty() || self.preset.contains(['/', '\\', '\0']) {
            let right = "a name without slashes";
            return Err(PipelineError::settings("preset", &self.preset, right));
        }
        if let DataSettings::Generated(tasks) = &self.data {
            if tasks.is_empty() {
                return Err(PipelineError::settings(
                    "data",
                    "no task",
                    "at least one task",
                ));
            }
            tasks.iter().try_for_each(TaskSettings::validate)?;
            different_tasks(tasks)?;
            something_to_learn(tasks)?;
        }
        self.looped.validate().map_err(|e| within("looped", e))?;
        if !self.looped.step_head {
            let right = "true: of the two looped models it is the aligned one that has a step head";
            return Err(PipelineError::settings("looped.step_head", "false", right));
        }
        self.causal.validate().map_err(|e| within("causal", e))?;
        for (name, stage) in self.stages() {
            stage.validate(name)?;
            self.validate_curriculum(name, stage)?;
        }
        if let DataSettings::Generated(tasks) = &self.data {
            self.validate_task_weights(tasks.len())?;
        }
        self.validate_self_chains()?;
        self.validate_evaluation()?;
        count("chains.tries", self.chains.tries, 1)?;
        if let Some(own) = &self.self_chains {
            count("self_chains.tries", own.tries, 1)?;
        }
        if !(0.0..=1.0).contains(&self.chains.min_confidence) {
            return Err(PipelineError::settings(
                "chains.min_confidence",
                self.chains.min_confidence.to_string(),
                "a number from 0 to 1",
            ));
        }
        Ok(())
    }

    /// Checks that there is a weight for each of `tasks` tasks, or none at all.
    pub(crate) fn validate_task_weights(&self, tasks: usize) -> Result<()> {
        self.stages().into_iter().try_for_each(|(name, stage)| {
            let checked = check_task_weights(&stage.task_weights, tasks);
            checked.map_err(|e| within(name, e))
        })
    }

    /// Checks what depends on the data, of which files tell only once they are read.
    pub(crate) fn validate_data(&self, corpus: &dyn Corpus) -> Result<()> {
        self.validate_task_weights(corpus.codec().tasks.len())?;
        if let DataSettings::Generated(_) = self.data {
            return Ok(());
        }
        let test = corpus.test(1)?;
        let name = |example: &Example| corpus.codec().tasks[example.task].name.clone();
        let tested: BTreeSet<_> = test.iter().map(|one| (name(one), one.length)).collect();
        let places: Vec<String> = tested
            .iter()
            .map(|(task, length)| format!("{task} {length}"))
            .collect();
        self.validate_hit_matrices(|place| tested.contains(place), &places)
    }

    /// Checks that the device can do what every stage asks for.
    pub(crate) fn validate_precision<B: AutodiffBackend>(&self, device: &B::Device) -> Result<()> {
        self.stages().into_iter().try_for_each(|(name, stage)| {
            let checked = check_precision::<B>(stage.train.precision, device);
            checked.map_err(|e| within(&format!("{name}.train"), e))
        })
    }

    fn validate_hit_matrices(
        &self,
        is_tested: impl Fn(&(String, usize)) -> bool,
        tested: &[String],
    ) -> Result<()> {
        let mut places = self.evaluation.hit_matrices.iter();
        match places.find(|place| !is_tested(place)) {
            Some((task, length)) => Err(PipelineError::settings(
                "evaluation.hit_matrices",
                format!("{task} {length}"),
                format!("a task and a length that is tested: {}", tested.join(", ")),
            )),
            None => Ok(()),
        }
    }

    fn validate_evaluation(&self) -> Result<()> {
        let evaluation = &self.evaluation;
        count("evaluation.samples", evaluation.samples, 1)?;
        // Beyond it no figure could be read, and no machine had the memory.
        const MOST: i64 = 10_000;
        if !(-MOST..=MOST).contains(&evaluation.extra_iterations) {
            return Err(PipelineError::settings(
                "evaluation.extra_iterations",
                evaluation.extra_iterations.to_string(),
                format!("from -{MOST} to {MOST}"),
            ));
        }
        // Tasks and lengths of files are known once they are read.
        let DataSettings::Generated(tasks) = &self.data else {
            return Ok(());
        };
        let there = |(name, length): &(String, usize)| {
            let mut tasks = tasks.iter();
            tasks.any(|task| task.name() == name && (task.test[0]..=task.test[1]).contains(length))
        };
        let task = |task: &TaskSettings| {
            let [from, to] = task.test;
            format!("{} {from}..{to}", task.name())
        };
        let tested: Vec<String> = tasks.iter().map(task).collect();
        self.validate_hit_matrices(there, &tested)
    }

    fn validate_curriculum(&self, name: &str, stage: &StageSettings) -> Result<()> {
        let Some(curriculum) = &stage.curriculum else {
            return Ok(());
        };
        let on_lists =
            matches!(self.data, DataSettings::Files(_)) || self.tuned().any(|arm| arm == name);
        if on_lists {
            return Err(PipelineError::settings(
                format!("{name}.curriculum"),
                to_value(curriculum)?.to_string(),
                "null: lengths can only grow where problems are drawn for every update",
            ));
        }
        // A training that ends before all lengths are open never draws the longest problems: its last update is one below its
        // number of updates.
        if curriculum.start < 1.0 && curriculum.steps > 0 && curriculum.steps >= stage.train.steps {
            return Err(PipelineError::settings(
                format!("{name}.curriculum.steps"),
                curriculum.steps.to_string(),
                format!(
                    "such that {name}.curriculum.steps, {}, is below {name}.train.steps, {}",
                    curriculum.steps, stage.train.steps
                ),
            ));
        }
        // Its tasks are known to the program that brings them.
        if let DataSettings::Own(_) = self.data {
            return Ok(());
        }
        let known = self.task_names();
        let unknown = |task: &&String| !known.contains(&task.as_str());
        match curriculum.tasks.iter().find(unknown) {
            None => Ok(()),
            Some(task) => Err(PipelineError::settings(
                format!("{name}.curriculum.tasks"),
                task,
                format!("some of {}", known.join(", ")),
            )),
        }
    }

    /// The arms that are fine-tuned, on a list of problems.
    fn tuned(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(AR_RELAY).chain(self.self_arms())
    }

    fn validate_self_chains(&self) -> Result<()> {
        let Some(own) = &self.self_chains else {
            return Ok(());
        };
        if self.phases() == 0 {
            return Err(PipelineError::settings(
                "self_chains",
                "no task has self_phases",
                "null, or the length and number of chains of each phase at a generated task",
            ));
        }
        count("self_chains.samples", own.samples, 1)?;
        let DataSettings::Generated(tasks) = &self.data else {
            return Ok(());
        };
        tasks
            .iter()
            .try_for_each(|task| task.something_is_left(own.samples))
    }
}

/// That a number of samples or rounds is from `least` to [`MOST_SAMPLES`].
fn count(field: &str, value: usize, least: usize) -> Result<()> {
    if (least..=MOST_SAMPLES).contains(&value) {
        return Ok(());
    }
    let right = format!("from {least} to {MOST_SAMPLES}");
    Err(PipelineError::settings(field, value.to_string(), right))
}

impl StageSettings {
    /// Checks what can be checked without the data; `name` is the stage's, for messages.
    fn validate(&self, name: &str) -> Result<()> {
        let train = self.train.validate();
        train.map_err(|e| within(&format!("{name}.train"), e))?;
        let batching = self.batching.validate();
        batching.map_err(|e| within(name, e))?;
        let groups = self.groups.validate();
        groups.map_err(|e| within(&format!("{name}.groups"), e))?;
        let curriculum = self
            .curriculum
            .as_ref()
            .map_or(Ok(()), Curriculum::validate);
        curriculum.map_err(|e| within(name, e))?;
        if !(self.lambda.is_finite() && self.lambda >= 0.0) {
            return Err(PipelineError::settings(
                format!("{name}.lambda"),
                self.lambda.to_string(),
                "a number of at least 0 and at most 3.4e38",
            ));
        }
        Ok(())
    }
}

/// The error of a crate below, with the whole path of the setting that it complains about.
fn within(path: &str, error: impl Into<PipelineError>) -> PipelineError {
    let (field, found, right) = match error.into() {
        PipelineError::Train(TrainError::Setting {
            field,
            value,
            expected,
        })
        | PipelineError::Task(TaskError::Setting {
            field,
            value,
            expected,
        }) => (field, value, expected),
        PipelineError::Model(ModelError::Setting {
            field,
            value,
            expected,
        }) => (field.to_owned(), value, expected),
        other => return other,
    };
    PipelineError::settings(format!("{path}.{field}"), found, right)
}

#[cfg(test)]
mod tests;
