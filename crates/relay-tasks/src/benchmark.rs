//! The text files of guyuntian/CoT_benchmark (Feng et al. 2023), in and out.
//!
//! A file holds one task and no dialect. Tokens are separated by spaces; a line is one of [`BenchmarkLine`]. Arithmetic
//! chains there are of the order [`RandomExpansion`](crate::StepOrder::RandomExpansion).

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use crate::aside::AsideFile;
use crate::error::{Result, TaskError};
use crate::lines::Lines;
use crate::problem::Problem;
use crate::task::Task;
use crate::{Arithmetic, EditDistance, Lis};

/// What a line of the benchmark's files holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BenchmarkLine {
    /// Problem, steps and answer: `chain/train_data.txt`.
    #[default]
    Chain,
    /// Problem and answer: `decoder/*.txt`.
    Direct,
    /// The problem alone: `chain/test_data.txt` of arithmetic.
    Problem,
    /// The answer alone: `chain/test_ans.txt` of arithmetic.
    Answer,
}

/// Writes a problem as a line of the benchmark, with the trailing space where the benchmark has one.
///
/// # Errors
/// [`TaskError::Data`] for a task that the benchmark's files do not have here (other than `ari`, `ed`, `lis`), and for a line
/// with the answer of a problem that nobody has solved, or with the chain of one without steps.
pub fn write_benchmark_line(problem: &Problem, kind: BenchmarkLine) -> Result<String> {
    let Problem {
        task,
        prompt,
        steps,
        answer,
        ..
    } = problem;
    if answer.is_empty() && !matches!(kind, BenchmarkLine::Problem) {
        return Err(TaskError::data(format!(
            "`{prompt}` is not solved: only its problem can be written"
        )));
    }
    if matches!(kind, BenchmarkLine::Chain) && steps.is_empty() {
        return Err(TaskError::data(format!(
            "`{prompt}` has no steps: only a line without a chain can be written"
        )));
    }
    let steps = match task.as_str() {
        // The last step of arithmetic is the answer.
        Arithmetic::NAME => steps[..steps.len().saturating_sub(1)].join(" "),
        EditDistance::NAME => format!("{} <sep>", steps.join(" ")),
        Lis::NAME => {
            let values = steps
                .iter()
                .flat_map(|step| step.split_ascii_whitespace())
                .filter(|&token| token != "<sep>");
            // One for each number of the problem; the rest fills the last step.
            let numbers = prompt.split_ascii_whitespace();
            let numbers = numbers.filter(|&token| token != "<sep>").count();
            let values: Vec<&str> = values.take(numbers).collect();
            format!("{} <sep>", values.join(" "))
        }
        _ => return Err(unknown(task)),
    };
    Ok(match kind {
        BenchmarkLine::Chain if steps.is_empty() => format!("{prompt} {answer} "),
        BenchmarkLine::Chain => format!("{prompt} {steps} {answer} "),
        BenchmarkLine::Direct => format!("{prompt} {answer}"),
        BenchmarkLine::Problem => format!("{prompt} "),
        BenchmarkLine::Answer => answer.clone(),
    })
}

/// Reads a line of the benchmark: a chain, a problem with its answer (then `steps` is empty), or a problem alone (then
/// `answer` is empty too). Steps and answer are taken as they stand; [`Task::check_chain`] tells whether they are right.
///
/// # Errors
/// [`TaskError`] when the problem is none of the task's or the line is not of the benchmark's form.
pub fn read_benchmark_line(task: &dyn Task, line: &str) -> Result<Problem> {
    let end = match task.name() {
        Arithmetic::NAME => "=",
        EditDistance::NAME | Lis::NAME => "<sep>",
        other => return Err(unknown(other)),
    };
    let tokens: Vec<&str> = line.split_ascii_whitespace().collect();
    let close = tokens.iter().position(|&token| token == end);
    let close = close
        .ok_or_else(|| TaskError::data(format!("there is no `{end}` to close the problem")))?;
    let (problem, rest) = tokens.split_at(close + 1);
    let prompt = problem.join(" ");
    let length = task.length(&prompt)?;
    let (steps, answer) = match rest {
        [] => (Vec::new(), String::new()),
        // An expression of one operator has no step but the answer, so that its two kinds of line are the same.
        [answer] if *answer != end && (task.name() != Arithmetic::NAME || length > 1) => {
            (Vec::new(), (*answer).to_owned())
        }
        rest => match task.name() {
            Arithmetic::NAME => arithmetic_steps(rest)?,
            EditDistance::NAME => edit_distance_steps(rest)?,
            _ => lis_steps(rest, length, task.step_width(&prompt)? - 1)?,
        },
    };
    let expected = task.iterations(&prompt)?;
    if !steps.is_empty() && steps.len() != expected {
        return Err(TaskError::data(format!(
            "it has {} steps; the problem takes {expected}",
            steps.len()
        )));
    }
    Ok(Problem {
        task: task.name().to_owned(),
        length,
        prompt,
        steps,
        answer,
    })
}

