//! The first updates of one training on two devices, side by side: the same losses within stated tolerances?
//!
//! ```text
//! cargo run --release --example compare_devices -- --preset mini --a flex --b ndarray --updates 200 --out runs/compare
//! ```
//!
//! It ends with 1 when they lie further apart than that. Everything random is drawn on the host, so both sides see the
//! same weights, problems and dropout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use burn::tensor::backend::AutodiffBackend;
use clap::Parser;
use relay_examples::{
    CliError, Comparison, DeviceName, Program, Side, Tolerances, adjusted, check_seed, finish,
    on_device, overrides, parse_args, print, start_logging, stop_on_signals, trained_arm,
};
use relay_pipeline::{
    Figure, PipelineError, Settings, Stages, Traces, corpus, lock, preset, write_atomically,
};
use relay_train::{Precision, StopFlag, check_precision, list_checkpoints};
use serde_json::{Value, json};

/// File that marks a directory as one side of a comparison, which the next one removes.
const MARK: &str = "side-of-a-comparison";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains for some updates on two devices and compares the losses.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Sizes and lengths: `smoke`, `quick`, `mini` or `paper`.
    #[arg(long, default_value = "mini")]
    preset: String,
    /// One device: `flex`, `ndarray` or `cuda`.
    #[arg(long, default_value = "flex")]
    a: DeviceName,
    /// The other.
    #[arg(long, default_value = "ndarray")]
    b: DeviceName,
    /// What the layers' products multiply on the first device: `f32` or `bf16`.
    #[arg(long, default_value_t = Precision::F32)]
    precision_a: Precision,
    /// The same on the second.
    #[arg(long, default_value_t = Precision::F32)]
    precision_b: Precision,
    /// The first updates of the preset's training that are made.
    #[arg(long, default_value_t = 200)]
    updates: u64,
    /// The arm whose training it is: `looped_aligned`, `looped_vanilla` or `ar_baseline`.
    #[arg(long, default_value = "looped_aligned")]
    arm: String,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Change a setting, as often as wanted.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Compute with burn's own operations only, without the hand-written kernels.
    #[arg(long)]
    no_kernels: bool,
    /// The greatest relative difference of the first loss [default: by devices and precisions, 1e-4 to 0.02].
    #[arg(long)]
    first_tolerance: Option<f64>,
    /// The greatest relative difference of any loss [default: by devices and precisions, 0.02 to 0.1].
    #[arg(long)]
    tolerance: Option<f64>,
    /// Directory of what is written.
    #[arg(long, default_value = "runs/compare")]
    out: PathBuf,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    relay_kernels::set_enabled(!args.no_kernels);
    let arm = trained_arm(&args.arm)?;
    if args.updates == 0 {
        return Err(CliError::usage("--updates is 0: it must be at least 1"));
    }
    // What one of the two cannot do is said before anything is made, and not after the other has trained for minutes.
    for (device, precision) in [(args.a, args.precision_a), (args.b, args.precision_b)] {
        settings(&args, precision).map_err(CliError::usage)?;
        on_device(device, Able { precision }).map_err(CliError::usage)??;
    }
    let stop = StopFlag::default();
    let signal = stop_on_signals(&stop.shared()).map_err(CliError::failure)?;
    let one = |name: &str, device: DeviceName, precision: Precision| {
        let settings = settings(&args, precision).map_err(CliError::usage)?;
        let training = Training {
            settings,
            arm,
            updates: args.updates,
            dir: args.out.join(name),
            stop: stop.clone(),
        };
        let losses = on_device(device, training).map_err(CliError::usage)?;
        if stop.is_set() {
            let message = "stopped before both devices were compared";
            return Err(CliError::interrupted(message, &signal));
        }
        let side = Side {
            device: device.to_string(),
            precision,
        };
        Ok::<_, CliError>((side, losses?))
    };
    for name in ["a", "b"] {
        refuse_foreign(&args.out.join(name))?;
    }
    let _lock = lock(&args.out).map_err(CliError::failure)?;
    let (side_a, a) = one("a", args.a, args.precision_a)?;
    let (side_b, b) = one("b", args.b, args.precision_b)?;
    let usual = Tolerances::of([&side_a, &side_b]);
    let tolerances = Tolerances {
        first: args.first_tolerance.unwrap_or(usual.first),
        largest: args.tolerance.unwrap_or(usual.largest),
    };
    let compared = Comparison::new([side_a, side_b], tolerances, [&a, &b])
        .ok_or_else(|| CliError::failure("no update was made on both devices"))?;
    write(&args, &compared).map_err(CliError::failure)?;
    let out = args.out.display();
    print(format_args!("{}written: {out}\n", compared.lines()))?;
    if compared.agree {
        Ok(())
    } else {
        Err(CliError::failure(
            "the losses lie further apart than they may",
        ))
    }
}

