//! Sweeps: every combination of some values of some settings, each a run of its own; what no value changes is made once.
//!
//! ```text
//! cargo run --release --example sweep -- --preset mini --seeds 1,2 --set looped_aligned.lambda=0,0.1,1,10 \
//!     --arms looped_aligned --out runs/lambda
//! cargo run --release --example sweep -- --preset mini --loops -2..4 --arms looped_aligned,looped_vanilla --out runs/loops
//! ```
//!
//! The same command resumes a sweep that was interrupted. See `docs/sweeps.md`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, builder::NonEmptyStringValueParser};
use relay_examples::{
    CliError, CommandLine, Computing, DeviceName, adjusted, all_made, finish, parse_args, print,
    run_command, run_each, start_logging,
};
use relay_pipeline::{Axis, Existing, SeveralRuns, Sweep, SweepResults, check_shared_dir, preset};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs every combination of the values and compares them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where the settings come from that do not vary: `smoke`, `quick`, `mini` or `paper`.
    #[arg(long, default_value = "mini")]
    preset: String,
    /// Seeds, each combination is run with all of them.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
    /// A setting and its values, as often as wanted. `stage1.` is short for `looped_aligned.`, `stage2.` for `ar_relay.`,
    /// `model.` for both models.
    #[arg(long = "set", value_name = "PATH=VALUE,...")]
    sets: Vec<String>,
    /// Iterations of the looped models at test time, beyond what a problem asks for.
    #[arg(long, value_name = "FROM..TO", allow_hyphen_values = true)]
    loops: Option<String>,
    /// The arms that are trained and measured [default: all].
    #[arg(long, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    arms: Vec<String>,
    #[command(flatten)]
    computing: Computing,
    /// Directory of the sweep; runs that it holds are resumed, or taken as they are.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let device = args.computing.device()?;
    let axes = args.sets.iter().map(|text| text.parse::<Axis>());
    let mut axes: Vec<Axis> = axes.collect::<Result<_, _>>().map_err(CliError::usage)?;
    if let Some(range) = &args.loops {
        axes.push(Axis::loops(range).map_err(CliError::usage)?);
    }
    let sweep = Sweep {
        axes,
        seeds: args.seeds.clone(),
    };
    check_shared_dir(&args.out).map_err(CliError::usage)?;
    let runs = sweep
        .runs(
            &args.out,
            |seed| {
                adjusted(
                    preset(&args.preset, seed)?,
                    None,
                    args.computing.precision,
                    &[],
                )
            },
            |seed, overrides| {
                let (arms, precision) = (&args.arms, args.computing.precision);
                run_command(&args.preset, seed, overrides, arms, device, precision).to_string()
            },
        )
        .map_err(CliError::usage)?;
    let several = SeveralRuns {
        runs: runs.clone(),
        existing: Existing::Resume,
        arms: args.arms.clone(),
        reuse: true,
        jobs: args.computing.jobs(device),
        device: device.to_string(),
    };
    let outcomes = run_each(several, device)?;
    let swept = sweep
        .results(&runs, &outcomes, &command(&args, device))
        .map_err(CliError::failure)?;
    let written = swept.write(&args.out).map_err(CliError::failure)?;
    let files = written
        .iter()
        .map(|file| format!("written: {}\n", file.display()));
    let files: String = files.collect();
    print(format_args!(
        "{}\n{}{files}",
        swept.markdown(),
        taken_over(&swept)
    ))?;
    all_made(&outcomes, Existing::Resume)
}

/// What each run took over from others, a line each.
fn taken_over(swept: &SweepResults) -> String {
    let mut lines = String::new();
    for one in swept.combinations.iter().flat_map(|one| &one.runs) {
        let reused: Vec<String> = one
            .reused
            .iter()
            .map(|(stage, lender)| format!("{stage} from {lender}"))
            .collect();
        if !reused.is_empty() {
            lines += &format!("{}: taken over: {}\n", one.dir, reused.join(", "));
        }
    }
    lines
}

fn command(args: &Args, device: DeviceName) -> String {
    CommandLine::new(device, "sweep")
        .option("--preset", &args.preset)
        .list("--seeds", &args.seeds)
        .each("--set", &args.sets)
        .each("--loops", &args.loops)
        .list("--arms", &args.arms)
        .each("--precision", args.computing.precision)
        .option("--device", device)
        .to_string()
}
