//! Arbitrary inputs for everything that reads what others wrote, on stable Rust: a small corpus, changed at random by
//! seed. `fuzz/` has the same functions for `cargo fuzz`, which finds its way by coverage.
//!
//! ```text
//! cargo run --release --example fuzz_inputs -- --executions N [--seed S] [--input NAME] [--record FILE]
//! ```

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use relay_examples::{CliError, finish, parse_args, print, write_json};
use relay_tasks::Stream;
use serde::{Deserialize, Serialize};

#[path = "../fuzz/inputs.rs"]
mod inputs;

/// One execution may take so long; more is a failure too.
const PATIENCE: Duration = Duration::from_secs(2);
/// Inputs grow up to this many bytes, or to twice the longest of the corpus.
const LONGEST: usize = 1024;
/// Pieces that mean something to one reader or another.
const WORDS: [&str; 29] = [
    "0",
    "-1",
    "1",
    "7",
    "10",
    "249",
    "4294967296",
    "18446744073709551615",
    "1e999",
    "-0.0",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "=",
    "(",
    ")",
    "+",
    "*",
    "<sep>",
    "<pad>",
    "<eos>",
    "[ARI]",
    "a",
    " ",
    "\n",
    "\\u0000",
    "\u{fffd}",
];

/// Feeds changed inputs of the corpus to every reader and counts what goes wrong.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How many inputs, over all kinds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    executions: u64,
    /// Seed of the changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One kind of input only: problems, jsonl, benchmark, settings, manifest or chains.
    #[arg(long)]
    input: Option<String>,
    /// Where the corpus lies, one directory a kind.
    #[arg(long, default_value = "fuzz/corpus")]
    corpus: PathBuf,
    /// Adds the outcome to a JSON file.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// The outcome of all calls with one record.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    command: String,
    executions: u64,
    failures: u64,
    seconds: f64,
    /// Longest time of one execution.
    slowest_milliseconds: f64,
    by_input: BTreeMap<String, u64>,
    seeds: Vec<u64>,
    /// What failed: kind, seed and number of the execution, and the message.
    failed: Vec<String>,
}

fn main() -> ExitCode {
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let kinds: Vec<inputs::Input> = inputs::INPUTS
        .into_iter()
        .filter(|(name, _)| args.input.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    if kinds.is_empty() {
        let names = inputs::INPUTS.map(|(name, _)| name).join(", ");
        let wanted = args.input.unwrap_or_default();
        return Err(CliError::usage(format!(
            "unknown kind of input `{wanted}`; known are {names}"
        )));
    }
    let mut record = match &args.record {
        Some(file) if file.exists() => {
            let damaged = |e| CliError::failure(format!("{}: {e}", file.display()));
            serde_json::from_slice(&read(file)?).map_err(damaged)?
        }
        _ => Record::default(),
    };
    record.command =
        "cargo run --release --example fuzz_inputs -- --executions N --seed S".to_owned();
    // What is caught is told at the end, in one line each.
    panic::set_hook(Box::new(|_| {}));
    let clock = Instant::now();
    let (executions, failures) = (record.executions, record.failures);
    for (index, (name, check)) in (0_u64..).zip(&kinds) {
        let count = args.executions / kinds.len() as u64
            + u64::from(index < args.executions % kinds.len() as u64);
        let corpus = load(&args.corpus.join(name))?;
        for number in 0..count {
            let input = changed(&corpus, &mut Stream::named(args.seed, name, &[number]));
            if let Some(what) = record.execute(*check, &input) {
                record.note_failure(&format!("{name}-{}-{number}", args.seed), &input, &what);
            }
        }
        record.executions += count;
        *record.by_input.entry((*name).to_owned()).or_default() += count;
    }
    record.seconds += (clock.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    record.seeds.push(args.seed);
    let (executions, failures) = (record.executions - executions, record.failures - failures);
    if let Some(file) = &args.record {
        write_json(file, &record)?;
    }
    print(format_args!(
        "{executions} executions, {failures} failures\n"
    ))?;
    match failures {
        0 => Ok(()),
        _ => Err(CliError::failure(
            "the inputs that failed lie in fuzz-failure-*",
        )),
    }
}

impl Record {
    /// One execution; says what is wrong, if something is.
    fn execute(&mut self, check: fn(&[u8]), input: &[u8]) -> Option<String> {
        let begun = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| check(input)));
        let took = begun.elapsed();
        let milliseconds = (took.as_secs_f64() * 1e4).round() / 10.0;
        self.slowest_milliseconds = self.slowest_milliseconds.max(milliseconds);
        match outcome {
            Err(panic) => Some(message(panic.as_ref())),
            Ok(()) if took > PATIENCE => Some(format!("it took {took:?}")),
            Ok(()) => None,
        }
    }

    /// Tells of a failure, and keeps its input in a file.
    fn note_failure(&mut self, which: &str, input: &[u8], what: &str) {
        let file = PathBuf::from(format!("fuzz-failure-{which}"));
        if let Err(error) = fs::write(&file, input) {
            // It is told all the same, and can be made again from seed and number.
            let _ = writeln!(io::stderr(), "cannot write {}: {error}", file.display());
        }
        self.failures += 1;
        let what: String = what.chars().take(300).collect();
        let _ = writeln!(io::stderr(), "{}: {what}", file.display());
        self.failed.push(format!("{which}: {what}"));
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    fs::read(path).map_err(|error| CliError::failure(format!("{}: {error}", path.display())))
}

/// The inputs of a directory, in the order of their names.
fn load(dir: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    let entries = fs::read_dir(dir)
        .map_err(|error| CliError::failure(format!("{}: {error}", dir.display())))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(CliError::failure(format!("{} is empty", dir.display())));
    }
    paths.iter().map(|path| read(path)).collect()
}

