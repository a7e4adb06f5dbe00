//! Several runs, one after the other or side by side.

use std::{path::PathBuf, sync::Arc};

use burn::tensor::backend::AutodiffBackend;
use relay_train::{StopFlag, start_threads};

use crate::{
    About, Existing, Pipeline, Result, Results, RunDir, Settings,
    making::Making,
    reuse::beside,
    side_by_side::{lanes, side_by_side},
};

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
    /// How much is worked on at the same time, each on its share of the threads: runs first, then stages of a run. 0
    /// stands for as much as there are threads.
    pub jobs: usize,
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
        start_threads()?;
        // Nothing is trained for hours before the last of them is refused.
        for run in &self.runs {
            run.settings.check_arms(&self.arms)?;
            run.settings.validate_precision::<B>(device)?;
            RunDir::check(&run.dir, &run.settings, self.existing)?;
        }
        let making = Arc::new(Making::default());
        // Stages within a run share what the runs leave.
        let jobs = self.jobs / lanes(self.jobs, self.runs.len());
        let stop = stop.child();
        let numbered = self.runs.iter().enumerate().collect();
        side_by_side(self.jobs, &stop, numbered, |(number, run)| {
            tracing::info!(
                "run {} of {}: {}",
                number + 1,
                self.runs.len(),
                run.dir.display()
            );
            let lenders = self.lenders(run)?;
            let mut pipeline = self
                .open::<B>(run, device, &stop)?
                .side_by_side(jobs)
                .reusing(lenders);
            if self.reuse {
                pipeline = pipeline.sharing(Arc::clone(&making));
            }
            pipeline.run_arms(&self.arms)
        })
    }

    /// The runs that may lend `run` their stages: those that are there, and those that will be.
    fn lenders(&self, run: &PlannedRun) -> Result<Vec<PathBuf>> {
        if !self.reuse {
            return Ok(Vec::new());
        }
        let mut lenders = beside(&run.dir)?;
        let planned = self.runs.iter().map(|other| &other.dir);
        for dir in planned.filter(|&dir| *dir != run.dir) {
            if !lenders.contains(dir) {
                lenders.push(dir.clone());
            }
        }
        Ok(lenders)
    }

    fn open<B: AutodiffBackend>(
        &self,
        run: &PlannedRun,
        device: &B::Device,
        stop: &StopFlag,
    ) -> Result<Pipeline<B>> {
        let about = About {
            device: self.device.clone(),
            command: run.command.clone(),
        };
        Pipeline::open(
            run.settings.clone(),
            &run.dir,
            self.existing,
            about,
            device.clone(),
            stop.clone(),
        )
    }
}
