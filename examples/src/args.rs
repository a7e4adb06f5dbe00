//! Reading the command line so that what is wrong with it takes one line.

use std::env::args_os;

use clap::{Parser, error::ErrorKind};

use crate::{CliError, finish::EXIT_CODES, print::written};

/// The arguments of the program. Help, to which the exit codes are added, and version are printed and end the program.
///
/// # Errors
/// A usage error of one line for arguments that cannot be; a failure when help or version cannot be printed.
pub fn parse_args<P: Parser>() -> Result<P, CliError> {
    let mut command = P::command()
        .after_help(EXIT_CODES)
        .mut_subcommands(|one| one.after_help(EXIT_CODES));
    let parsed = match command.try_get_matches_from_mut(args_os()) {
        Ok(mut matches) => {
            P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
        }
        Err(error) => Err(error),
    };
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match written(error.print()) {
            Ok(()) => std::process::exit(0),
            Err(failure) => failure,
        },
        // What clap says here is all of the help.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let commands = P::command();
            let names: Vec<&str> = commands
                .get_subcommands()
                .map(|one| one.get_name())
                .collect();
            CliError::Usage(format!(
                "a command is needed: {}; see --help",
                names.join(", ")
            ))
        }
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
