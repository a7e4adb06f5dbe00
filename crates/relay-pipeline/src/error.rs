//! What can go wrong in the pipeline.

use std::{
    io,
    path::{Path, PathBuf},
};

/// An error of the pipeline: what, where, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A file or directory could not be read or written.
    #[error("cannot {verb} {}: {error}", path.display())]
    Io {
        /// What was tried, for example `read`.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Results were written in a format that this program does not know.
    #[error("{}: results of schema {found}, this program reads schema {expected}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The schema found there.
        found: u32,
        /// The schema that this program reads.
        expected: u32,
    },
    /// A figure could not be drawn.
    #[error("cannot draw the figure `{figure}`: {what}")]
    Plot {
        /// Name of the figure.
        figure: String,
        /// What the drawing library said.
        what: String,
    },
    /// Another process works in the directory.
    #[error("{} is in use by another process; wait for it or choose another directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The run directory is not there any more.
    #[error(
        "{} is gone, or no longer what it was when the run began: its disk was taken away, or somebody moved or removed \
         it; go on once it is back",
        path.display()
    )]
    Vanished {
        /// The run directory.
        path: PathBuf,
    },
    /// The run directory holds a run already.
    #[error("{} holds a run already; go on with it by --resume or choose another run directory", path.display())]
    NotEmpty {
        /// The run directory.
        path: PathBuf,
    },
    /// The run directory holds a run with other settings.
    #[error(
        "{0} holds a run with other settings: {field} is {held} there and {wanted} here; choose another directory, or go on \
         with its own settings, or update it to these (what they change is made anew, and what it was goes to {0}/set-aside)",
        path.display()
    )]
    OtherSettings {
        /// The run directory.
        path: PathBuf,
        /// The first setting that differs.
        field: String,
        /// Its value in the run directory.
        held: String,
        /// Its value asked for.
        wanted: String,
    },
    /// The directory holds files, but no run.
    #[error("{} holds files that are no run's; choose an empty or new run directory", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// A directory for what several runs have in common holds something else.
    #[error("{} holds {held}: choose another directory for several runs together", path.display())]
    NotShared {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        held: String,
    },
    /// There is no preset of that name.
    #[error("unknown preset `{name}`; known are {known}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A setting has a value that cannot be.
    #[error("settings: {field} is {}, must be {right}", visible(found))]
    Settings {
        /// The setting.
        field: String,
        /// Its value.
        found: String,
        /// What would be right.
        right: String,
    },
    /// A problem was asked that cannot be computed as it was asked.
    #[error("{what} is {}, must be {right}", visible(found))]
    Question {
        /// What of it is wrong.
        what: &'static str,
        /// What was found.
        found: String,
        /// What would be right.
        right: String,
    },
    /// One of several problems cannot be asked.
    #[error("problem {number}: {reason}")]
    Asked {
        /// Its place, from 1.
        number: usize,
        /// Why not.
        reason: Box<PipelineError>,
    },
    /// Tasks or their data.
    #[error(transparent)]
    Task(#[from] relay_tasks::TaskError),
    /// A model could not be made or run.
    #[error(transparent)]
    Model(#[from] relay_models::ModelError),
    /// The run was asked to stop while chains were written, or before a stage was begun.
    #[error(
        "stopped between two batches of chains or two stages; what was trained and written is saved"
    )]
    Stopped,
    /// Nothing was to be made, and a stage is not finished.
    #[error("the stage {stage} is not finished, or was made from something else")]
    NotFinished {
        /// The stage.
        stage: String,
    },
    /// A stage failed in another run of the same program, and is the same in this one.
    #[error("{stage} is the same as in a run beside this one, where it failed: {reason}")]
    Shared {
        /// The stage.
        stage: String,
        /// Why it failed.
        reason: String,
    },
    /// Training failed or was stopped.
    #[error(transparent)]
    Train(#[from] relay_train::TrainError),
}

/// A value that shows as one, though it is empty.
fn visible(value: &str) -> &str {
    if value.is_empty() { "empty" } else { value }
}

impl PipelineError {
    /// Whether somebody asked for a stop; what was done is saved then.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Train(error) => error.is_interrupted(),
            _ => false,
        }
    }

    /// Whether the caller asked for something that cannot be, before any work was done.
    pub fn is_usage(&self) -> bool {
        if let Self::Asked { reason, .. } = self {
            return reason.is_usage() || matches!(**reason, Self::Task(_));
        }
        matches!(
            self,
            Self::UnknownPreset { .. }
                | Self::Settings { .. }
                | Self::NotEmpty { .. }
                | Self::Foreign { .. }
                | Self::NotShared { .. }
                | Self::OtherSettings { .. }
                | Self::Question { .. }
        )
    }

    /// A file or directory could not be read or written.
    pub fn io(verb: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            error,
        }
    }

    /// A file does not hold what it should.
    pub fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    /// A setting has a value that cannot be.
    pub fn settings(
        field: impl Into<String>,
        found: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self::Settings {
            field: field.into(),
            found: found.into(),
            right: right.into(),
        }
    }

    /// A problem was asked that cannot be computed as it was asked.
    pub(crate) fn question(
        what: &'static str,
        found: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self::Question {
            what,
            found: found.into(),
            right: right.into(),
        }
    }

    /// A figure could not be drawn.
    pub(crate) fn plot(figure: &str, what: impl std::fmt::Display) -> Self {
        Self::Plot {
            figure: figure.to_owned(),
            what: what.to_string(),
        }
    }
}

/// The result of a function of the pipeline.
pub type Result<T, E = PipelineError> = core::result::Result<T, E>;
