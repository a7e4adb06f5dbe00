//! A slot of minutes on a machine that is lent for a while: goes on with a training, and leaves what the next slot needs.
//!
//! ```text
//! gpu_slot train --preset paper --task ari --device cuda --minutes 20 --from PARTS --out OUT
//! gpu_slot cost --preset paper
//! gpu_slot split OUT/run/step-000012000 OUT/parts
//! gpu_slot join OUT/parts DIR
//! ```
//!
//! `benches/gpu/run.sh` does all of it. See `docs/scaling.md`.

use std::{path::PathBuf, process::ExitCode};

use burn::tensor::backend::AutodiffBackend;
use clap::{Args as ClapArgs, Parser, Subcommand};
use relay_examples::{
    CliError, DeviceName, Meeting, Program, Slot, Trained, adjusted, check_seed, finish, join,
    on_device, overrides, parse_args, print, split, start_logging, trained_arm,
};
use relay_pipeline::{Forecast, PipelineError, Settings, Stages, corpus, preset};
use relay_train::{Precision, StopFlag};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains for some minutes from a checkpoint; splits checkpoints into small files and joins them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Train for some minutes, from a checkpoint or from nothing.
    Train(Box<Train>),
    /// Count what an update costs, from the shapes of some of them; nothing is trained.
    Cost {
        /// Sizes and lengths: `smoke`, `quick`, `mini` or `paper`.
        #[arg(long, default_value = "paper")]
        preset: String,
        /// This task alone [default: all tasks].
        #[arg(long)]
        task: Option<String>,
        /// The arm: `looped_aligned`, `looped_vanilla` or `ar_baseline`.
        #[arg(long, default_value = "looped_aligned")]
        arm: String,
        /// Updates that are looked at.
        #[arg(long, default_value_t = 100)]
        updates: u64,
        /// Change a setting, as often as wanted.
        #[arg(long = "set", value_name = "PATH=VALUE")]
        sets: Vec<String>,
    },
    /// Split a checkpoint into parts with hashes.
    Split {
        /// Directory of the checkpoint.
        checkpoint: PathBuf,
        /// Directory of the parts.
        out: PathBuf,
        /// The most bytes of a part, in MiB.
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Join the parts of a checkpoint; all of it is verified.
    Join {
        /// Directory of the parts.
        parts: PathBuf,
        /// Directory that the checkpoint is made in, under its name.
        into: PathBuf,
    },
}

#[derive(Debug, ClapArgs)]
struct Train {
    /// Sizes and lengths: `smoke`, `quick`, `mini` or `paper`.
    #[arg(long, default_value = "paper")]
    preset: String,
    /// Learn this task alone, with its share of the updates [default: all tasks].
    #[arg(long)]
    task: Option<String>,
    /// The arm that is trained: `looped_aligned`, `looped_vanilla` or `ar_baseline`.
    #[arg(long, default_value = "looped_aligned")]
    arm: String,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Change a setting, as often as wanted. Every slot of a training needs the same.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Where the computation runs: `flex`, `ndarray` or `cuda`.
    #[arg(long, default_value = "cuda")]
    device: DeviceName,
    /// What the layers' products multiply, `f32` or `bf16` [default: as the settings say].
    #[arg(long)]
    precision: Option<Precision>,
    /// Devices of this machine that share the work; on a CPU this many threads, to try it out.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Sums over the devices by burn's own collective layer, in a program that was built with the feature `collective`.
    #[arg(long)]
    collective: bool,
    /// How many machines share the work, this one included, which leads: the others `--join` it.
    #[arg(long, default_value_t = 1, requires = "listen")]
    machines: usize,
    /// Where a machine that leads waits for the others, such as `0.0.0.0:7300`. Anybody who reaches this port can join:
    /// the network has to be one that is trusted.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Follow the machine that leads at this address, with the same options for all that is learnt. It makes the
    /// checkpoints; this one writes nothing.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["listen", "from", "peak_tflops"])]
    join: Option<String>,
    /// How long to train, from when all machines are there; on one that follows no limit if not given.
    #[arg(long, required_unless_present = "join")]
    minutes: Option<f64>,
    /// What to go on from: a checkpoint, a directory of checkpoints, or a directory of parts [default: the start].
    #[arg(long)]
    from: Option<PathBuf>,
    /// The most floating-point operations a second that the devices are made for together, in units of 10^12: for the
    /// share of them that was used.
    #[arg(long)]
    peak_tflops: Option<f64>,
    /// Directory of what is left: `run/` with checkpoints and metrics, `bench.json`, `bench.md`.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(|args: Args| match args.what {
        What::Train(train) => run(*train),
        What::Cost {
            preset,
            task,
            arm,
            updates,
            sets,
        } => cost((&preset, 1), task.as_deref(), &sets, &arm, updates),
        What::Split {
            checkpoint,
            out,
            limit,
        } => {
            let parts =
                split(&checkpoint, &out, (limit as usize) << 20).map_err(CliError::failure)?;
            print(format_args!("{parts} parts: {}\n", out.display()))
        }
        What::Join { parts, into } => {
            let checkpoint = join(&parts, &into).map_err(CliError::failure)?;
            print(format_args!("{}\n", checkpoint.display()))
        }
    }))
}

