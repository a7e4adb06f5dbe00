//! A trained model of a run solves problems that you type, and says how sure it is of each step.
//!
//! ```text
//! cargo run --release --example solve -- --run-dir runs/mini-seed-1 --task ari "1 + 2 * ( 2 - 1 ) ="
//! cargo run --release --example solve -- --run-dir runs/mini-seed-1 --task ed --arm looped_aligned "b c | a b c <sep>"
//! cargo run --release --example solve -- --run-dir runs/own-data --iterations 6 --json < problems.txt > chains.jsonl
//! ```

use std::{
    fmt::Write,
    fs,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use burn::tensor::backend::AutodiffBackend;
use clap::Parser;
use relay_examples::{
    CliError, Program, end_on_signals, finish, on_device, parse_args, print_for_reader,
    start_logging,
};
use relay_pipeline::{PipelineError, Question, Solved, arms::AR_RELAY, holds_run, solve_each};
use relay_train::StopFlag;
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Solves problems with a trained model of a run.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The problems, tokens separated by spaces [default: the lines of standard input].
    problems: Vec<String>,
    /// Directory of the run.
    #[arg(long, default_value = "runs/mini-seed-1")]
    run_dir: PathBuf,
    /// Which of its models: `looped_aligned`, `looped_vanilla` (answers only), `ar_baseline`, `ar_relay`, `ar_self_loop`,
    /// `ar_self_truth`.
    #[arg(long, default_value = AR_RELAY)]
    arm: String,
    /// Task of the problems: `ari`, `ed`, `lis`, or a name in your own data; not needed where the run has one only.
    #[arg(long)]
    task: Option<String>,
    /// Steps that a problem takes: the iterations of a looped model, and room for as many in the text of an auto-regressive
    /// one, which may use it for others [default: as many as the task says; needed for your own data].
    #[arg(long)]
    iterations: Option<usize>,
    /// Most tokens that a step may have [default: as many as the task says].
    #[arg(long)]
    width: Option<usize>,
    /// Print a JSON object for each problem, in the form that `own_data` reads.
    #[arg(long)]
    json: bool,
    /// Where the computation runs: `flex`, `ndarray` or `cuda`.
    #[arg(long, default_value = "flex")]
    device: String,
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let device = args.device.parse().map_err(CliError::usage)?;
    if !holds_run(&args.run_dir) {
        let dir = args.run_dir.display();
        let below = runs_below(&args.run_dir);
        let right = match below.is_empty() {
            true => {
                "give the --run-dir of a run that multitask_relay, own_data or paper_figures has \
                     made"
                    .to_owned()
            }
            false => format!("give one of those below it: {}", below.join(", ")),
        };
        return Err(CliError::usage(format!(
            "there is no run in {dir}: {right}"
        )));
    }
    let (questions, places) = questions(&args)?;
    // There is nothing to save, and a long problem may take minutes.
    end_on_signals("stopped before all problems were solved").map_err(CliError::failure)?;
    let solving = Solving {
        questions,
        run_dir: args.run_dir,
        arm: args.arm,
        json: args.json,
    };
    let solved = on_device(device, solving).map_err(CliError::usage)?;
    match solved {
        Ok(()) | Err(Failed::NobodyReads) => Ok(()),
        Err(Failed::Solving(error)) => Err(explained(error, &places)),
        Err(Failed::Printing(error)) => Err(error),
    }
}

/// The runs in the directory of several seeds or of a sweep.
fn runs_below(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let runs = entries
        .map(|entry| entry.path())
        .filter(|path| holds_run(path));
    let mut runs: Vec<String> = runs.map(|path| path.display().to_string()).collect();
    runs.sort();
    runs
}

