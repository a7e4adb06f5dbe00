//! Data files that a program reads and writes, in the format that its command line names.

use std::{fs::File, io::BufReader, path::Path, sync::Arc};

use clap::ValueEnum;
use relay_tasks::{
    BenchmarkLine, BenchmarkReader, BenchmarkWriter, Dialect, JsonlReader, JsonlWriter, Problem,
    Record, Task, TaskError,
};

use crate::{CliError, DialectArgs, TaskName};

/// Formats that problems can be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// One JSON object a line.
    Jsonl,
    /// Text lines of guyuntian/CoT_benchmark; needs --task.
    Benchmark,
}

/// Formats that problems can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// One JSON object a line.
    Jsonl,
    /// Text lines of guyuntian/CoT_benchmark: problem, steps, answer.
    Benchmark,
    /// The same without steps, as in its `decoder` files.
    BenchmarkDirect,
    /// Problems alone, as in its arithmetic `chain/test_data.txt`.
    BenchmarkProblems,
    /// Answers alone, as in its arithmetic `chain/test_ans.txt`.
    BenchmarkAnswers,
}

/// The three tasks in the dialects of the command line. One that cannot have the `--largest` number is an error only where a
/// problem is of it: that option may be meant for another.
#[derive(Debug)]
pub struct PaperTasks {
    tasks: Vec<(TaskName, Built)>,
    largest: Option<u32>,
}

/// A task, or why its dialect cannot be.
type Built = Result<Arc<dyn Task>, String>;

impl PaperTasks {
    /// Makes them.
    ///
    /// # Errors
    /// As [`DialectArgs::config`], but for `--largest`.
    pub fn build(dialect: &DialectArgs) -> Result<Self, CliError> {
        let of_one = dialect.of_one_task();
        let build = |name| {
            let config = dialect.config(name);
            match config.and_then(|config| config.build().map_err(CliError::usage)) {
                Ok(task) => Ok((name, Ok(task))),
                Err(error) if of_one.config(name).is_ok() => Ok((name, Err(error.to_string()))),
                Err(error) => Err(error),
            }
        };
        let tasks = TaskName::ALL.into_iter().map(build);
        Ok(Self {
            tasks: tasks.collect::<Result<_, CliError>>()?,
            largest: dialect.largest(),
        })
    }

    fn get(&self, name: &str) -> Result<&Arc<dyn Task>, TaskError> {
        let found = self.tasks.iter().find(|(own, _)| own.text() == name);
        let (_, task) = found.ok_or_else(|| TaskError::UnknownTask {
            name: name.to_owned(),
            known: "ari, ed, lis".to_owned(),
        })?;
        let cannot_be = |error| {
            let largest = self
                .largest
                .map_or(String::new(), |largest| largest.to_string());
            TaskError::setting(
                "--largest",
                largest,
                format!("one that {name} can have; {error}"),
            )
        };
        task.as_ref().map_err(cannot_be)
    }

    /// Those whose dialect can be.
    fn possible(&self) -> impl Iterator<Item = &Arc<dyn Task>> {
        self.tasks.iter().filter_map(|(_, task)| task.as_ref().ok())
    }
}

/// A file that problems come from.
#[derive(Debug)]
pub struct ProblemInput<'a> {
    tasks: &'a PaperTasks,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Jsonl(JsonlReader<BufReader<File>>),
    Benchmark(Arc<dyn Task>, BenchmarkReader<BufReader<File>>),
}

