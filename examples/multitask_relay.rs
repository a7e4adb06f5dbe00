//! The main job: the whole method, from nothing to the report.
//!
//! A looped model learns three tasks with step-by-step supervision (Stage I), writes chains for problems longer than it
//! was trained on, and an auto-regressive model fine-tuned on them (Stage II) solves lengths it failed at before.
//!
//! ```text
//! cargo run --release --example multitask_relay -- --preset smoke|mini|paper --device flex|ndarray|cuda \
//!     --run-dir DIR --seed N [--checkpoint-iterations N] [--resume | --update]
//! ```

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use relay_examples::{CliError, DeviceName, PipelineRun, finish, parse_args, start_logging};
use relay_pipeline::{Existing, Settings, preset};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a looped model, lets it write chains for longer problems, and teaches an auto-regressive model with them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Sizes and lengths: `smoke` (seconds), `mini` (about half an hour), `paper` (all numbers of Appendix D).
    #[arg(long, default_value = "mini")]
    preset: String,
    /// Settings from a file, such as the `settings.json` of another run, in place of a preset.
    #[arg(long, conflicts_with_all = ["preset", "seed"])]
    settings: Option<PathBuf>,
    /// Where the computation runs: `flex`, `ndarray` or `cuda`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Directory of this run [default: runs/PRESET-seed-N].
    #[arg(long)]
    run_dir: Option<PathBuf>,
    /// Go on with the run in the directory.
    #[arg(long)]
    resume: bool,
    /// Go on with the run in the directory under changed settings: redo just what they change.
    #[arg(long, conflicts_with = "resume")]
    update: bool,
    /// Keep the activations of so many iterations at a time when a looped model is trained, and compute the others again:
    /// memory then does not grow with the number of iterations. 0 keeps all [default: as the settings say].
    #[arg(long, value_name = "N")]
    checkpoint_iterations: Option<usize>,
    /// Compute with burn's own operations only, without the hand-written kernels: slower, and equal up to rounding.
    #[arg(long)]
    no_kernels: bool,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let device: DeviceName = args.device.parse().map_err(CliError::usage)?;
    relay_kernels::set_enabled(!args.no_kernels);
    let mut settings = match &args.settings {
        Some(file) => Settings::load(file).map_err(CliError::usage)?,
        None => preset(&args.preset, args.seed).map_err(CliError::usage)?,
    };
    if let Some(iterations) = args.checkpoint_iterations {
        settings.looped_aligned.checkpoint_iterations = iterations;
        if let Some(vanilla) = &mut settings.looped_vanilla {
            vanilla.checkpoint_iterations = iterations;
        }
    }
    let existing = match (args.resume, args.update) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Update,
        _ => Existing::Refuse,
    };
    let dir = args.run_dir.unwrap_or_else(|| {
        PathBuf::from(format!("runs/{}-seed-{}", settings.preset, settings.seed))
    });
    let mut source = match &args.settings {
        Some(file) => format!("--settings {}", file.display()),
        None => format!("--preset {} --seed {}", args.preset, args.seed),
    };
    if let Some(iterations) = args.checkpoint_iterations {
        source += &format!(" --checkpoint-iterations {iterations}");
    }
    if args.no_kernels {
        source += " --no-kernels";
    }
    let command =
        format!("cargo run --release --example multitask_relay -- {source} --device {device}");
    PipelineRun {
        settings,
        dir,
        existing,
        device,
        command,
    }
    .run()
}
