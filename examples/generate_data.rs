//! Data files: problems with steps and answers made, solved, checked, and turned from one format into another.
//!
//! ```text
//! cargo run --release --example generate_data -- --task ed --lengths 3..10 --count 1000 --split train --seed 1 --out ed.jsonl
//! cargo run --release --example generate_data -- --solve problems.jsonl --out solved.jsonl
//! cargo run --release --example generate_data -- --convert chain/train_data.txt --input-format benchmark --task ari \
//!     --order random-expansion --out ari.jsonl
//! ```

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use clap::{ArgGroup, Parser};
use relay_examples::{
    CliError, DialectArgs, InputFormat, OutputFormat, PaperTasks, ProblemInput, ProblemOutput,
    TaskName, finish, parse_args, parse_pair, start_logging, stop_on_signals,
};
use relay_tasks::{Dataset, Problem, Split, Task, TaskError};
use tracing::{info, warn};

/// Makes data files of the paper's tasks; solves or converts such files.
#[derive(Debug, Parser)]
#[command(version)]
#[command(group(ArgGroup::new("input").args(["solve", "convert"])))]
struct Args {
    /// The task; with --solve and --convert the one of lines that do not name theirs.
    #[arg(long, required_unless_present = "input")]
    task: Option<TaskName>,
    /// Shortest and longest problem, such as 15..25; their numbers are in proportion to the length.
    #[arg(long, value_parser = parse_pair, allow_hyphen_values = true, required_unless_present = "input", conflicts_with = "input")]
    lengths: Option<(usize, usize)>,
    /// How many problems.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), default_value_t = 1000, conflicts_with = "input")]
    count: u64,
    /// The split: train, valid or test; they share no problem.
    #[arg(long, default_value = "train", conflicts_with = "input")]
    split: String,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1, conflicts_with = "input")]
    seed: u64,
    /// Solve the problems of this file instead: its lines need only `task` and `problem`.
    #[arg(long, value_name = "FILE")]
    solve: Option<PathBuf>,
    /// Take problems, steps and answers from this file instead, check them and write them anew.
    #[arg(long, value_name = "FILE")]
    convert: Option<PathBuf>,
    /// Count and report bad lines of the input instead of stopping at the first.
    #[arg(long, requires = "input")]
    skip_bad: bool,
    /// Format of the input.
    #[arg(long, value_enum, default_value_t = InputFormat::Jsonl, requires = "input")]
    input_format: InputFormat,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Format of the file to write.
    #[arg(long, value_enum, default_value_t = OutputFormat::Jsonl)]
    format: OutputFormat,
    #[command(flatten)]
    dialect: DialectArgs,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    // In JSON lines --task is that of lines without one, and others may be of other tasks.
    let mixed = args.solve.is_some() || args.convert.is_some();
    let mixed = mixed && args.input_format == InputFormat::Jsonl;
    if let Some(task) = args.task.filter(|_| !mixed) {
        args.dialect.only_for(task)?;
    }
    match (&args.solve, &args.convert) {
        (None, None) => generate(&args),
        (Some(file), _) => read(&args, file, |task, problem| solve(task, &problem.prompt)),
        (None, Some(file)) => read(&args, file, check),
    }
}

/// A signal between two problems: the program ends there, and what it has begun to write goes.
struct Signals {
    came: Arc<AtomicBool>,
    number: Arc<AtomicU8>,
}

impl Signals {
    fn watched() -> Result<Self, CliError> {
        let came = Arc::default();
        let number = stop_on_signals(&came).map_err(CliError::failure)?;
        Ok(Self { came, number })
    }

    fn check(&self) -> Result<(), CliError> {
        if self.came.load(Ordering::SeqCst) {
            let message = "stopped before the file was finished: it is as it was";
            return Err(CliError::interrupted(message, &self.number));
        }
        Ok(())
    }
}

