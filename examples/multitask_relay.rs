//! The main job: the whole method, from nothing to the report.
//!
//! A looped model learns three tasks with step-by-step supervision (Stage I), writes chains for problems longer than it
//! was trained on, and an auto-regressive model fine-tuned on them (Stage II) solves lengths it failed at before.
//!
//! ```text
//! cargo run --release --example multitask_relay -- --preset smoke|quick|mini|paper --device flex|ndarray|cuda \
//!     --run-dir DIR --seed N | --seeds N,N,... [--jobs N] [--set PATH=VALUE]... [--arms ARM,...] [--task TASK] \
//!     [--settings FILE] [--checkpoint-iterations N] [--precision f32|bf16] [--no-kernels] [--resume | --update] [--dry-run]
//! ```

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use burn::tensor::backend::AutodiffBackend;
use clap::{Parser, builder::NonEmptyStringValueParser};
use relay_examples::{
    CliError, CommandLine, Computing, DeviceName, PipelineRun, Program, adjusted, all_made,
    check_seed, finish, on_device, overrides, parse_args, print, run_each, start_logging,
    warn_of_new_run,
};
use relay_pipeline::{
    Aggregate, Existing, Forecast, Override, PipelineError, PlannedRun, Settings, SeveralRuns,
    Sweep, check_shared_dir, estimate, estimate_table, holds_run, preset,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a looped model, lets it write chains for longer problems, and teaches an auto-regressive model with them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Sizes and lengths: `smoke` (seconds), `quick` (minutes, arithmetic alone), `mini` (one and a half to four hours on two cores), `paper` (all numbers of Appendix D).
    #[arg(long, default_value = "mini")]
    preset: String,
    /// Settings from a file, such as the `settings.json` of another run, in place of a preset.
    #[arg(long, conflicts_with_all = ["preset", "seed"])]
    settings: Option<PathBuf>,
    #[command(flatten)]
    computing: Computing,
    /// Directory of this run [default: runs/PRESET-seed-N].
    #[arg(long)]
    run_dir: Option<PathBuf>,
    /// Go on with the run in the directory.
    #[arg(long)]
    resume: bool,
    /// Go on with the run in the directory under changed settings: redo just what they change. What it was goes to
    /// `set-aside` there.
    #[arg(long, conflicts_with = "resume")]
    update: bool,
    /// Keep the activations of N iterations at a time when a looped model is trained, and compute the others again:
    /// memory then does not grow with the number of iterations. 0 keeps all [default: as the settings say].
    #[arg(long, value_name = "N")]
    checkpoint_iterations: Option<usize>,
    /// Compute with burn's own operations only, without the hand-written kernels: slower, and equal up to rounding.
    #[arg(long)]
    no_kernels: bool,
    /// Say what the trainings would cost, counted on some of their updates, and run nothing.
    #[arg(long)]
    dry_run: bool,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Several seeds, each run in RUN_DIR/seed-N, and then all together [default of RUN_DIR: runs/PRESET-seeds].
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["seed", "settings"])]
    seeds: Vec<u64>,
    /// Change a setting, as often as wanted, such as `looped_aligned.lambda=0.1`. `stage1.` is short for
    /// `looped_aligned.`, `stage2.` for `ar_relay.`, `model.` for both models.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Train and measure these arms only; the report also shows others that are finished [default: all].
    #[arg(long, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    arms: Vec<String>,
    /// Learn this task alone, with its share of the updates [default: all tasks].
    #[arg(long)]
    task: Option<String>,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let device = args.computing.device()?;
    relay_kernels::set_enabled(!args.no_kernels);
    let sets = overrides(&args.sets).map_err(CliError::usage)?;
    let existing = match (args.resume, args.update) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Update,
        _ => Existing::Refuse,
    };
    if args.update && args.settings.is_some() && args.run_dir.is_none() {
        let right = "say by --run-dir which run is changed to these settings";
        return Err(CliError::usage(format!(
            "--update with --settings: {right}"
        )));
    }
    if args.dry_run {
        return tell_cost(&args, &sets, device);
    }
    if !args.seeds.is_empty() {
        return run_seeds(&args, &sets, existing, device);
    }
    let settings = settings(&args, &sets, args.seed).map_err(CliError::usage)?;
    let dir = args.run_dir.clone().unwrap_or_else(|| {
        PathBuf::from(format!("runs/{}-seed-{}", settings.preset, settings.seed))
    });
    PipelineRun {
        settings,
        dir,
        existing,
        arms: args.arms.clone(),
        jobs: args.computing.jobs(device),
        device,
        command: command(&args, args.seed, device),
    }
    .run()
}

