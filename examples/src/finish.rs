//! Logging, and how a program ends.

use std::{fmt::Display, io::IsTerminal, process::ExitCode};

use tracing_subscriber::EnvFilter;

/// Why a program ends before its work is done, with the exit code that says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The command line asks for something that does not exist: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The work failed: exit code 1.
    #[error("{0}")]
    Failure(String),
    /// A signal ended the work; what was done is saved: exit code 128 + signal.
    #[error("{message}")]
    Interrupted {
        /// What was saved and how to go on.
        message: String,
        /// Number of the signal.
        signal: u8,
    },
}

impl CliError {
    /// A mistake on the command line.
    pub fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// A failure of the work itself.
    pub fn failure(error: impl Display) -> Self {
        Self::Failure(error.to_string())
    }
}

/// Sends events to standard error; `RUST_LOG` chooses which, `info` by default.
pub fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// Prints one line for an error and gives the exit code: 0 done, 1 failure, 2 usage, 128 + n for signal n.
pub fn finish(outcome: Result<(), CliError>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    match error {
        CliError::Usage(_) => ExitCode::from(2),
        CliError::Failure(_) => ExitCode::FAILURE,
        CliError::Interrupted { signal, .. } => ExitCode::from(128 + signal),
    }
}
