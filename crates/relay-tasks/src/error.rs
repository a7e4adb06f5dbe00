//! What can go wrong with tasks and their data.

use std::{
    fmt::Display,
    io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use crate::{Dialect, Split};

/// The result of a function of this crate.
pub type Result<T, E = TaskError> = core::result::Result<T, E>;

/// An error of this crate: what, where, and what would be right.
///
/// Its message is whole: errors within it are told there, and are no [`source`](std::error::Error::source) that would tell them twice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A setting has a value that cannot be.
    #[error("setting `{field}` is {value}, expected {expected}")]
    Setting {
        /// The setting.
        field: String,
        /// Its value.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A task cannot make problems of that length.
    #[error("`{task}` has no problems of length {length}; possible are {shortest}..{longest}")]
    Length {
        /// Name of the task.
        task: String,
        /// The length asked for.
        length: usize,
        /// The shortest length there is.
        shortest: usize,
        /// The longest length there is.
        longest: usize,
    },
    /// A split has no problems of that length: there are so few of it that all fall into other splits.
    #[error("`{task}` has no problem of length {length} in the {split} split")]
    EmptySplit {
        /// Name of the task.
        task: String,
        /// The length asked for.
        length: usize,
        /// The split.
        split: Split,
    },
    /// A text is no problem of the task.
    #[error("`{prompt}` is no problem of `{task}`: {reason}")]
    Prompt {
        /// Name of the task.
        task: String,
        /// The text, shortened.
        prompt: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no task of that name.
    #[error("unknown task `{name}`; known are {known}")]
    UnknownTask {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A token is not in the vocabulary.
    #[error("token `{token}` of {place} is not in the vocabulary of {size} tokens")]
    UnknownToken {
        /// The token.
        token: String,
        /// Where it stands.
        place: String,
        /// Size of the vocabulary.
        size: usize,
    },
    /// A record does not fit its form.
    #[error("{0}")]
    Data(String),
    /// A problem of one's own data does not fit its form.
    #[error("{} problem {number} (`{prompt}`): {error}", if *.solved { "solved" } else { "unsolved" })]
    Record {
        /// Whether it is one of the solved problems, or of the unsolved ones.
        solved: bool,
        /// Number of the problem among them, from 1.
        number: usize,
        /// The problem's text, shortened.
        prompt: String,
        /// What is wrong with it.
        error: Box<TaskError>,
    },
    /// Data of two dialects of a task meet.
    #[error("`{task}` in two dialects: {found} where {expected} is expected")]
    MixedDialects {
        /// Name of the task.
        task: String,
        /// The dialect that was expected.
        expected: Box<Dialect>,
        /// The dialect that was found.
        found: Box<Dialect>,
    },
    /// Data of two vocabularies meet.
    #[error("the vocabularies differ: token {id} is `{found}` where `{expected}` is expected")]
    MixedVocabularies {
        /// The first id that differs.
        id: usize,
        /// The token that was expected there.
        expected: String,
        /// The token that was found there.
        found: String,
    },
    /// A file holds nothing that can be used.
    #[error("{}: no usable line ({skipped} bad ones skipped)", file.display())]
    NoData {
        /// The file.
        file: PathBuf,
        /// Bad lines that were skipped.
        skipped: usize,
    },
    /// A line of a file is wrong.
    #[error("{}: line {line}: {error}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        error: Box<TaskError>,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

impl TaskError {
    /// A setting has a value that cannot be.
    pub fn setting(
        field: impl Into<String>,
        value: impl Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting {
            field: field.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    /// A task cannot make problems of that length.
    pub fn length(task: &str, length: usize, possible: RangeInclusive<usize>) -> Self {
        Self::Length {
            task: task.to_owned(),
            length,
            shortest: *possible.start(),
            longest: *possible.end(),
        }
    }

    /// A text is no problem of the task; long texts are shortened.
    pub fn prompt(task: &str, prompt: &str, reason: impl Into<String>) -> Self {
        Self::Prompt {
            task: task.to_owned(),
            prompt: excerpt(prompt),
            reason: reason.into(),
        }
    }

    /// A record does not fit its form.
    pub fn data(reason: impl Into<String>) -> Self {
        Self::Data(reason.into())
    }

    /// A file could not be read or written.
    pub fn io(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }

    /// The same error, told with file and line.
    #[must_use]
    pub fn at(self, file: &Path, line: usize) -> Self {
        Self::Line {
            file: file.to_owned(),
            line,
            error: Box::new(self),
        }
    }
}

/// The beginning of a text on one line, as messages show it.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    let visible = |symbol: char| if symbol.is_control() { ' ' } else { symbol };
    let mut shown: String = text.chars().take(LONGEST).map(visible).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str(" ...");
    }
    shown
}
