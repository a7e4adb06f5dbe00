//! Records in files.

use std::path::Path;

use relay_pipeline::write_atomically;
use serde::Serialize;

use crate::CliError;

/// Writes a value as JSON, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(file: &Path, value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(CliError::failure)? + "\n";
    write_atomically(file, text.as_bytes()).map_err(CliError::failure)
}
