//! A run of some of its arms, beside other runs that may lend it stages.

use std::path::PathBuf;

use super::*;
use crate::arms::{AR_BASELINE, AR_RELAY, LOOPED_ALIGNED, LOOPED_VANILLA};

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
        let there = self.settings.stages().into_iter().map(|(arm, _)| arm);
        let there: Vec<&'static str> = there.collect();
        let asked = |name: &str| arms.iter().any(|arm| arm == name);
        if arms.is_empty() || there.iter().all(|arm| asked(arm)) {
            return self.run();
        }
        let done = self.stages_for(&asked)?;
        let mut measured = Vec::new();
        for arm in there.into_iter().filter(|arm| asked(arm)) {
            if !done.contains_key(arm) {
                let right = "an arm that can be run without the others";
                return Err(PipelineError::settings("arms", arm, right));
            }
            let (record, values) = self.evaluate(arm, &done)?;
            measured.push((arm, record, values));
        }
        let results = self.results(&done, &measured)?;
        write_report(&results, self.dir.path())?;
        Ok(results)
    }

    fn stages_for(&self, asked: &dyn Fn(&str) -> bool) -> Result<BTreeMap<&'static str, Done>> {
        let relay = asked(AR_RELAY);
        let mut done = BTreeMap::new();
        let why = "asked for, or needed for what is";
        for (arm, needed) in [
            (LOOPED_ALIGNED, relay || asked(LOOPED_ALIGNED)),
            (LOOPED_VANILLA, asked(LOOPED_VANILLA)),
            (AR_BASELINE, relay || asked(AR_BASELINE)),
        ] {
            if needed {
                done.insert(arm, self.train(arm, why)?);
            }
        }
        if relay {
            done.insert("chains", self.chains(&done)?);
            done.insert("merged", self.merge(&done)?);
            done.insert(AR_RELAY, self.fine_tune(&done)?);
        }
        Ok(done)
    }
}
