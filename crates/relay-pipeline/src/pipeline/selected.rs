//! A run of some of its arms, beside other runs that may lend it stages.

use std::path::PathBuf;

use super::*;
use crate::{
    arms::{AR_BASELINE, AR_RELAY},
    cost::builds_on,
};

impl Settings {
    /// Checks names of arms, for [`Pipeline::run_arms`], before anything is run.
    ///
    /// # Errors
    /// Names the first arm that these settings do not have, and those that they have.
    pub fn check_arms(&self, arms: &[String]) -> Result<()> {
        let there: Vec<&str> = self.stages().into_iter().map(|(arm, _)| arm).collect();
        match arms.iter().find(|arm| !there.contains(&arm.as_str())) {
            Some(arm) => {
                let right = format!("one of {}", there.join(", "));
                Err(PipelineError::settings("arms", arm, right))
            }
            None => Ok(()),
        }
    }
}

impl<B: AutodiffBackend> Pipeline<B> {
    /// The same run, which takes over stages that the runs in `lenders` have finished and that were made from the same.
    #[must_use]
    pub fn reusing(mut self, lenders: Vec<PathBuf>) -> Self {
        self.dir.reuse_from(lenders);
        self
    }

    /// As [`run`](Self::run), for `arms` only: what they are made from is trained, and they alone are measured. No name
    /// means all arms. The run can be gone on with for other arms later.
    ///
    /// # Errors
    /// When the settings have no such arm, and what a stage returns.
    pub fn run_arms(&self, arms: &[String]) -> Result<Results> {
        self.settings.check_arms(arms)?;
        let asked = |name: &str| arms.is_empty() || arms.iter().any(|arm| arm == name);
        let there = self.settings.stages().into_iter().map(|(arm, _)| arm);
        let there: Vec<&'static str> = there.filter(|arm| asked(arm)).collect();
        let done = self.stages_for(&there)?;
        let mut measured = Vec::new();
        for arm in there {
            let (record, values) = self.evaluate(arm, &done)?;
            measured.push((arm, record, values));
        }
        let results = self.results(&done, &measured)?;
        self.dir.check_there()?;
        write_report(&results, self.dir.path())?;
        Ok(results)
    }

    /// Trains `arms` and what they are made from.
    fn stages_for(&self, arms: &[&'static str]) -> Result<BTreeMap<&'static str, Done>> {
        let needed = |stage| {
            let made_from_it = |arm: &&str| *arm == stage || builds_on(arm).contains(&stage);
            arms.iter().any(made_from_it)
        };
        let mut done = BTreeMap::new();
        for arm in [LOOPED_ALIGNED, LOOPED_VANILLA, AR_BASELINE] {
            if needed(arm) {
                done.insert(arm, self.train(arm)?);
            }
        }
        if needed(AR_RELAY) {
            done.insert("chains", self.chains(&done)?);
            done.insert("merged", self.merge(&done)?);
            done.insert(AR_RELAY, self.fine_tune(&done)?);
        }
        for arm in self.settings.self_arms().filter(|arm| arms.contains(arm)) {
            done.insert(arm, self.self_arm(arm, &done)?);
        }
        Ok(done)
    }
}
