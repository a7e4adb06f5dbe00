//! Logging, and how a program ends.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::atomic::{AtomicU8, Ordering},
};

use tracing_subscriber::EnvFilter;

/// What every program's `--help` ends with.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failure; 2 usage, it cannot be done as it was asked for; 128 + N ended by signal N, such as 130 by
Ctrl-C (SIGINT), 143 by SIGTERM, 129 by SIGHUP.";

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

    /// An end by the signal that [`stop_on_signals`](crate::stop_on_signals) has seen.
    pub fn interrupted(message: impl Display, signal: &AtomicU8) -> Self {
        Self::Interrupted {
            message: message.to_string(),
            signal: signal.load(Ordering::SeqCst),
        }
    }
}

/// Sends events to standard error; `RUST_LOG` chooses which, `info` by default. Those that cannot be written are lost.
pub fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !without_colour())
        // It would tell by `eprintln!` that standard error cannot be written, and so end a training by a panic.
        .log_internal_errors(false)
        .with_target(false)
        .try_init();
}

/// Whether the environment asks for text without colours.
fn without_colour() -> bool {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb")
}

/// Prints one line for an error and gives the exit code: 0 done, 1 failure, 2 usage, 128 + n for signal n.
pub fn finish(outcome: Result<(), CliError>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    // The exit code says it too, where nobody can be told.
    let _ = writeln!(io::stderr(), "error: {error}");
    match error {
        CliError::Usage(_) => ExitCode::from(2),
        CliError::Failure(_) => ExitCode::FAILURE,
        CliError::Interrupted { signal, .. } => ExitCode::from(128 + signal),
    }
}