/// `a = b = c`: every step but the last ends in `=`, the last is the answer.
fn arithmetic_steps(tokens: &[&str]) -> Result<(Vec<String>, String)> {
    if tokens.last() == Some(&"=") {
        return Err(TaskError::data("it has to end in the answer, not in `=`"));
    }
    let steps: Vec<String> = tokens
        .split_inclusive(|&token| token == "=")
        .map(|step| step.join(" "))
        .collect();
    let answer = steps.last().cloned().unwrap_or_default();
    Ok((steps, answer))
}

/// `row , row , <sep> answer`.
fn edit_distance_steps(tokens: &[&str]) -> Result<(Vec<String>, String)> {
    let (rows, answer) = split_answer(tokens)?;
    Ok((
        rows.split_inclusive(|&token| token == ",")
            .map(|row| row.join(" "))
            .collect(),
        answer,
    ))
}

/// `value value ... <sep> answer`, regrouped into steps with the last one filled up.
fn lis_steps(tokens: &[&str], length: usize, group: usize) -> Result<(Vec<String>, String)> {
    let (values, answer) = split_answer(tokens)?;
    if values.len() != length {
        return Err(TaskError::data(format!(
            "it has {} values for {length} numbers",
            values.len()
        )));
    }
    let step = |chunk: &[&str]| {
        let fill = chunk.last().into_iter().cycle().take(group - chunk.len());
        let tokens: Vec<&str> = chunk.iter().chain(fill).copied().chain(["<sep>"]).collect();
        tokens.join(" ")
    };
    Ok((values.chunks(group).map(step).collect(), answer))
}

fn split_answer<'a>(tokens: &'a [&'a str]) -> Result<(&'a [&'a str], String)> {
    match tokens {
        [steps @ .., "<sep>", answer] => Ok((steps, (*answer).to_owned())),
        _ => Err(TaskError::data("it has to end in `<sep>` and the answer")),
    }
}

fn unknown(task: &str) -> TaskError {
    TaskError::data(format!(
        "the benchmark's text files are for ari, ed and lis, not for `{task}`"
    ))
}

/// Reads a file of the benchmark; an iterator over its problems. The first error, which names file and line, ends it.
#[derive(Debug)]
pub struct BenchmarkReader<R> {
    task: Arc<dyn Task>,
    lines: Lines<R>,
}

impl BenchmarkReader<BufReader<File>> {
    /// Opens a file of the given task.
    ///
    /// # Errors
    /// [`TaskError::Io`] when it cannot be opened.
    pub fn open(task: Arc<dyn Task>, path: &Path) -> Result<Self> {
        Ok(Self {
            task,
            lines: Lines::open(path)?,
        })
    }
}

impl<R: BufRead> BenchmarkReader<R> {
    /// Reads from something that is open; `name` stands in errors.
    pub fn new(task: Arc<dyn Task>, reader: R, name: &Path) -> Self {
        Self {
            task,
            lines: Lines::new(reader, name),
        }
    }

    /// Whether bad lines are counted and reported (as events of `tracing`) instead of ending the reading. A line longer than 16 MiB
    /// is an error all the same.
    #[must_use]
    pub fn skip_bad(mut self, skip_bad: bool) -> Self {
        self.lines.set_skip_bad(skip_bad);
        self
    }

    /// How many bad lines have been skipped so far.
    pub fn skipped(&self) -> usize {
        self.lines.skipped()
    }

    /// The next line as `convert` makes it; what it refuses is a bad line. `None` at the end.
    pub fn next_as<T>(
        &mut self,
        mut convert: impl FnMut(Problem) -> Result<T>,
    ) -> Option<Result<T>> {
        let task = &self.task;
        self.lines
            .next_as(|line| convert(read_benchmark_line(task.as_ref(), line)?))
    }
}

impl<R: BufRead> Iterator for BenchmarkReader<R> {
    type Item = Result<Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_as(Ok)
    }
}

/// Writes a file of the benchmark: beside its place, moved there by [`BenchmarkWriter::finish`].
#[derive(Debug)]
pub struct BenchmarkWriter {
    file: AsideFile,
    kind: BenchmarkLine,
    /// The task of the first problem.
    task: Option<String>,
}

impl BenchmarkWriter {
    /// Starts a file for `path`.
    ///
    /// # Errors
    /// [`TaskError::Io`] when it cannot be created there.
    pub fn create(path: &Path, kind: BenchmarkLine) -> Result<Self> {
        Ok(Self {
            file: AsideFile::create(path)?,
            kind,
            task: None,
        })
    }

    /// Writes a solved problem.
    ///
    /// # Errors
    /// As [`write_benchmark_line`], and [`TaskError::Io`]; a problem of another task than the first one, which no reader could
    /// tell apart.
    pub fn write_problem(&mut self, problem: &Problem) -> Result<()> {
        let first = self.task.as_ref().unwrap_or(&problem.task);
        if *first != problem.task {
            let (first, other) = (first, &problem.task);
            return Err(TaskError::data(format!(
                "a file of the benchmark holds one task: it begins with {first}, and `{}` is of {other}",
                problem.prompt
            )));
        }
        let line = write_benchmark_line(problem, self.kind)?;
        self.file.write_line(line.as_bytes())?;
        self.task.get_or_insert_with(|| problem.task.clone());
        Ok(())
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`TaskError::Io`]; what was in the place is then still there.
    pub fn finish(self) -> Result<()> {
        self.file.finish()
    }
}
