//! RELAY on your own files: nobody has to write solutions, or code, for the long problems.
//!
//! ```text
//! cargo run --release --example own_data -- --train chains.jsonl --longer problems.jsonl --test test.jsonl --run-dir DIR
//! cargo run --release --example own_data -- --make-demo DIR     # writes three small files to try it on
//! ```
//!
//! The form of the files is described in `docs/your-own-data.md`.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use relay_examples::{
    CliError, CommandLine, Computing, PipelineRun, adjusted, finish, parse_args, print,
    start_logging,
};
use relay_pipeline::{DataSettings, Existing, FileSettings, own_data_preset, write_atomically};
use relay_tasks::Stream;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Learns from solved problems, writes chains for longer unsolved ones, fine-tunes on them, measures.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Solved problems to learn from, JSONL.
    #[arg(long, required_unless_present = "make_demo")]
    train: Option<PathBuf>,
    /// Longer problems without solutions, JSONL.
    #[arg(long, required_unless_present = "make_demo")]
    longer: Option<PathBuf>,
    /// Solved problems to measure on, JSONL.
    #[arg(long, required_unless_present = "make_demo")]
    test: Option<PathBuf>,
    /// Directory of this run.
    #[arg(long, default_value = "runs/own-data")]
    run_dir: PathBuf,
    /// How long to train: `smoke` (seconds, to see it run), `quick` (minutes) or `mini` (twice as long).
    #[arg(long, default_value = "mini")]
    preset: String,
    #[command(flatten)]
    computing: Computing,
    /// Go on with the run in the directory.
    #[arg(long)]
    resume: bool,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a small data set (sums modulo 5) into this directory instead.
    #[arg(long, conflicts_with_all = ["train", "longer", "test"])]
    make_demo: Option<PathBuf>,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(|args: Args| match &args.make_demo {
        Some(dir) => make_demo(dir, args.seed).and_then(print),
        None => run(args),
    }))
}

fn run(args: Args) -> Result<(), CliError> {
    let device = args.computing.device()?;
    let (Some(train), Some(longer), Some(test)) = (args.train, args.longer, args.test) else {
        return Err(CliError::usage(
            "--train, --longer and --test belong together",
        ));
    };
    let command = CommandLine::new(device, "own_data")
        .option("--train", train.display())
        .option("--longer", longer.display())
        .option("--test", test.display())
        .option("--preset", &args.preset)
        .option("--device", device)
        .option("--seed", args.seed)
        .each("--precision", args.computing.precision);
    let data = DataSettings::Files(FileSettings {
        train,
        longer,
        test,
    });
    let settings = own_data_preset(&args.preset, data, args.seed)
        .and_then(|settings| adjusted(settings, None, args.computing.precision, &[]))
        .map_err(CliError::usage)?;
    let existing = if args.resume {
        Existing::Resume
    } else {
        Existing::Refuse
    };
    PipelineRun {
        settings,
        dir: args.run_dir,
        existing,
        arms: Vec::new(),
        jobs: args.computing.jobs(device),
        device,
        command: command.to_string(),
    }
    .run()
}

/// Sums modulo 5, one addition a step: 2 to 5 numbers to learn from, 6 to 8 without solutions, all of them to test. Gives
/// what was written, a line a file.
fn make_demo(dir: &Path, seed: u64) -> Result<String, CliError> {
    let failed = |path: &Path, error: &std::io::Error| {
        CliError::failure(format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    let mut stream = Stream::named(seed, "own data demo", &[]);
    let mut seen = std::collections::HashSet::new();
    let mut draw = |numbers: usize, may_repeat: bool| loop {
        let drawn: Vec<u64> = (0..numbers).map(|_| stream.below(5)).collect();
        if seen.insert(drawn.clone()) || may_repeat {
            return drawn;
        }
    };
    let solved = |numbers: &[u64]| {
        let steps: Vec<String> = (1..numbers.len()).map(|done| text(numbers, done)).collect();
        json!({ "problem": text(numbers, 0), "answer": steps.last(), "steps": steps }).to_string()
    };
    // Of two numbers there are no more than 25 sums.
    let test: Vec<String> = (2..=8)
        .flat_map(|n| (0..if n == 2 { 25 } else { 40 }).map(move |_| n))
        .map(|n| solved(&draw(n, false)))
        .collect();
    // Short problems are few; a repeated one is no loss in training.
    let train: Vec<String> = (0..3000)
        .map(|i| 2 + i % 4)
        .map(|n| solved(&draw(n, n < 5)))
        .collect();
    let longer: Vec<String> = (0..600)
        .map(|i| draw(6 + i % 3, false))
        .map(|numbers| {
            json!({ "problem": text(&numbers, 0), "iterations": numbers.len() - 1 }).to_string()
        })
        .collect();
    let files = [
        ("chains.jsonl", train),
        ("problems.jsonl", longer),
        ("test.jsonl", test),
    ];
    let files = files.map(|(name, lines)| (dir.join(name), lines.join("\n") + "\n", lines.len()));
    for (path, text, _) in &files {
        not_taken(path, text)?;
    }
    let mut written = String::new();
    for (path, text, lines) in &files {
        write_atomically(path, text.as_bytes()).map_err(CliError::failure)?;
        written += &format!("{}: {lines} lines\n", path.display());
    }
    Ok(written)
}

/// That there is no file of this name, or it holds this text: somebody's own data may have these names.
fn not_taken(path: &Path, text: &str) -> Result<(), CliError> {
    let why = match fs::read(path) {
        Ok(held) if held == text.as_bytes() => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(_) => "holds something else".to_owned(),
        Err(error) => error.to_string(),
    };
    let path = path.display();
    Err(CliError::failure(format!(
        "{path}: {why}; choose another directory"
    )))
}

/// The sum after `done` additions, as the problem or a step spells it.
fn text(numbers: &[u64], done: usize) -> String {
    let first = numbers[..=done].iter().sum::<u64>() % 5;
    let rest = numbers[done + 1..].iter().map(u64::to_string);
    let terms: Vec<String> = std::iter::once(first.to_string()).chain(rest).collect();
    if terms.len() == 1 {
        terms[0].clone()
    } else {
        format!("{} =", terms.join(" + "))
    }
}