/// What the trainings would cost; the data are made and counted, nothing is written.
fn tell_cost(args: &Args, sets: &[Override], device: DeviceName) -> Result<(), CliError> {
    if !args.seeds.is_empty() {
        planned(args, sets, device, Path::new("runs")).map_err(CliError::usage)?;
    }
    let seed = args.seeds.first().copied().unwrap_or(args.seed);
    let settings = settings(args, sets, seed).map_err(CliError::usage)?;
    let arms = args.arms.clone();
    let costs = on_device(device, Estimating { settings, arms }).map_err(CliError::usage)?;
    print(estimate_table(&costs.map_err(CliError::usage)?))?;
    match args.seeds.len() {
        0 | 1 => Ok(()),
        seeds => print(format_args!("for each of {seeds} seeds\n")),
    }
}

struct Estimating {
    settings: Settings,
    arms: Vec<String>,
}

impl Program for Estimating {
    type Output = Result<Vec<(&'static str, Forecast)>, PipelineError>;

    fn run<B: AutodiffBackend>(self, _: B::Device) -> Self::Output {
        estimate::<B>(&self.settings, &self.arms)
    }
}

/// A run for every seed, then all together.
fn run_seeds(
    args: &Args,
    sets: &[Override],
    existing: Existing,
    device: DeviceName,
) -> Result<(), CliError> {
    let dir = args.run_dir.clone().unwrap_or_else(|| {
        let task = args
            .task
            .as_ref()
            .map_or(String::new(), |task| format!("-{task}-alone"));
        PathBuf::from(format!("runs/{}{task}-seeds", args.preset))
    });
    check_shared_dir(&dir).map_err(CliError::usage)?;
    let runs = planned(args, sets, device, &dir).map_err(CliError::usage)?;
    if existing != Existing::Refuse && !runs.iter().any(|run| holds_run(&run.dir)) {
        warn_of_new_run(&dir);
    }
    let several = SeveralRuns {
        runs,
        existing,
        arms: args.arms.clone(),
        reuse: false,
        jobs: args.computing.jobs(device),
        device: device.to_string(),
    };
    let outcomes = run_each(several, device)?;
    let made: Vec<_> = outcomes.iter().flatten().cloned().collect();
    let all = Aggregate::of_runs(&made).map_err(CliError::failure)?;
    all.write(&dir).map_err(CliError::failure)?;
    let file = dir.join("aggregate.json");
    let file = file.display();
    print(format_args!("{}\nall seeds: {file}\n", all.markdown()))?;
    all_made(&outcomes, existing)
}

/// A run in `dir` for every seed.
fn planned(
    args: &Args,
    sets: &[Override],
    device: DeviceName,
    dir: &Path,
) -> Result<Vec<PlannedRun>, PipelineError> {
    let seeds = Sweep {
        axes: Vec::new(),
        seeds: args.seeds.clone(),
    };
    let settings = |seed| settings(args, sets, seed);
    seeds.runs(dir, settings, |seed, _| command(args, seed, device))
}

/// The settings of the run with `seed`.
fn settings(args: &Args, sets: &[Override], seed: u64) -> Result<Settings, PipelineError> {
    let mut settings = match &args.settings {
        Some(file) => Settings::load(file)?,
        None => preset(&args.preset, seed)?,
    };
    if let Some(iterations) = args.checkpoint_iterations {
        settings.looped_aligned.checkpoint_iterations = iterations;
        if let Some(vanilla) = &mut settings.looped_vanilla {
            vanilla.checkpoint_iterations = iterations;
        }
    }
    let settings = adjusted(
        settings,
        args.task.as_deref(),
        args.computing.precision,
        sets,
    )?;
    if args.settings.is_none() {
        check_seed(&settings, seed)?;
    }
    Ok(settings)
}

/// The command that repeats the run with `seed`.
fn command(args: &Args, seed: u64, device: DeviceName) -> String {
    let command = CommandLine::new(device, "multitask_relay");
    let command = match &args.settings {
        Some(file) => command.option("--settings", file.display()),
        None => command
            .option("--preset", &args.preset)
            .option("--seed", seed),
    };
    command
        .each("--task", &args.task)
        .each("--set", &args.sets)
        .list("--arms", &args.arms)
        .each("--checkpoint-iterations", args.checkpoint_iterations)
        .each("--precision", args.computing.precision)
        .flag("--no-kernels", args.no_kernels)
        .option("--device", device)
        .to_string()
}
