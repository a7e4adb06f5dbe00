//! Values as JSON, and files of results, in each of which the version of its form stands.

use std::{fs, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{PipelineError, Result};

/// Any serializable value as JSON.
///
/// # Errors
/// When the value cannot be written as JSON.
pub(crate) fn to_value<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|e| PipelineError::corrupt(Path::new("settings"), e.to_string()))
}

/// The text of a file in lines, without a newline at its end; `path` is that of the file, for messages.
///
/// # Errors
/// When the value cannot be written as JSON.
pub(crate) fn pretty<T: Serialize>(path: &Path, value: &T) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|e| PipelineError::corrupt(path, e.to_string()))
}

/// Reads a JSON file whose field `schema` has to be `expected`.
///
/// # Errors
/// When the file cannot be read, is not of this form or of another schema; it is named.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, expected: u32) -> Result<T> {
    let corrupt = |e: serde_json::Error| PipelineError::corrupt(path, e.to_string());
    let text = fs::read_to_string(path).map_err(|e| PipelineError::io("read", path, e))?;
    let json: Value = serde_json::from_str(&text).map_err(corrupt)?;
    // Asked first: another schema must not show as a missing field.
    let found = json.get("schema").and_then(Value::as_u64).unwrap_or(0);
    if found != u64::from(expected) {
        return Err(PipelineError::Schema {
            path: path.to_owned(),
            found: u32::try_from(found).unwrap_or(u32::MAX),
            expected,
        });
    }
    serde_json::from_value(json).map_err(corrupt)
}
