//! Standard output, which may be closed or full: neither may end a program by a panic, as `println!` does.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use crate::CliError;

/// Writes `text` to standard output, as it is. Where nobody reads it any more, as behind `| head -1`, that is all the
/// same: what a program is run for lies in files.
///
/// # Errors
/// A failure where it cannot be written for any other reason, such as a full disk.
pub fn print(text: impl Display) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    written(write!(out, "{text}").and_then(|()| out.flush()))
}

/// [`print()`] for a program that is run for what it prints alone; gives whether anybody still reads it.
///
/// # Errors
/// As [`print()`].
pub fn print_for_reader(text: impl Display) -> Result<bool, CliError> {
    let mut out = io::stdout().lock();
    let outcome = write!(out, "{text}").and_then(|()| out.flush());
    let left = matches!(&outcome, Err(error) if error.kind() == ErrorKind::BrokenPipe);
    written(outcome).map(|()| !left)
}

/// What becomes of a program that has written to standard output with this outcome.
pub(crate) fn written(outcome: io::Result<()>) -> Result<(), CliError> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::failure(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}
