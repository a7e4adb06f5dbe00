//! The tables of results in the README, accuracies and verdicts, from the `results.json` files of several seeds; and those of
//! sweeps, from their `sweep.json`.
//!
//! ```text
//! cargo run --release --example results_table -- docs/results/mini/seed-1 docs/results/mini/seed-2 ... [--out DIR]
//! ```

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use relay_examples::{CliError, finish, parse_args, print};
use relay_pipeline::{
    Aggregate, PipelineError, Results, SweepResults, check_shared_dir, write_report,
};

/// Prints answer accuracy by arm as a Markdown table, mean over the runs, lowest and highest in brackets; then the verdicts
/// on the paper's claims, seed by seed. Runs on other tasks each, as of one task alone, stand side by side, without verdicts.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Directories with a `results.json`, each once; or of sweeps, with a `sweep.json`.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Print the accuracies of the training lengths and of the longest length only.
    #[arg(long)]
    short: bool,
    /// Also write `report.html` and the figures of each run anew, beside its `results.json`, or tables and figures of each sweep,
    /// beside its `sweep.json`: as this version of the program draws them.
    #[arg(long)]
    redraw: bool,
    /// Also write `aggregate.json`, `aggregate.md` and the figures of all runs together to this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The file of a sweep.
const SWEEP: &str = "sweep.json";

fn main() -> ExitCode {
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    if args.runs.iter().any(|dir| dir.join(SWEEP).is_file()) {
        return of_sweeps(&args);
    }
    let load = |dir: &PathBuf| Results::load(&dir.join("results.json")).map_err(CliError::failure);
    let runs: Vec<Results> = args.runs.iter().map(load).collect::<Result<_, _>>()?;
    distinct(&args.runs)?;
    let all = together(&runs).map_err(CliError::usage)?;
    if args.redraw {
        for (dir, run) in args.runs.iter().zip(&runs) {
            write_report(run, dir).map_err(CliError::failure)?;
        }
    }
    if let Some(out) = &args.out {
        check_shared_dir(out).map_err(CliError::usage)?;
        all.write(out).map_err(CliError::failure)?;
    }
    print(if args.short {
        all.short_table()
    } else {
        all.markdown()
    })
}

/// All runs as one; those of each preset side by side, where no task is in two of them.
fn together(runs: &[Results]) -> Result<Aggregate, PipelineError> {
    let mut presets: Vec<Vec<Results>> = Vec::new();
    for run in runs {
        let alike = |preset: &&mut Vec<Results>| preset.iter().any(|one| one.preset == run.preset);
        match presets.iter_mut().find(alike) {
            Some(preset) => preset.push(run.clone()),
            None => presets.push(vec![run.clone()]),
        }
    }
    let tasks = presets
        .iter()
        .filter_map(|preset| Some(preset.first()?.tasks()));
    let tasks: Vec<&str> = tasks.flatten().collect();
    if (1..tasks.len()).any(|at| tasks[..at].contains(&tasks[at])) {
        // Says what differs.
        return Aggregate::of_runs(runs);
    }
    let mut each = presets.iter().map(|preset| Aggregate::of_runs(preset));
    let first = each.next().unwrap_or_else(|| Aggregate::of_runs(&[]))?;
    each.try_fold(first, |mut all, next| {
        all.join(next?);
        Ok(all)
    })
}

/// Prints the tables of sweeps.
fn of_sweeps(args: &Args) -> Result<(), CliError> {
    if args.short || args.out.is_some() {
        let message = "--short and --out are for runs: a sweep has its tables and figures beside its sweep.json";
        return Err(CliError::usage(message));
    }
    let load = |dir: &PathBuf| SweepResults::load(&dir.join(SWEEP)).map_err(CliError::failure);
    let sweeps: Vec<SweepResults> = args.runs.iter().map(load).collect::<Result<_, _>>()?;
    for (dir, sweep) in args.runs.iter().zip(&sweeps) {
        if args.redraw {
            sweep.write(dir).map_err(CliError::failure)?;
        }
        print(sweep.markdown())?;
    }
    Ok(())
}

/// That no run is there twice, under whatever paths: it would count twice in the means.
fn distinct(dirs: &[PathBuf]) -> Result<(), CliError> {
    let mut seen: Vec<(PathBuf, &Path)> = Vec::new();
    for dir in dirs {
        let place = dir
            .canonicalize()
            .map_err(|error| CliError::failure(format!("{}: {error}", dir.display())))?;
        if let Some((_, before)) = seen.iter().find(|(other, _)| *other == place) {
            let (before, dir) = (before.display(), dir.display());
            return Err(CliError::usage(format!(
                "{before} and {dir} are the same run: each may be given once"
            )));
        }
        seen.push((place, dir));
    }
    Ok(())
}
