//! All figures of the paper: every seed with all arms, and every task alone (figure 2).
//!
//! ```text
//! cargo run --release --example paper_figures -- --preset mini --seeds 1,2,3 --out runs/paper-figures
//! ```
//!
//! The same command goes on where it was left, however it ended. A run that fails does not keep the others from being made and put
//! together.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use relay_examples::{
    CliError, Computing, DeviceName, adjusted, all_made, finish, parse_args, print, run_command,
    run_each, start_logging,
};
use relay_pipeline::{
    Aggregate, Existing, PipelineError, PlannedRun, Results, Settings, SeveralRuns, Sweep,
    check_shared_dir, preset,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the runs of single tasks lie, and what is made from them.
const SINGLE: &str = "single";

/// Runs what the paper's figures are made from, and makes them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Sizes and lengths: `smoke`, `quick`, `mini` or `paper`.
    #[arg(long, default_value = "mini")]
    preset: String,
    /// Seeds; the figures show the mean over them.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Whether every model is trained on each task alone, too, with its share of the updates: figure 2. `none` leaves these runs
    /// out, `only` those on all tasks.
    #[arg(long, value_name = "WHICH", default_value = "also", num_args = 0..=1, require_equals = true, default_missing_value = "also")]
    single_task: SingleTask,
    #[command(flatten)]
    computing: Computing,
    /// Directory of the runs and the figures [default: runs/PRESET-figures].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Which runs learn one task alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SingleTask {
    /// Further ones beside those on all tasks.
    Also,
    /// All of them.
    Only,
    /// None.
    #[value(name = "none")]
    Without,
}

/// Runs that are put together: all tasks, or one of them alone.
struct Group {
    dir: PathBuf,
    /// Whether they learn one task.
    alone: bool,
    runs: Vec<PlannedRun>,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let device = args.computing.device()?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("runs/{}-figures", args.preset)));
    let groups = groups(&args, &out, device).map_err(CliError::usage)?;
    // Whatever is asked for: `out` may be no run itself.
    let single = groups.iter().any(|group| group.alone);
    let single = single.then(|| out.join(SINGLE));
    let shared = groups.iter().map(|group| &group.dir).chain(&single);
    for dir in shared.chain([&out]) {
        check_shared_dir(dir).map_err(CliError::usage)?;
    }
    let several = SeveralRuns {
        runs: groups.iter().flat_map(|group| group.runs.clone()).collect(),
        existing: Existing::Resume,
        arms: Vec::new(),
        reuse: false,
        jobs: args.computing.jobs(device),
        device: device.to_string(),
    };
    let outcomes = run_each(several, device)?;
    let figures = put_together(&groups, &outcomes, &out).map_err(CliError::failure)?;
    print(figures)?;
    all_made(&outcomes, Existing::Resume)
}

fn groups(args: &Args, out: &Path, device: DeviceName) -> Result<Vec<Group>, PipelineError> {
    let seeds = Sweep {
        axes: Vec::new(),
        seeds: args.seeds.clone(),
    };
    let precision = args.computing.precision;
    let command = |seed: u64| run_command(&args.preset, seed, &[], &[], device, precision);
    let mut groups = Vec::new();
    let tasks = preset(&args.preset, 1)?.task_names();
    // A preset of one task learns it alone in any case.
    let alone = tasks.len() > 1 && args.single_task != SingleTask::Without;
    if !alone || args.single_task != SingleTask::Only {
        groups.push(Group {
            dir: out.to_owned(),
            alone: false,
            runs: seeds.runs(
                out,
                |seed| settings(args, seed, None),
                |seed, _| command(seed).to_string(),
            )?,
        });
    }
    if alone {
        for task in tasks {
            let dir = out.join(SINGLE).join(task);
            let settings = |seed| settings(args, seed, Some(task));
            let with_task = |seed, _: &[_]| command(seed).option("--task", task).to_string();
            let runs = seeds.runs(&dir, settings, with_task)?;
            groups.push(Group {
                dir,
                alone: true,
                runs,
            });
        }
    }
    Ok(groups)
}

/// The settings of the run with `seed`, on `task` alone where one is named.
fn settings(args: &Args, seed: u64, task: Option<&str>) -> Result<Settings, PipelineError> {
    let precision = args.computing.precision;
    adjusted(preset(&args.preset, seed)?, task, precision, &[])
}

/// Puts the runs of each group together that did not fail, those of the single tasks in one figure, and says what was made from
/// what.
fn put_together(
    groups: &[Group],
    outcomes: &[Result<Results, PipelineError>],
    out: &Path,
) -> Result<String, PipelineError> {
    let mut single: Option<(Aggregate, Vec<&PlannedRun>)> = None;
    let mut text = String::new();
    let mut rest = outcomes;
    for group in groups {
        let (own, others) = rest.split_at(group.runs.len());
        rest = others;
        let pairs = group.runs.iter().zip(own);
        let made = pairs.filter_map(|(run, outcome)| Some((run, outcome.as_ref().ok()?.clone())));
        let (runs, results): (Vec<&PlannedRun>, Vec<Results>) = made.unzip();
        if results.is_empty() {
            continue;
        }
        let all = Aggregate::of_runs(&results)?;
        all.write(&group.dir)?;
        if !group.alone {
            text += &all.markdown();
            text += &shared(&group.dir, &runs);
        } else if let Some((single, of_single)) = &mut single {
            single.join(all);
            of_single.extend(runs);
        } else {
            single = Some((all, runs));
        }
    }
    if let Some((single, runs)) = single {
        let dir = out.join(SINGLE);
        single.write(&dir)?;
        let figure = dir.join("figures/answer_accuracy.svg");
        text += &line("2, each task alone", &figure, &runs);
    }
    Ok(text)
}

/// The figures of runs on all tasks.
fn shared(dir: &Path, runs: &[&PlannedRun]) -> String {
    let mut text = String::from("\nfigure of the paper: file, made from\n");
    text += &line("4", &dir.join("figures/answer_accuracy.svg"), runs);
    text += &line("7", &dir.join("figures/bit_accuracy.svg"), runs);
    for run in runs {
        for (task, length) in &run.settings.evaluation.hit_matrices {
            let matrix = run
                .dir
                .join(format!("figures/hit_matrix_{task}_{length}.svg"));
            text += &line("5 and 6", &matrix, &[run]);
        }
    }
    text
}

fn line(figure: &str, file: &Path, runs: &[&PlannedRun]) -> String {
    let runs: Vec<String> = runs
        .iter()
        .map(|run| run.dir.display().to_string())
        .collect();
    format!(
        "{figure}: {}, made from {}\n",
        file.display(),
        runs.join(", ")
    )
}
