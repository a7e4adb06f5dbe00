//! The table of results in the README, from the `results.json` files of several seeds.
//!
//! ```text
//! cargo run --release --example results_table -- docs/results/mini/seed-1 docs/results/mini/seed-2 ...
//! ```

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use relay_examples::{CliError, finish, parse_args};
use relay_pipeline::{Aggregate, Results};

/// Prints answer accuracy by arm as a Markdown table: mean over the runs, lowest and highest in brackets.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Directories with a `results.json`.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
}

fn main() -> ExitCode {
    finish(parse_args().and_then(print))
}

fn print(args: Args) -> Result<(), CliError> {
    let load = |dir: &PathBuf| Results::load(&dir.join("results.json")).map_err(CliError::failure);
    let runs: Vec<Results> = args.runs.iter().map(load).collect::<Result<_, _>>()?;
    let all = Aggregate::of_runs(&runs).map_err(CliError::usage)?;
    print!("{}", all.markdown());
    Ok(())
}
