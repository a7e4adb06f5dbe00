//! Several runs, one after the other.

use std::path::PathBuf;

use burn::tensor::backend::AutodiffBackend;
use relay_train::{StopFlag, TrainError};

use crate::{About, Existing, Pipeline, Result, Results, Settings, reuse::beside};

/// A run that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Its directory.
    pub dir: PathBuf,
    /// Its settings.
    pub settings: Settings,
    /// The command that makes this run alone.
    pub command: String,
}

/// How several runs are made.
#[derive(Debug, Clone)]
pub struct SeveralRuns {
    /// The runs, in their order.
    pub runs: Vec<PlannedRun>,
    /// What to do with what their directories already hold.
    pub existing: Existing,
    /// The arms that are trained and measured; empty for all.
    pub arms: Vec<String>,
    /// Whether a run may take over stages from the runs beside it.
    pub reuse: bool,
    /// Name of the device, for the reports.
    pub device: String,
}

impl SeveralRuns {
    /// Makes all runs, each from where it was left, and gives their results in the same order.
    ///
    /// # Errors
    /// What the first run that fails returns; also when `stop` is set, between two runs too.
    pub fn run<B: AutodiffBackend>(
        &self,
        device: &B::Device,
        stop: &StopFlag,
    ) -> Result<Vec<Results>> {
        for run in &self.runs {
            run.settings.check_arms(&self.arms)?;
        }
        let mut results = Vec::with_capacity(self.runs.len());
        for (number, run) in self.runs.iter().enumerate() {
            if stop.is_set() {
                return Err(TrainError::Interrupted { step: 0 }.into());
            }
            tracing::info!(
                "run {} of {}: {}",
                number + 1,
                self.runs.len(),
                run.dir.display()
            );
            results.push(self.run_one::<B>(run, device, stop)?);
        }
        Ok(results)
    }

    fn run_one<B: AutodiffBackend>(
        &self,
        run: &PlannedRun,
        device: &B::Device,
        stop: &StopFlag,
    ) -> Result<Results> {
        let about = About {
            device: self.device.clone(),
            command: run.command.clone(),
        };
        let lenders = if self.reuse {
            beside(&run.dir)?
        } else {
            Vec::new()
        };
        let pipeline = Pipeline::<B>::open(
            run.settings.clone(),
            &run.dir,
            self.existing,
            about,
            device.clone(),
            stop.clone(),
        )?;
        pipeline.reusing(lenders).run_arms(&self.arms)
    }
}
