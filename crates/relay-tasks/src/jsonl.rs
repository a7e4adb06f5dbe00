//! JSONL data files: one object a line.
//!
//! ```text
//! {"task": "ed", "dialect": {...}, "length": 4, "problem": "o t m l | o t t m l <sep>", "steps": ["0 2 4 6 7 ,", ...], "answer": "2"}
//! ```
//!
//! Reading and writing take one line at a time, so that memory stays flat whatever the size of a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::aside::AsideFile;
use crate::dialect::Dialect;
use crate::error::{Result, TaskError};
use crate::lines::Lines;
use crate::problem::Problem;
use crate::record::Record;

/// Reads a JSONL file; an iterator over its [`Record`]s. The first error, which names file and line, ends it.
///
/// All lines of a task have to be of one dialect; a line that does not say which goes with the others. So does a line
/// that names no task, where there is a [`default_task`](Self::default_task).
#[derive(Debug)]
pub struct JsonlReader<R> {
    lines: Lines<R>,
    dialects: BTreeMap<String, Dialect>,
    default_task: Option<String>,
}

impl JsonlReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`TaskError::Io`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self::of(Lines::open(path)?))
    }
}

impl<R: BufRead> JsonlReader<R> {
    /// Reads from something that is open; `name` stands in errors.
    pub fn new(reader: R, name: &Path) -> Self {
        Self::of(Lines::new(reader, name))
    }

    fn of(lines: Lines<R>) -> Self {
        Self {
            lines,
            dialects: BTreeMap::new(),
            default_task: None,
        }
    }

    /// Whether bad lines are counted and reported (as events of `tracing`) instead of ending the reading. Lines of
    /// another dialect, one longer than 16 MiB, and a file without a good line, are errors all the same.
    #[must_use]
    pub fn skip_bad(mut self, skip_bad: bool) -> Self {
        self.lines.set_skip_bad(skip_bad);
        self
    }

    /// The dialect that the lines of a task have to be of; otherwise it is that of the first one.
    #[must_use]
    pub fn expect(mut self, task: &str, dialect: Dialect) -> Self {
        self.dialects.insert(task.to_owned(), dialect);
        self
    }

    /// The task of lines that do not name theirs: their records come out with it, and their dialect has to be its.
    #[must_use]
    pub fn default_task(mut self, task: &str) -> Self {
        self.default_task = Some(task.to_owned());
        self
    }

    /// How many bad lines have been skipped so far.
    pub fn skipped(&self) -> usize {
        self.lines.skipped()
    }

    /// The next line as `convert` makes it; what it refuses is a bad line. `None` at the end.
    pub fn next_as<T>(
        &mut self,
        mut convert: impl FnMut(Record) -> Result<T>,
    ) -> Option<Result<T>> {
        let Self {
            lines,
            dialects,
            default_task,
        } = self;
        lines.next_as(|line| {
            let mut record = Record::parse(line)?;
            if record.task.is_none() {
                record.task.clone_from(default_task);
            }
            let new = check_dialect(dialects, &record)?;
            let made = convert(record)?;
            // Not before: a line that is skipped must not say what the others have to be.
            dialects.extend(new);
            Ok(made)
        })
    }

    /// The next solved problem; a line without task is a bad one where there is no
    /// [`default_task`](Self::default_task). `None` at the end.
    pub fn next_problem(&mut self) -> Option<Result<Problem>> {
        self.next_as(Record::into_problem)
    }
}

impl<R: BufRead> Iterator for JsonlReader<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_as(Ok)
    }
}

/// The dialect of a task that has none so far; one that is another than the task has is an error.
fn check_dialect(
    dialects: &BTreeMap<String, Dialect>,
    record: &Record,
) -> Result<Option<(String, Dialect)>> {
    let Some(dialect) = &record.dialect else {
        return Ok(None);
    };
    let task = record.task.as_deref().unwrap_or_default();
    match dialects.get(task) {
        None => Ok(Some((task.to_owned(), dialect.clone()))),
        Some(first) if first == dialect => Ok(None),
        Some(first) => Err(TaskError::MixedDialects {
            task: task.to_owned(),
            expected: Box::new(first.clone()),
            found: Box::new(dialect.clone()),
        }),
    }
}

/// Writes a JSONL file: beside its place, moved there by [`JsonlWriter::finish`], so that there is never half a file.
#[derive(Debug)]
pub struct JsonlWriter {
    file: AsideFile,
    line: Vec<u8>,
}

impl JsonlWriter {
    /// Starts a file for `path`.
    ///
    /// # Errors
    /// [`TaskError::Io`] when it cannot be created there.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            file: AsideFile::create(path)?,
            line: Vec::new(),
        })
    }

    /// Writes a solved problem.
    ///
    /// # Errors
    /// [`TaskError::Io`], for instance when the disk is full.
    pub fn write_problem(&mut self, problem: &Problem, dialect: &Dialect) -> Result<()> {
        self.write(&Record::of(problem, dialect))
    }

    /// Writes any line.
    ///
    /// # Errors
    /// [`TaskError::Io`], for instance when the disk is full.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)
            .map_err(|error| TaskError::data(error.to_string()))?;
        self.file.write_line(&self.line)
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`TaskError::Io`]; what was in the place is then still there.
    pub fn finish(self) -> Result<()> {
        self.file.finish()
    }
}