/// The preset, with every loss told and nothing else done beside the updates.
fn settings(args: &Args, precision: Precision) -> Result<Settings, PipelineError> {
    let (usual, sets) = (preset(&args.preset, args.seed)?, overrides(&args.sets)?);
    let settings = adjusted(usual.clone(), None, Some(precision), &sets)?;
    check_seed(&settings, args.seed)?;
    // What is compared is told by the options alone.
    let arm = &args.arm;
    let (found, usual) = (&settings.stage(arm)?.train, &usual.stage(arm)?.train);
    if found.precision != precision {
        let field = format!("{arm}.train.precision");
        let right = "left to --precision-a and --precision-b";
        return Err(PipelineError::settings(
            field,
            found.precision.to_string(),
            right,
        ));
    }
    let told = [
        ("log_every", found.log_every, usual.log_every, 1),
        (
            "validate_every",
            found.validate_every,
            usual.validate_every,
            0,
        ),
        (
            "checkpoint_every",
            found.checkpoint_every,
            usual.checkpoint_every,
            0,
        ),
    ];
    if let Some((field, found, ..)) = told.iter().find(|(_, found, usual, _)| found != usual) {
        let field = format!("{arm}.train.{field}");
        let right = "left out: every loss is compared, and nothing else is done";
        return Err(PipelineError::settings(field, found.to_string(), right));
    }
    let told = told.map(|(field, .., value)| format!("{arm}.train.{field}={value}"));
    settings.with(&overrides(&told)?)
}

/// That a side's directory holds nothing, or a side of an earlier comparison, which is removed.
fn refuse_foreign(side: &Path) -> Result<(), CliError> {
    let held = match fs::read_dir(side) {
        Ok(mut entries) => entries.next().is_some() && !side.join(MARK).is_file(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(side, &error)),
    };
    if held {
        let side = side.display();
        let message = format!("{side} holds what is no comparison's; choose another --out");
        return Err(CliError::usage(message));
    }
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failure(format!("{}: {error}", path.display()))
}

/// Whether a device can do what it is asked for.
struct Able {
    precision: Precision,
}

impl Program for Able {
    type Output = Result<(), CliError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        check_precision::<B>(self.precision, &device).map_err(CliError::usage)
    }
}

/// One side's training.
struct Training {
    settings: Settings,
    arm: &'static str,
    updates: u64,
    dir: PathBuf,
    stop: StopFlag,
}

impl Program for Training {
    type Output = Result<Vec<(u64, f64)>, CliError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let corpus = corpus(&self.settings).map_err(CliError::usage)?;
        let stage = self.settings.stage(self.arm).map_err(CliError::usage)?;
        let steps = stage.train.steps;
        let mark = self.dir.join(MARK);
        fs::create_dir_all(&self.dir)
            .and_then(|()| fs::write(&mark, ""))
            .map_err(|error| failed(&mark, &error))?;
        // Metrics of an earlier comparison in the same place are not those of this one.
        let metrics = self.dir.join("metrics.jsonl");
        if let Err(error) = fs::remove_file(&metrics)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(failed(&metrics, &error));
        }
        // Nor would those be that came after a checkpoint that an interrupted comparison left.
        for (_, name) in list_checkpoints(&self.dir).map_err(CliError::failure)? {
            let left = self.dir.join(name);
            fs::remove_dir_all(&left).map_err(|error| failed(&left, &error))?;
        }
        let stages = Stages::<B>::new(self.settings, corpus, device, self.stop.clone())
            .kill_after(self.updates.min(steps));
        match stages.train(self.arm, &self.dir) {
            Err(error) if error.is_interrupted() && !self.stop.is_set() => {}
            Err(error) if error.is_usage() => return Err(CliError::usage(error)),
            Err(error) => return Err(CliError::failure(error)),
            Ok(_) => {}
        }
        losses(&metrics).map_err(|error| failed(&metrics, &error))
    }
}

/// Numbers and losses of the updates.
fn losses(metrics: &Path) -> std::io::Result<Vec<(u64, f64)>> {
    let mut losses = Vec::new();
    for line in fs::read_to_string(metrics)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line["kind"] == "train" {
            let loss = line["loss"].as_f64().unwrap_or(f64::NAN);
            losses.push((line["step"].as_u64().unwrap_or(0), loss));
        }
    }
    Ok(losses)
}

fn write(args: &Args, compared: &Comparison) -> Result<(), PipelineError> {
    let about = json!({
        "preset": args.preset, "seed": args.seed, "arm": args.arm, "settings": args.sets,
        "kernels": !args.no_kernels, "compared": compared,
    });
    let text = format!("{about:#}\n");
    write_atomically(&args.out.join("compare.json"), text.as_bytes())?;
    let [one, other] = compared.sides.each_ref().map(Side::label);
    let again = if one == other { " again" } else { "" };
    let curve = |side: usize| {
        let losses = compared.losses.iter();
        let points = losses.map(|(update, a, b)| (*update as f64, [*a, *b][side]));
        points.collect()
    };
    let panel = Traces {
        title: format!("{}, preset {}", args.arm, args.preset),
        unit: "loss".into(),
        from_zero: false,
        lines: vec![(one, curve(0)), (other + again, curve(1))],
    };
    let title = "The same updates on two devices";
    let base = args.out.join("losses");
    let figure = Figure::of_traces("losses", title, "update", vec![panel]);
    figure.write(&base)?;
    // Both losses of an update in one line, which is easier to read than the figure's own numbers.
    write_atomically(&base.with_extension("csv"), compared.csv().as_bytes())
}
