//! The settings of the run that a directory holds.

use std::{fs, path::Path};

use relay_train::first_difference;
use serde_json::Value;

use super::{BEGUN, Existing};
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
    let text = fs::read(&file).map_err(|e| PipelineError::io("read", &file, e))?;
    let damaged = |what: String| {
        let right = "`multitask_relay --update` with the settings that are wanted writes it anew";
        PipelineError::corrupt(&file, format!("{what}; {right}"))
    };
    let held: Value = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if !held.is_object() {
        return Err(damaged("it holds no settings".to_owned()));
    }
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

/// Whether the settings of the results in a directory may be others than `wanted`: what `file` holds is something else, or
/// cannot be read, or is gone.
pub(super) fn differ(file: &Path, wanted: &Value) -> bool {
    let same = |text: Vec<u8>| {
        let held = serde_json::from_slice::<Value>(&text);
        held.is_ok_and(|held| first_difference("", &held, wanted).is_none())
    };
    !fs::read(file).is_ok_and(same)
}

/// Whether a run was begun in the directory `path`, though its settings may be lost.
pub fn holds_run(path: &Path) -> bool {
    path.join(SETTINGS).exists() || holds_stages(path)
}

/// Whether there is a stage of a run.
fn holds_stages(path: &Path) -> bool {
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().join(BEGUN).is_file())
}

/// Refuses a directory that holds files but no run. One whose settings are lost can be updated only.
pub(super) fn refuse_foreign(path: &Path, existing: Existing) -> Result<()> {
    if path.join(SETTINGS).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|e| PipelineError::io("list", path, e))?;
    // What the first moments of a run may leave, and what a file system puts into the root of a disk.
    let own = |name: &str| {
        matches!(name, LOCK | "lost+found") || left_over::becomes(name) == Some(SETTINGS)
    };
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    if names.all(|name| own(&name.to_string_lossy())) {
        return Ok(());
    }
    match (holds_stages(path), existing) {
        (true, Existing::Update) => Ok(()),
        (true, _) => Err(PipelineError::corrupt(
            &path.join(SETTINGS),
            "it is gone, and stages of a run are here; bring it back, or let `multitask_relay --update` with the settings that the run \
             had write it anew: what was made from others is made anew then",
        )),
        (false, _) => Err(PipelineError::Foreign {
            path: path.to_owned(),
        }),
    }
}