/// What is asked: by the command line, or by standard input where that asks nothing; and where each problem stands, for
/// messages.
fn questions(args: &Args) -> Result<(Vec<Question>, Vec<String>), CliError> {
    let mut problems = args.problems.clone();
    let mut places = Vec::new();
    if problems.is_empty() {
        if io::stdin().is_terminal() {
            let right = "give one, such as \"1 + 2 =\", or lines of them on standard input";
            return Err(CliError::usage(format!("no problem to solve: {right}")));
        }
        let mut bytes = Vec::new();
        let read = io::stdin().read_to_end(&mut bytes);
        read.map_err(|e| CliError::failure(format!("cannot read standard input: {e}")))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
            CliError::failure(format!("line {line} of standard input is no UTF-8 text"))
        })?;
        // Editors of some systems put a byte order mark before everything.
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
        (places, problems) = lines
            .map(|(number, line)| (format!("line {number} of standard input"), line.to_owned()))
            .unzip();
        if problems.is_empty() {
            return Err(CliError::usage(
                "no problem to solve: standard input is empty",
            ));
        }
    } else if problems.len() > 1 {
        places = (1..=problems.len())
            .map(|number| format!("problem {number}"))
            .collect();
    }
    let question = |problem| Question {
        task: args.task.clone(),
        problem,
        iterations: args.iterations,
        width: args.width,
    };
    Ok((problems.into_iter().map(question).collect(), places))
}

struct Solving {
    questions: Vec<Question>,
    run_dir: PathBuf,
    arm: String,
    json: bool,
}

/// Why not all is solved and printed.
enum Failed {
    Solving(PipelineError),
    Printing(CliError),
    /// As behind `| head -1`: nothing is left to be done.
    NobodyReads,
}

impl From<PipelineError> for Failed {
    fn from(error: PipelineError) -> Self {
        Self::Solving(error)
    }
}

impl Program for Solving {
    type Output = Result<(), Failed>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let each = |solved: Solved| {
            let text = match self.json {
                true => line(&solved),
                false => Ok(text(&solved)),
            };
            match text.and_then(print_for_reader) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Failed::NobodyReads),
                Err(error) => Err(Failed::Printing(error)),
            }
        };
        let (run, questions, never) = (&self.run_dir, &self.questions, StopFlag::default());
        solve_each::<B, Failed>(run, &self.arm, questions, device, never, each)
    }
}

/// A text that is no problem is a mistake on the command line; `places` says where each stands.
fn explained(error: PipelineError, places: &[String]) -> CliError {
    let usage = error.is_usage();
    match error {
        PipelineError::Asked { number, reason } if usage => {
            // One alone needs no place.
            let place = places.get(number - 1).map(|place| format!("{place}: "));
            CliError::usage(format!("{}{reason}", place.unwrap_or_default()))
        }
        error if usage => CliError::usage(error),
        error => CliError::failure(error),
    }
}

/// The chain of a problem for people, with what would be right where the truth is known.
fn text(solved: &Solved) -> String {
    let (written, truth) = (&solved.written, solved.truth.as_ref());
    let mut text = format!("{}: {}\n", written.task, written.problem);
    let widest = written.steps.iter().map(String::len).max().unwrap_or(0);
    for (number, step) in written.steps.iter().enumerate() {
        let sure = written.confidence.get(number).copied().unwrap_or(f32::NAN);
        let _ = write!(text, "{:4}  {step:widest$}  {sure:.3}", number + 1);
        let right = truth.map(|truth| truth.steps.get(number));
        let _ = match right {
            Some(Some(right)) if right != step => writeln!(text, "  wrong, right is {right}"),
            Some(None) => writeln!(text, "  wrong, there is no such step"),
            _ => writeln!(text),
        };
    }
    let _ = match written.answer.as_str() {
        "" => write!(text, "no answer"),
        answer => write!(text, "answer {answer}  {:.3}", written.answer_confidence),
    };
    let _ = match (truth, solved.score) {
        (Some(truth), Some(score)) if !score.answer => {
            writeln!(text, "  wrong, right is {}", truth.answer)
        }
        (Some(truth), Some(_))
            if truth.steps.len() > written.steps.len() && !written.steps.is_empty() =>
        {
            writeln!(text, "  right, but {} steps are right", truth.steps.len())
        }
        (Some(_), Some(_)) => writeln!(text, "  right"),
        _ => writeln!(text),
    };
    text
}

/// The same for programs: a line of `chains.jsonl`, and what is right of it where the truth is known.
fn line(solved: &Solved) -> Result<String, CliError> {
    let mut line = serde_json::to_value(&solved.written).map_err(CliError::failure)?;
    if let (Value::Object(fields), Some(score)) = (&mut line, solved.score) {
        fields.insert("answer_is_right".into(), score.answer.into());
        // The vanilla looped model writes none.
        if !solved.written.steps.is_empty() {
            fields.insert("chain_is_right".into(), score.chain.into());
        }
    }
    Ok(format!("{line}\n"))
}