/// Makes problems and writes them.
fn generate(args: &Args) -> Result<(), CliError> {
    let (Some(name), Some((shortest, longest))) = (args.task, args.lengths) else {
        return Err(CliError::usage(
            "--task and --lengths are needed, or --solve or --convert",
        ));
    };
    let split: Split = args.split.parse().map_err(CliError::usage)?;
    let task = args
        .dialect
        .config(name)?
        .build()
        .map_err(CliError::usage)?;
    let dialect = task.dialect();
    let dataset =
        Dataset::new(task, shortest..=longest, args.seed, split).map_err(CliError::usage)?;
    let mut output = ProblemOutput::create(&args.out, args.format).map_err(CliError::failure)?;
    let signals = Signals::watched()?;
    for index in 0..args.count {
        signals.check()?;
        let problem = dataset.get(index).map_err(CliError::failure)?;
        output
            .write(&problem, &dialect)
            .map_err(CliError::failure)?;
    }
    output.finish().map_err(CliError::failure)?;
    let (count, name, out) = (args.count, name.text(), args.out.display());
    info!(
        "wrote {count} problems of {name}, lengths {shortest}..{longest}, split {split}, to {out}"
    );
    Ok(())
}

/// Reads problems, makes of each what `make` does, and writes that.
fn read(
    args: &Args,
    file: &Path,
    mut make: impl FnMut(&dyn Task, Problem) -> Result<Problem, TaskError>,
) -> Result<(), CliError> {
    let tasks = PaperTasks::build(&args.dialect)?;
    let mut input = ProblemInput::open(file, args.input_format, args.task, args.skip_bad, &tasks)?;
    let mut output = ProblemOutput::create(&args.out, args.format).map_err(CliError::failure)?;
    let (mut count, mut seen) = (0_u64, BTreeSet::new());
    let signals = Signals::watched()?;
    while let Some(problem) = input.next_as(|task, problem| make(task, problem)) {
        signals.check()?;
        let (problem, dialect) = problem.map_err(CliError::failure)?;
        output
            .write(&problem, &dialect)
            .map_err(CliError::failure)?;
        count += 1;
        seen.insert(problem.task);
    }
    output.finish().map_err(CliError::failure)?;
    let unused = args.dialect.given();
    for (option, owner) in unused.filter(|(_, owner)| !seen.contains(owner.text())) {
        let (file, owner) = (file.display(), owner.text());
        warn!("{option} was of no use: {file} has no problem of {owner}");
    }
    let out = args.out.display();
    match input.skipped() {
        0 => info!("wrote {count} problems to {out}"),
        skipped => info!(
            "wrote {count} problems to {out}; skipped {skipped} bad lines of {}",
            file.display()
        ),
    }
    Ok(())
}

/// True steps and answer of a problem.
fn solve(task: &dyn Task, prompt: &str) -> Result<Problem, TaskError> {
    let words: Vec<&str> = prompt.split_whitespace().collect();
    let prompt = words.join(" ");
    let solution = task.solve(&prompt)?;
    let length = task.length(&prompt)?;
    Ok(Problem {
        task: task.name().to_owned(),
        length,
        prompt,
        steps: solution.steps,
        answer: solution.answer,
    })
}

/// Refuses a problem whose steps or answer are wrong, and says which.
fn check(task: &dyn Task, problem: Problem) -> Result<Problem, TaskError> {
    let Problem { prompt, steps, .. } = &problem;
    let wrong = |what: String| TaskError::prompt(task.name(), prompt, what);
    if steps.is_empty() {
        return Err(wrong("it has no steps to check; --solve makes them".into()));
    }
    if !task.check_chain(prompt, steps, &problem.answer)? {
        return Err(wrong(match task.first_wrong_step(prompt, steps)? {
            Some(number) => format!("its step {number} is wrong in this dialect"),
            None => "its answer or the number of its steps is wrong in this dialect".into(),
        }));
    }
    let length = task.length(prompt)?;
    Ok(Problem { length, ..problem })
}