impl<'a> ProblemInput<'a> {
    /// Opens a file. `default` is the task of lines that do not name theirs.
    ///
    /// # Errors
    /// A usage error when the format needs a task and there is none; a failure when the file cannot be opened.
    pub fn open(
        file: &Path,
        format: InputFormat,
        default: Option<TaskName>,
        skip_bad: bool,
        tasks: &'a PaperTasks,
    ) -> Result<Self, CliError> {
        let reader = match (format, default) {
            (InputFormat::Benchmark, None) => {
                return Err(CliError::usage("--input-format benchmark needs --task"));
            }
            (InputFormat::Benchmark, Some(name)) => {
                let task = tasks.get(name.text()).map_err(CliError::usage)?;
                let reader =
                    BenchmarkReader::open(Arc::clone(task), file).map_err(CliError::failure)?;
                Reader::Benchmark(Arc::clone(task), reader.skip_bad(skip_bad))
            }
            (InputFormat::Jsonl, default) => {
                let mut reader = JsonlReader::open(file)
                    .map_err(CliError::failure)?
                    .skip_bad(skip_bad);
                if let Some(name) = default {
                    reader = reader.default_task(name.text());
                }
                for task in tasks.possible() {
                    reader = reader.expect(task.name(), task.dialect());
                }
                Reader::Jsonl(reader)
            }
        };
        Ok(Self { tasks, reader })
    }

    /// The next problem as `make` makes it, with its dialect; what `make` refuses is a bad line. `None` at the end.
    pub fn next_as(
        &mut self,
        mut make: impl FnMut(&dyn Task, Problem) -> Result<Problem, TaskError>,
    ) -> Option<Result<(Problem, Dialect), TaskError>> {
        let Self { tasks, reader } = self;
        match reader {
            Reader::Benchmark(task, reader) => {
                reader.next_as(|problem| Ok((make(task.as_ref(), problem)?, task.dialect())))
            }
            Reader::Jsonl(reader) => reader.next_as(|record| {
                let name = record.task.as_deref();
                let missing =
                    || TaskError::data("field `task` is missing, and --task is not given");
                let task = tasks.get(name.ok_or_else(missing)?)?;
                Ok((
                    make(task.as_ref(), as_it_stands(record, task.name()))?,
                    task.dialect(),
                ))
            }),
        }
    }

    /// How many bad lines have been skipped so far.
    #[must_use]
    pub fn skipped(&self) -> usize {
        match &self.reader {
            Reader::Jsonl(reader) => reader.skipped(),
            Reader::Benchmark(_, reader) => reader.skipped(),
        }
    }
}

/// What a line holds; what it lacks stays empty, to be made or refused.
fn as_it_stands(record: Record, task: &str) -> Problem {
    let record = record.spaced();
    Problem {
        task: task.to_owned(),
        length: record.length.unwrap_or(0),
        prompt: record.problem,
        steps: record.steps.unwrap_or_default(),
        answer: record.answer.unwrap_or_default(),
    }
}

/// A file that problems go to; it appears when it is finished.
#[derive(Debug)]
pub enum ProblemOutput {
    /// One JSON object a line.
    Jsonl(JsonlWriter),
    /// Text lines of the benchmark.
    Benchmark(BenchmarkWriter),
}

impl ProblemOutput {
    /// Starts a file.
    ///
    /// # Errors
    /// When it cannot be created there.
    pub fn create(path: &Path, format: OutputFormat) -> Result<Self, TaskError> {
        let kind = match format {
            OutputFormat::Jsonl => return JsonlWriter::create(path).map(Self::Jsonl),
            OutputFormat::Benchmark => BenchmarkLine::Chain,
            OutputFormat::BenchmarkDirect => BenchmarkLine::Direct,
            OutputFormat::BenchmarkProblems => BenchmarkLine::Problem,
            OutputFormat::BenchmarkAnswers => BenchmarkLine::Answer,
        };
        BenchmarkWriter::create(path, kind).map(Self::Benchmark)
    }

    /// Writes a solved problem.
    ///
    /// # Errors
    /// For instance when the disk is full.
    pub fn write(&mut self, problem: &Problem, dialect: &Dialect) -> Result<(), TaskError> {
        match self {
            Self::Jsonl(writer) => writer.write_problem(problem, dialect),
            Self::Benchmark(writer) => writer.write_problem(problem),
        }
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// When that is not possible; what was in the place is then still there.
    pub fn finish(self) -> Result<(), TaskError> {
        match self {
            Self::Jsonl(writer) => writer.finish(),
            Self::Benchmark(writer) => writer.finish(),
        }
    }
}
