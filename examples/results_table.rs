//! The table of results in the README, from the `results.json` files of several seeds.
//!
//! ```text
//! cargo run --release --example results_table -- docs/results/mini/seed-1 docs/results/mini/seed-2 ...
//! ```

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use relay_examples::{CliError, finish, parse_args};
use relay_pipeline::{Measure, Results, arms::arm_label, arms::task_label};

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
    let Some(first) = runs.first() else {
        return Ok(());
    };
    let mut columns: Vec<(&str, Option<usize>)> = Vec::new();
    for task in first.tasks() {
        columns.push((task, None));
        let lengths = first
            .arms
            .values()
            .filter_map(|tasks| tasks.get(task))
            .flatten()
            .map(|result| result.length);
        let mut longer: Vec<usize> = lengths
            .filter(|&length| first.trained_at(task, length) == Some(false))
            .collect();
        longer.sort_unstable();
        longer.dedup();
        columns.extend(longer.into_iter().map(|length| (task, Some(length))));
    }
    let heads =
        columns.iter().map(
            |&(task, length)| match (length, first.train_lengths.get(task)) {
                (Some(length), _) => format!("{} {length}", task_label(task)),
                (None, Some([from, to])) => format!("{} {from}..{to} (trained)", task_label(task)),
                (None, None) => task_label(task).to_string(),
            },
        );
    println!("| | {} |", heads.collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(columns.len()));
    for arm in first.arms.keys() {
        let cells = columns
            .iter()
            .map(|&(task, length)| cell(&runs, arm, task, length));
        println!(
            "| {} | {} |",
            arm_label(arm),
            cells.collect::<Vec<_>>().join(" | ")
        );
    }
    let minutes: Vec<f64> = runs
        .iter()
        .map(|run| run.seconds.values().sum::<f64>() / 60.0)
        .collect();
    let seeds: Vec<String> = runs.iter().map(|run| run.seed.to_string()).collect();
    let mean = minutes.iter().sum::<f64>() / minutes.len() as f64;
    println!(
        "\nSeeds {}; {mean:.0} minutes a run on {} ({} cores).",
        seeds.join(", "),
        first.machine.cpu,
        first.machine.cores
    );
    Ok(())
}

/// Mean, lowest and highest share over the runs; at all training lengths where `length` is none.
fn cell(runs: &[Results], arm: &str, task: &str, length: Option<usize>) -> String {
    let share = |run: &Results| {
        let wanted = |at: usize| {
            length.map_or(run.trained_at(task, at) == Some(true), |length| {
                at == length
            })
        };
        let values: Vec<f64> = run
            .of(arm, task)
            .iter()
            .filter(|result| wanted(result.length))
            .filter_map(|result| {
                result
                    .share(Measure::Answer)
                    .map(|share| 100.0 * share.value)
            })
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let shares: Vec<f64> = runs.iter().filter_map(share).collect();
    if shares.is_empty() {
        return "-".to_owned();
    }
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let (low, high) = shares.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| {
        (low.min(x), high.max(x))
    });
    format!("{mean:.0} ({low:.0}..{high:.0})")
}
