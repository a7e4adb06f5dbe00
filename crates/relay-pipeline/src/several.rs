//! Several runs, one after the other or side by side.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use burn::tensor::backend::AutodiffBackend;
use relay_train::{StopFlag, start_threads};

use crate::{
    About, Existing, Pipeline, PipelineError, Result, Results, RunDir, Settings,
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
    /// As [`run_each`](Self::run_each); and once all have ended, what the first one failed with that did.
    pub fn run<B: AutodiffBackend>(
        &self,
        device: &B::Device,
        stop: &StopFlag,
    ) -> Result<Vec<Results>> {
        self.run_each::<B>(device, stop)?.into_iter().collect()
    }

    /// Makes all runs, each from where it was left, and gives what became of each, in the same order. One that fails, such as by a
    /// learning rate too high, does not keep the others from being made.
    ///
    /// # Errors
    /// When one of the runs cannot be as it is planned, before any is begun; when `stop` is set, between two runs too.
    pub fn run_each<B: AutodiffBackend>(
        &self,
        device: &B::Device,
        stop: &StopFlag,
    ) -> Result<Vec<Result<Results>>> {
        start_threads()?;
        self.check::<B>(device)?;
        let making = Arc::new(Making::of_several());
        // Stages within a run share what the runs leave.
        let jobs = self.jobs / lanes(self.jobs, self.runs.len());
        let stop = stop.child();
        let numbered = self.runs.iter().enumerate().collect();
        let make = |run: &PlannedRun| {
            let lenders = self.lenders(run)?;
            let mut pipeline = self
                .open::<B>(run, device, &stop)?
                .side_by_side(jobs)
                .reusing(lenders);
            if self.reuse {
                pipeline = pipeline.sharing(Arc::clone(&making));
            }
            pipeline.run_arms(&self.arms)
        };
        side_by_side(self.jobs, &stop, numbered, |(number, run)| {
            let (number, all, dir) = (number + 1, self.runs.len(), run.dir.display());
            tracing::info!("run {number} of {all}: {dir}");
            match make(run) {
                Err(error) if error.is_interrupted() => Err(error),
                Err(error) => {
                    tracing::error!("run {number} of {all}, {dir}, failed: {error}");
                    Ok(Err(error))
                }
                made => Ok(made),
            }
        })
    }

    /// That each run can be as it is planned: nothing is to be trained for hours before the last of them is refused.
    fn check<B: AutodiffBackend>(&self, device: &B::Device) -> Result<()> {
        let mut dirs = BTreeSet::new();
        for run in &self.runs {
            run.settings.validate()?;
            run.settings.check_arms(&self.arms)?;
            run.settings.validate_precision::<B>(device)?;
            RunDir::check(&run.dir, &run.settings, self.existing)?;
            if !dirs.insert(&run.dir) {
                let found = format!("{}, that of two runs", run.dir.display());
                let right = "that of one run";
                return Err(PipelineError::settings("a directory", found, right));
            }
        }
        Ok(())
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
