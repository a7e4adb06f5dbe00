//! The arms that a run has, and how each is trained.

use std::path::{Path, PathBuf};

use relay_train::Precision;

use super::{DataSettings, Settings, StageSettings};
use crate::{
    PipelineError, Result,
    arms::{AR_BASELINE, AR_RELAY, AR_SELF_LOOP, AR_SELF_TRUTH, LOOPED_ALIGNED, LOOPED_VANILLA},
    self_chains::phase_name,
};

impl Settings {
    /// The training stages that this run has, with their names.
    pub fn stages(&self) -> Vec<(&'static str, &StageSettings)> {
        let mut stages = vec![(LOOPED_ALIGNED, &self.looped_aligned)];
        if let Some(vanilla) = &self.looped_vanilla {
            stages.push((LOOPED_VANILLA, vanilla));
        }
        stages.extend([(AR_BASELINE, &self.ar_baseline), (AR_RELAY, &self.ar_relay)]);
        if let Some(own) = &self.self_chains {
            stages.extend(self.self_arms().map(|arm| (arm, &own.phase)));
        }
        stages
    }

    /// How an arm is trained.
    ///
    /// # Errors
    /// Names the arms that there are, when these settings have no such arm.
    pub fn stage(&self, arm: &str) -> Result<&StageSettings> {
        self.named_stage(arm).map(|(_, stage)| stage)
    }

    /// The arm of this name.
    ///
    /// # Errors
    /// Names those that there are, when these settings have no such arm.
    pub(crate) fn arm(&self, name: &str) -> Result<&'static str> {
        self.named_stage(name).map(|(arm, _)| arm)
    }

    /// Checks names of arms, for [`Pipeline::run_arms`](crate::Pipeline::run_arms), before anything is run.
    ///
    /// # Errors
    /// Names the first arm that these settings do not have, and those that they have.
    pub fn check_arms(&self, arms: &[String]) -> Result<()> {
        arms.iter().try_for_each(|arm| self.arm(arm).map(drop))
    }

    fn named_stage(&self, name: &str) -> Result<(&'static str, &StageSettings)> {
        let stages = self.stages();
        let found = stages.iter().find(|(arm, _)| *arm == name);
        found.copied().ok_or_else(|| {
            let there: Vec<&str> = stages.iter().map(|(arm, _)| *arm).collect();
            let right = format!("one of {}", there.join(", "));
            PipelineError::settings("arms", name, right)
        })
    }

    /// Sets the [`precision`](relay_train::TrainConfig::precision) of every stage.
    pub fn set_precision(&mut self, precision: Precision) {
        for stage in self.stages_mut() {
            stage.train.precision = precision;
        }
    }

    /// How each model of this run is trained, to be changed; both arms with self-chains share theirs.
    pub fn stages_mut(&mut self) -> impl Iterator<Item = &mut StageSettings> {
        let stages = [
            &mut self.looped_aligned,
            &mut self.ar_baseline,
            &mut self.ar_relay,
        ];
        let own = self.self_chains.as_mut().map(|own| &mut own.phase);
        let more = self.looped_vanilla.as_mut().into_iter().chain(own);
        stages.into_iter().chain(more)
    }

    /// A share of the updates for every model, and no weights in its loss: what one of several tasks needs alone.
    pub(crate) fn share_of_updates(&mut self, tasks: u64) {
        for stage in self.stages_mut() {
            stage.train.steps = stage.train.steps.div_ceil(tasks);
            if let Some(curriculum) = &mut stage.curriculum {
                // Rounded down: all lengths must be open before the last update.
                curriculum.steps /= tasks;
            }
            stage.task_weights.clear();
        }
    }

    /// The arms that learn from their own chains; without a vanilla looped model nobody but the truth can confirm them.
    pub(crate) fn self_arms(&self) -> impl Iterator<Item = &'static str> {
        let by_loop = self.looped_vanilla.as_ref().map(|_| AR_SELF_LOOP);
        let arms = self
            .self_chains
            .as_ref()
            .map(|_| [by_loop, Some(AR_SELF_TRUTH)]);
        arms.into_iter().flatten().flatten()
    }

    /// Where the last checkpoint of an arm lies in the run directory `run`.
    pub(crate) fn model_dir(&self, run: &Path, arm: &str) -> PathBuf {
        let dir = run.join(arm);
        match self.self_arms().any(|own| own == arm) {
            true => dir.join(phase_name(self.phases().saturating_sub(1), "model")),
            false => dir,
        }
    }

    /// How many phases of self-chains the tasks have.
    pub(crate) fn phases(&self) -> usize {
        match &self.data {
            DataSettings::Generated(tasks) => {
                let phases = tasks.iter().map(|task| task.self_phases.len());
                phases.max().unwrap_or(0)
            }
            DataSettings::Files(_) | DataSettings::Own(_) => 0,
        }
    }
}
