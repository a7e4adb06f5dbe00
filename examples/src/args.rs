//! Reading the command line so that what is wrong with it takes one line.

use clap::{Parser, error::ErrorKind};

use crate::CliError;

/// The arguments of the program. Help and version are printed and end the program.
///
/// # Errors
/// A usage error of one line for arguments that cannot be.
pub fn parse_args<P: Parser>() -> Result<P, CliError> {
    P::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        _ => CliError::Usage(one_line(&error.to_string())),
    })
}

/// What clap says in several lines, without its heading, the usage and the hint at `--help`.
fn one_line(message: &str) -> String {
    let message = message.split("\n\nUsage:").next().unwrap_or(message);
    let message = message
        .split("\n\nFor more information")
        .next()
        .unwrap_or(message);
    let words: Vec<&str> = message
        .trim_start_matches("error:")
        .split_whitespace()
        .collect();
    words.join(" ")
}
