//! All figures of the paper: every seed with all arms, and on request every task alone (figure 2).
//!
//! ```text
//! cargo run --release --example paper_figures -- --preset mini --seeds 1,2,3 --single-task --out runs/paper-figures
//! ```
//!
//! The same command goes on where it was left, however it ended.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use relay_examples::{
    CliError, DeviceName, finish, parse_args, run_command, run_several, start_logging,
};
use relay_pipeline::{
    Aggregate, Existing, PipelineError, PlannedRun, Results, Settings, SeveralRuns, Sweep, preset,
};
use relay_train::Precision;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs what the paper's figures are made from, and makes them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Sizes and lengths: `smoke`, `mini` or `paper`.
    #[arg(long, default_value = "mini")]
    preset: String,
    /// Seeds; the figures show the mean over them.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Also train every model on each task alone, with its share of the updates: figure 2.
    #[arg(long)]
    single_task: bool,
    /// Where the computation runs: `flex`, `ndarray` or `cuda`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Work on up to N runs, and stages of runs, at the same time, each on its share of the
    /// threads [default: as many as there are threads; 1 on a GPU]. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// What the layers' products multiply in training, `f32` or `bf16` [default: as the preset says].
    #[arg(long)]
    precision: Option<Precision>,
    /// Directory of the runs and the figures [default: runs/PRESET-figures].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs that are put together: all tasks, or one of them alone.
struct Group {
    dir: PathBuf,
    runs: Vec<PlannedRun>,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let device: DeviceName = args.device.parse().map_err(CliError::usage)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("runs/{}-figures", args.preset)));
    let groups = groups(&args, &out, device).map_err(CliError::usage)?;
    let several = SeveralRuns {
        runs: groups.iter().flat_map(|group| group.runs.clone()).collect(),
        existing: Existing::Resume,
        arms: Vec::new(),
        reuse: false,
        jobs: device.jobs(args.jobs.map(usize::from)),
        device: device.to_string(),
    };
    let results = run_several(several, device)?;
    let figures = put_together(&groups, &results, &out).map_err(CliError::failure)?;
    print!("{figures}");
    Ok(())
}

fn groups(args: &Args, out: &Path, device: DeviceName) -> Result<Vec<Group>, PipelineError> {
    let seeds = Sweep {
        axes: Vec::new(),
        seeds: args.seeds.clone(),
    };
    let command = |seed: u64| run_command(&args.preset, seed, &[], &[], device, args.precision);
    let mut groups = vec![Group {
        dir: out.to_owned(),
        runs: seeds.runs(out, |seed| settings(args, seed), |seed, _| command(seed))?,
    }];
    if args.single_task {
        for task in preset(&args.preset, 1)?.task_names() {
            let dir = out.join("single").join(task);
            let settings = |seed| settings(args, seed)?.single_task(task);
            let with_task = |seed, _: &[_]| format!("{} --task {task}", command(seed));
            let runs = seeds.runs(&dir, settings, with_task)?;
            groups.push(Group { dir, runs });
        }
    }
    Ok(groups)
}

/// The settings of the runs with `seed`.
fn settings(args: &Args, seed: u64) -> Result<Settings, PipelineError> {
    let mut settings = preset(&args.preset, seed)?;
    if let Some(precision) = args.precision {
        settings.set_precision(precision);
    }
    Ok(settings)
}

/// Puts the runs of each group together, those of the single tasks in one figure, and says what was made from what.
fn put_together(
    groups: &[Group],
    results: &[Results],
    out: &Path,
) -> Result<String, PipelineError> {
    let mut single: Option<Aggregate> = None;
    let mut text = String::new();
    let mut rest = results;
    for (place, group) in groups.iter().enumerate() {
        let (own, others) = rest.split_at(group.runs.len());
        rest = others;
        let all = Aggregate::of_runs(own)?;
        all.write(&group.dir)?;
        if place == 0 {
            text += &all.markdown();
            text += &shared(&group.dir, &group.runs);
        } else if let Some(single) = &mut single {
            single.join(all);
        } else {
            single = Some(all);
        }
    }
    if let Some(single) = single {
        let dir = out.join("single");
        single.write(&dir)?;
        let runs = groups.iter().skip(1).flat_map(|group| &group.runs);
        text += &line(
            "2, each task alone",
            &dir.join("figures/answer_accuracy.svg"),
            runs,
        );
    }
    Ok(text)
}

/// The figures of runs on all tasks.
fn shared(dir: &Path, runs: &[PlannedRun]) -> String {
    let mut text = String::from("\nfigure of the paper: file, made from\n");
    text += &line("4", &dir.join("figures/answer_accuracy.svg"), runs.iter());
    text += &line("7", &dir.join("figures/bit_accuracy.svg"), runs.iter());
    for run in runs {
        for (task, length) in &run.settings.evaluation.hit_matrices {
            let matrix = run
                .dir
                .join(format!("figures/hit_matrix_{task}_{length}.svg"));
            text += &line("5 and 6", &matrix, std::iter::once(run));
        }
    }
    text
}

fn line<'a>(figure: &str, file: &Path, runs: impl Iterator<Item = &'a PlannedRun>) -> String {
    let runs: Vec<String> = runs.map(|run| run.dir.display().to_string()).collect();
    format!(
        "{figure}: {}, made from {}\n",
        file.display(),
        runs.join(", ")
    )
}