fn run(args: Train) -> Result<(), CliError> {
    let (name, task) = ((args.preset.as_str(), args.seed), args.task.as_deref());
    let settings = settings(name, task, args.precision, &args.sets).map_err(CliError::usage)?;
    let machines = match (args.join, args.listen) {
        (Some(leader), _) => Meeting::Follow(leader),
        (None, Some(_)) if args.machines < 2 => {
            return Err(CliError::usage(
                "--listen waits for other machines: --machines must be at least 2",
            ));
        }
        (None, Some(listen)) => Meeting::Lead {
            listen,
            followers: args.machines - 1,
        },
        (None, None) => Meeting::Alone,
    };
    let slot = Slot {
        settings,
        arm: args.arm,
        device: args.device,
        workers: args.workers,
        collective: args.collective,
        machines,
        minutes: args.minutes,
        from: args.from,
        peak_tflops: args.peak_tflops,
        out: args.out,
    };
    let bench = match slot.train()? {
        Trained::Measured(bench) => bench,
        Trained::Followed { done: true } => return print("followed to the end\n"),
        Trained::Followed { done: false } => {
            return print("followed until the training was stopped, before its last update\n");
        }
    };
    let newest = bench.checkpoint.display();
    print(format_args!(
        "{}newest checkpoint: {newest}\n",
        bench.markdown()
    ))
}

fn cost(
    preset: (&str, u64),
    task: Option<&str>,
    sets: &[String],
    arm: &str,
    updates: u64,
) -> Result<(), CliError> {
    let settings = settings(preset, task, None, sets).map_err(CliError::usage)?;
    let arm = trained_arm(arm)?;
    let program = Counting {
        settings,
        arm,
        updates,
    };
    let counted = on_device(DeviceName::Flex, program).map_err(CliError::usage)?;
    let counted = counted.map_err(CliError::failure)?;
    let text = serde_json::to_string_pretty(&counted).map_err(CliError::failure)?;
    let bytes = counted.gradient_bytes();
    print(format_args!("{text}\nbytes of the gradients: {bytes}\n"))
}

struct Counting {
    settings: Settings,
    arm: &'static str,
    updates: u64,
}

impl Program for Counting {
    type Output = Result<Forecast, PipelineError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let corpus = corpus(&self.settings)?;
        let stages = Stages::<B>::new(self.settings, corpus, device, StopFlag::default());
        stages.forecast(self.arm, self.updates)
    }
}

/// The preset of a name and a seed, changed as the options say.
fn settings(
    (name, seed): (&str, u64),
    task: Option<&str>,
    precision: Option<Precision>,
    sets: &[String],
) -> Result<Settings, PipelineError> {
    let settings = adjusted(preset(name, seed)?, task, precision, &overrides(sets)?)?;
    check_seed(&settings, seed)?;
    Ok(settings)
}
