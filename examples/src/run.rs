//! Running a pipeline from a command line: what the main job and the one on the user's own data share.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicU8,
};

use burn::tensor::backend::AutodiffBackend;
use relay_pipeline::{
    About, Existing, Pipeline, PipelineError, Results, Settings, holds_run, table,
};
use relay_train::StopFlag;

use crate::{
    CliError, DeviceName, Program, on_device, print,
    shell::{how_to_go_on, quoted},
    stop_on_signals,
};

/// A pipeline to be run on a device that is chosen at run time.
#[derive(Debug)]
pub struct PipelineRun {
    /// Everything the run is made from.
    pub settings: Settings,
    /// Where it lives.
    pub dir: PathBuf,
    /// What to do with what is there.
    pub existing: Existing,
    /// The arms that are trained and measured; empty for all.
    pub arms: Vec<String>,
    /// Stages that are worked on at the same time where they do not need each other; 0 stands for as many as there are
    /// threads.
    pub jobs: usize,
    /// The device.
    pub device: DeviceName,
    /// The command that anyone can type to repeat the run.
    pub command: String,
}

impl PipelineRun {
    /// Runs to the end and prints the table of results and where the report lies.
    ///
    /// # Errors
    /// A usage error for a device or settings that cannot be; a failure for everything that goes wrong on the way; an
    /// interruption, with its signal, after the run has been saved.
    pub fn run(self) -> Result<(), CliError> {
        let stop = StopFlag::default();
        let signal = stop_on_signals(&stop.shared()).map_err(CliError::failure)?;
        let (dir, begins) = (self.dir.clone(), self.existing == Existing::Refuse);
        let outcome =
            on_device(self.device, Running { run: self, stop }).map_err(CliError::usage)?;
        match outcome {
            Ok(results) => {
                let report = dir.join("report.html");
                let report = report.display();
                print(format_args!("{}\nreport: {report}\n", table(&results)))
            }
            Err(error) => {
                let go_on = how_to_go_on(&dir, begins);
                Err(explain(error, &go_on, &signal))
            }
        }
    }
}

/// What an error of a pipeline means for the program; `go_on` says how to go on after an interruption.
pub(crate) fn explain(error: PipelineError, go_on: &str, signal: &AtomicU8) -> CliError {
    match error {
        error if error.is_interrupted() => {
            CliError::interrupted(format_args!("{error}; {go_on}"), signal)
        }
        error => told(error),
    }
}

/// What a failure of a pipeline means for the program, with the options that help.
pub(crate) fn told(error: PipelineError) -> CliError {
    match &error {
        PipelineError::OtherSettings { path, .. } => {
            let [dir, settings] = [path.clone(), path.join("settings.json")]
                .map(|path| quoted(&path.display().to_string()));
            CliError::usage(format_args!(
                "{error}: `multitask_relay --settings {settings} --run-dir {dir} --resume` goes on with its own, \
                 `multitask_relay --update` takes these"
            ))
        }
        error if error.is_usage() => CliError::usage(error),
        error => CliError::failure(error),
    }
}

/// Says that there was nothing to go on with. It is no error: scripts give `--resume` whether there is a run or not.
pub fn warn_of_new_run(dir: &Path) {
    let dir = dir.display();
    tracing::warn!("there is no run in {dir} to go on with: a new one begins");
}

struct Running {
    run: PipelineRun,
    stop: StopFlag,
}

impl Program for Running {
    type Output = Result<Results, PipelineError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let PipelineRun {
            settings,
            dir,
            existing,
            arms,
            jobs,
            device: name,
            command,
        } = self.run;
        settings.check_arms(&arms)?;
        let about = About {
            device: name.to_string(),
            command,
        };
        let nothing_there = existing != Existing::Refuse && !holds_run(&dir);
        let pipeline = Pipeline::<B>::open(settings, &dir, existing, about, device, self.stop)?;
        if nothing_there {
            warn_of_new_run(&dir);
        }
        pipeline.side_by_side(jobs).run_arms(&arms)
    }
}