/// One of the inputs with some changes, few as a rule.
fn changed(corpus: &[Vec<u8>], stream: &mut Stream) -> Vec<u8> {
    let pick = |stream: &mut Stream| &corpus[stream.below(corpus.len() as u64) as usize];
    let mut input = pick(stream).clone();
    let longest = LONGEST.max(2 * input.len());
    for _ in 0..=stream.below(6) {
        let other = pick(stream);
        change(&mut input, other, stream);
    }
    input.truncate(longest);
    input
}

fn change(input: &mut Vec<u8>, other: &[u8], stream: &mut Stream) {
    let place = |bytes: &[u8], stream: &mut Stream| stream.below(bytes.len() as u64 + 1) as usize;
    let piece = |bytes: &[u8], stream: &mut Stream| {
        let from = place(bytes, stream);
        from..(from + stream.below(33) as usize).min(bytes.len())
    };
    let at = place(input, stream);
    match stream.below(8) {
        0 if at < input.len() => input[at] ^= 1 << stream.below(8),
        1 if at < input.len() => input[at] = stream.below(256) as u8,
        2 => input.insert(at, stream.below(256) as u8),
        3 => drop(input.drain(piece(input, stream))),
        4 => {
            let word = WORDS[stream.below(WORDS.len() as u64) as usize];
            let cut = at..(at + stream.below(4) as usize).min(input.len());
            drop(input.splice(cut, word.bytes()));
        }
        5 => {
            let from = piece(other, stream);
            drop(input.splice(at..at, other[from].iter().copied()));
        }
        6 => {
            let again = input[piece(input, stream)].to_vec();
            drop(input.splice(at..at, again));
        }
        _ => {
            // A piece that is a number or a word, changed as a whole: what lies between two spaces, commas or brackets.
            let ends = |byte: &u8| b" ,:=[]{}\n".contains(byte);
            let from = input[..at].iter().rposition(ends).map_or(0, |end| end + 1);
            let to = input[at..]
                .iter()
                .position(ends)
                .map_or(input.len(), |end| at + end);
            let word = WORDS[stream.below(WORDS.len() as u64) as usize];
            drop(input.splice(from..to, word.bytes()));
        }
    }
}
