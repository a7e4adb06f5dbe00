//! Torture: the main job is killed again and again, at random moments and while it writes, and has to end as if nothing
//! had happened.
//!
//! ```text
//! cargo build --release -p relay-examples --example multitask_relay
//! cargo run --release --example torture -- --kills N [--seed S] [--preset smoke] [--record FILE]
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use relay_examples::{CliError, finish, parse_args, print};
use relay_tasks::Stream;

mod compare;
mod program;
mod record;

use compare::{Snapshot, differences};
use program::{Ending, Plan, Program};
use record::{Batch, Record};

/// The most threads that a start is given; each start draws a number of its own.
const THREADS: u64 = 3;

/// Kills the main job N times, takes it up each time, and compares what it makes with an undisturbed run, bit by bit.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How many times to kill; whenever a run completes, it is compared and another one is begun.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// Seed of the signals, moments and numbers of threads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Preset of the run.
    #[arg(long, default_value = "smoke")]
    preset: String,
    /// Adds the outcome to a JSON file.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

fn main() -> ExitCode {
    finish(parse_args().and_then(torture))
}

fn torture(args: Args) -> Result<(), CliError> {
    let clock = Instant::now();
    // Read first: a file that cannot be added to must not cost the whole run.
    let mut record = args
        .record
        .as_deref()
        .map(|file| Record::load(file, &args.preset))
        .transpose()?;
    let scratch = std::env::temp_dir().join(format!("relay-torture-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(CliError::failure)?;
    let outcome = run(&args, &scratch);
    let removed = fs::remove_dir_all(&scratch).map_err(CliError::failure);
    let batch = Batch {
        seconds: clock.elapsed().as_secs_f64().round(),
        ..outcome?
    };
    removed?;
    let (kills, found) = (batch.kills, batch.differences.len());
    let list: String = batch
        .differences
        .iter()
        .map(|what| format!("{what}\n"))
        .collect();
    if let (Some(record), Some(file)) = (&mut record, &args.record) {
        record.add(batch);
        record.save(file)?;
    }
    print(format_args!("{list}{kills} kills, {found} differences\n"))?;
    if found > 0 {
        return Err(CliError::failure(
            "what a killed run makes is not what an undisturbed one makes",
        ));
    }
    Ok(())
}

/// All kills of this call.
fn run(args: &Args, scratch: &Path) -> Result<Batch, CliError> {
    let program = Program::beside(&args.preset)?;
    let whole = scratch.join("undisturbed");
    let clock = Instant::now();
    program.complete(&whole)?;
    let span = clock.elapsed();
    let expected = Snapshot::of(&whole)?;
    // Here and below: what cannot be said on the way must not cost the whole run. It is found out at the end.
    let _ = print(format_args!(
        "undisturbed run: {:.1} s, {} files\n",
        span.as_secs_f64(),
        expected.len()
    ));
    let mut batch = Batch {
        seed: args.seed,
        files: expected.len(),
        ..Batch::default()
    };
    let mut wrong = 0;
    let mut dir = scratch.join("run-1");
    for start in 0.. {
        // A program that only ever fails by itself must not be started for ever.
        let done = batch.kills + wrong >= args.kills;
        let plan = (!done).then(|| plan(args.seed, start, span));
        let threads = 1 + Stream::named(args.seed, "torture threads", &[start]).below(THREADS);
        let ending = program.start(&dir, threads, plan.as_ref())?;
        batch.count(&ending, threads, plan.as_ref());
        match ending {
            Ending::Killed { .. } => {}
            Ending::Completed => {
                let found = differences(&expected, &Snapshot::of(&dir)?);
                batch.completed(found);
                fs::remove_dir_all(&dir).map_err(CliError::failure)?;
                dir = scratch.join(format!("run-{}", batch.runs + 1));
                let _ = print(format_args!(
                    "{} kills so far, {} runs completed, {} differences\n",
                    batch.kills,
                    batch.runs,
                    batch.differences.len()
                ));
                if done {
                    return Ok(batch);
                }
            }
            Ending::Wrong(what) => {
                // Anew, so that one failure is counted once.
                batch.differences.push(what);
                wrong += 1;
                if dir.exists() {
                    fs::remove_dir_all(&dir).map_err(CliError::failure)?;
                }
                if done {
                    return Ok(batch);
                }
            }
        }
    }
    Ok(batch)
}

/// How start number `start` is to end: signal and moment, drawn by seed.
fn plan(seed: u64, start: u64, span: Duration) -> Plan {
    let mut stream = Stream::named(seed, "torture", &[start]);
    Plan {
        signal: program::SIGNALS[stream.below(program::SIGNALS.len() as u64) as usize],
        // A third of a run at the most, so that kills come faster than runs end.
        after: span.mul_f64(0.3 * stream.unit()),
        at_write: stream.below(2) == 0,
        again: stream.below(3) == 0,
    }
}
