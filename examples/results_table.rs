//! The tables of results in the README, accuracies and verdicts, from the `results.json` files of several seeds.
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
use relay_pipeline::{Aggregate, Results, check_shared_dir, write_report};

/// Prints answer accuracy by arm as a Markdown table, mean over the runs, lowest and highest in brackets; then the verdicts
/// on the paper's claims, seed by seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Directories with a `results.json`, each once.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Print the accuracies of the training lengths and of the longest length only.
    #[arg(long)]
    short: bool,
    /// Also write `report.html` and the figures of each run anew, beside its `results.json`: as this version of the program draws
    /// them.
    #[arg(long)]
    redraw: bool,
    /// Also write `aggregate.json`, `aggregate.md` and the figures of all runs together to this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let load = |dir: &PathBuf| Results::load(&dir.join("results.json")).map_err(CliError::failure);
    let runs: Vec<Results> = args.runs.iter().map(load).collect::<Result<_, _>>()?;
    distinct(&args.runs)?;
    let all = Aggregate::of_runs(&runs).map_err(CliError::usage)?;
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
