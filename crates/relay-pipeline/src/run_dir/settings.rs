//! The settings of the run that a directory holds.

use std::{fs, path::Path};

use relay_train::first_difference;
use serde_json::Value;

use super::Existing;
use crate::{PipelineError, Result, left_over, lock::LOCK};

/// The file that they stand in.
pub(super) const SETTINGS: &str = "settings.json";

/// That what the directory `path` holds may be resumed under the settings `wanted`.
pub(super) fn check_settings(path: &Path, wanted: &Value, existing: Existing) -> Result<()> {
    let (file, path) = (path.join(SETTINGS), path.to_owned());
    if !file.exists() || existing == Existing::Update {
        return Ok(());
    }
    if existing == Existing::Refuse {
        return Err(PipelineError::NotEmpty { path });
    }
    let text = fs::read_to_string(&file).map_err(|e| PipelineError::io("read", &file, e))?;
    let held: Value = serde_json::from_str(&text).map_err(|e| {
        let what = format!("{e}; --update with the settings that are wanted writes it anew");
        PipelineError::corrupt(&file, what)
    })?;
    match first_difference("", &held, wanted) {
        Some((field, held, wanted)) => Err(PipelineError::OtherSettings {
            path,
            field,
            held,
            wanted,
        }),
        None => Ok(()),
    }
}

/// Whether the file of the settings is there and does not hold `wanted`.
pub(super) fn differ(file: &Path, wanted: &Value) -> bool {
    fs::read_to_string(file).is_ok_and(|text| {
        let held = serde_json::from_str::<Value>(&text);
        held.is_ok_and(|held| first_difference("", &held, wanted).is_some())
    })
}

/// Refuses a directory that holds files but no run.
pub(super) fn refuse_foreign(path: &Path) -> Result<()> {
    if path.join(SETTINGS).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|e| PipelineError::io("list", path, e))?;
    // What the first moments of a run may leave, and what a file system puts into the root of a disk.
    let own = |name: &str| {
        matches!(name, LOCK | "lost+found") || left_over::becomes(name) == Some(SETTINGS)
    };
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    match names.any(|name| !own(&name.to_string_lossy())) {
        true => Err(PipelineError::Foreign {
            path: path.to_owned(),
        }),
        false => Ok(()),
    }
}
