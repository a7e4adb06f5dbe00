//! What can go wrong in training.

use std::{
    io,
    path::{Path, PathBuf},
};

use relay_models::ModelError;
use relay_tasks::TaskError;

/// The result of a function of this crate.
pub type Result<T, E = TrainError> = core::result::Result<T, E>;

/// An error of this crate: what, where, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting has a value that cannot be.
    #[error("training setting `{field}` is {value}: it must be {expected}")]
    Setting {
        /// The setting.
        field: String,
        /// Its value.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// What a run was given beside its settings, examples or machines, cannot be.
    #[error("{what} is {value}: it must be {expected}")]
    Input {
        /// What was given.
        what: String,
        /// What it is.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// Data cannot be made or encoded.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A model cannot take its input.
    #[error(transparent)]
    Model(#[from] ModelError),
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
    /// Somebody else trains in the directory.
    #[error("{} is in use by another process; wait for it or choose another directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// What is to hold files of a run holds something else, which could lead out of it.
    #[error(
        "{} is a link, a pipe or a device: a run's directory must hold files and directories only, or the run could read \
         and write outside it",
        path.display()
    )]
    NotPlain {
        /// The link, pipe or device.
        path: PathBuf,
    },
    /// A checkpoint is missing something, was cut off, or was altered.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint's directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory holds no checkpoint that can be used.
    #[error("no usable checkpoint in {}: {reason}", dir.display())]
    NoCheckpoint {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The directory of a run that is to start anew holds checkpoints.
    #[error("{} holds checkpoints already; go on with them or choose another directory", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// A checkpoint was made with other settings.
    #[error("checkpoint {} was made with other settings: {field} is {held} there and {wanted} here", path.display())]
    OtherSettings {
        /// The checkpoint's directory.
        path: PathBuf,
        /// The first setting that differs.
        field: String,
        /// Its value in the checkpoint.
        held: String,
        /// The value asked for.
        wanted: String,
    },
    /// The loss or its gradient was no finite number too many times in a row.
    #[error(
        "loss or gradient was not finite in {updates} updates in a row, up to step {step}: lower the learning rate, \
         lengthen the warm-up, lower `clip_norm`, or set or raise `recovery.retries`, and start again in another directory"
    )]
    NotFinite {
        /// The step.
        step: u64,
        /// Updates in a row that were skipped.
        updates: u64,
    },
    /// The loss grew far above its own past, and the settings say not to go on then.
    #[error(
        "the loss at step {step}, {loss:.4}, is far above its past, {usual:.4}: lower the learning rate, lengthen the \
         warm-up, lower `clip_norm`, or set `recovery.on_divergence` to go_back and set or raise `recovery.retries`, and start \
         again in another directory"
    )]
    Diverged {
        /// The step of the line of metrics.
        step: u64,
        /// Mean loss of the line.
        loss: f64,
        /// Running mean of the lines before.
        usual: f64,
    },
    /// The run was asked to stop.
    #[error("stopped at step {step}")]
    Interrupted {
        /// Updates done.
        step: u64,
    },
    /// One of the workers of a run on several devices ended unexpectedly.
    #[error("worker {rank} of this run failed: {reason}")]
    Worker {
        /// Its place, from 0.
        rank: usize,
        /// What it said.
        reason: String,
    },
    /// Another machine of a run on several is lost, or says that it cannot go on.
    #[error("the machine at {address}, one of this run: {reason}")]
    Machine {
        /// Its address and port.
        address: String,
        /// What it said, or what was seen of it.
        reason: String,
    },
    /// The system gives no threads to compute on.
    #[error(
        "the system gives no threads: {reason}; raise its limits (`ulimit -u`, `ulimit -v`, the processes that a container \
         may have), or ask for fewer by `RAYON_NUM_THREADS=1`"
    )]
    Threads {
        /// What the system said.
        reason: String,
    },
    /// The thread that makes batches ended unexpectedly.
    #[error("the loader thread failed at step {step}: {reason}")]
    Loader {
        /// The step that it was to make.
        step: u64,
        /// What it said.
        reason: String,
    },
}

impl TrainError {
    /// Whether the run ended because it was asked to, and can be resumed.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }

    pub(crate) fn setting(
        field: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting {
            field: field.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    pub(crate) fn input(
        what: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Input {
            what: what.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    pub(crate) fn checkpoint(path: &Path, reason: impl Into<String>) -> Self {
        Self::Checkpoint {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// For `map_err`: what was tried on which path.
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }
}
