//! Several runs from a command line: what sweeps, seeds and the paper's figures share.

use std::path::{Path, PathBuf};

use burn::tensor::backend::AutodiffBackend;
use relay_pipeline::{Existing, Override, PipelineError, PlannedRun, Results, SeveralRuns};
use relay_train::{Precision, StopFlag};

use crate::{
    CliError, CommandLine, DeviceName, Program, on_device,
    run::{explain, told},
    shell::{how_to_go_on, same_command},
    stop_on_signals,
};

/// Makes all runs on a device that is chosen at run time, and gives what became of each, in the same order.
///
/// # Errors
/// A usage error for a device or settings that cannot be; an interruption, with its signal, after the run in progress has been
/// saved; and what the first one failed with, where all did.
pub fn run_each(
    several: SeveralRuns,
    device: DeviceName,
) -> Result<Vec<Result<Results, PipelineError>>, CliError> {
    let stop = StopFlag::default();
    let signal = stop_on_signals(&stop.shared()).map_err(CliError::failure)?;
    let (dir, begins) = (
        shared_dir(&several.runs),
        several.existing == Existing::Refuse,
    );
    let outcome = on_device(device, Running { several, stop }).map_err(CliError::usage)?;
    let outcomes = outcome.map_err(|error| explain(error, &how_to_go_on(&dir, begins), &signal))?;
    if outcomes.iter().any(Result::is_ok) {
        return Ok(outcomes);
    }
    let first = outcomes.into_iter().find_map(Result::err);
    first.map_or(Ok(Vec::new()), |first| Err(told(first)))
}

/// How a program ends that has put together the runs that did not fail; `existing` is what it did with those that it found.
///
/// # Errors
/// When some did fail; the command that tries them again is named.
pub fn all_made(
    outcomes: &[Result<Results, PipelineError>],
    existing: Existing,
) -> Result<(), CliError> {
    let all = outcomes.len();
    match outcomes.iter().filter(|outcome| outcome.is_err()).count() {
        0 => Ok(()),
        failed => {
            let again = same_command(existing == Existing::Refuse);
            let message = format!("{failed} of {all} runs failed; to try them again: {again}");
            Err(CliError::failure(message))
        }
    }
}

/// The directory that all runs lie in.
fn shared_dir(runs: &[PlannedRun]) -> PathBuf {
    let mut dirs = runs.iter().map(|run| run.dir.as_path());
    let first = dirs.next().unwrap_or(Path::new("."));
    let shared = dirs.fold(first, |shared, dir| {
        let within = |ancestor: &&Path| dir.starts_with(ancestor);
        shared.ancestors().find(within).unwrap_or(shared)
    });
    shared.to_owned()
}

struct Running {
    several: SeveralRuns,
    stop: StopFlag,
}

impl Program for Running {
    type Output = Result<Vec<Result<Results, PipelineError>>, PipelineError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        self.several.run_each::<B>(&device, &self.stop)
    }
}

/// The changed settings that texts of the form `PATH=VALUE` stand for.
///
/// # Errors
/// Names the first text that is none.
pub fn overrides(texts: &[String]) -> Result<Vec<Override>, PipelineError> {
    texts.iter().map(|text| text.parse()).collect()
}

/// The command of `multitask_relay` that makes one run, for its report.
pub fn run_command(
    preset: &str,
    seed: u64,
    overrides: &[Override],
    arms: &[String],
    device: DeviceName,
    precision: Option<Precision>,
) -> CommandLine {
    CommandLine::new(device, "multitask_relay")
        .option("--preset", preset)
        .option("--seed", seed)
        .each("--set", overrides)
        .list("--arms", arms)
        .each("--precision", precision)
        .option("--device", device)
}
