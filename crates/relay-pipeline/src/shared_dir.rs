//! The directory of what several runs have in common: what may be written over there, and removed.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{PipelineError, Result, run_dir::holds_run};

/// What says that runs were put together in a directory.
const MARKERS: [&str; 2] = ["aggregate.json", "sweep.json"];

/// All that putting runs together writes.
const WRITTEN: [&str; 7] = [
    "aggregate.json",
    "aggregate.md",
    "sweep.json",
    "sweep.csv",
    "sweep.md",
    "report.html",
    "figures",
];

/// That nothing but what was written by putting runs together will be written over or removed in `dir` by doing so again.
///
/// # Errors
/// When it holds a run itself, or something of a name that is going to be written and nothing that says that it was written
/// so; it is named.
pub fn check_shared_dir(dir: &Path) -> Result<()> {
    let holds = |held: &str| PipelineError::NotShared {
        path: dir.to_owned(),
        held: held.to_owned(),
    };
    if holds_run(dir) {
        return Err(holds("a run of its own"));
    }
    if MARKERS.iter().any(|name| has_schema(&dir.join(name))) {
        return Ok(());
    }
    match WRITTEN.iter().find(|name| dir.join(name).exists()) {
        Some(name) => Err(holds(&format!("`{name}`, which is of something else"))),
        None => Ok(()),
    }
}

fn has_schema(file: &Path) -> bool {
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes);
    let json = fs::read(file).map(read);
    json.is_ok_and(|json| json.is_ok_and(|json| json.get("schema").is_some_and(Value::is_u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        check_shared_dir(&dir.join("absent")).unwrap();
        check_shared_dir(dir).unwrap();
        fs::create_dir(dir.join("seed-1")).unwrap();
        fs::write(dir.join("notes.txt"), "mine").unwrap();
        check_shared_dir(dir).unwrap();
        for name in WRITTEN {
            let file = dir.join(name);
            fs::write(&file, "mine").unwrap();
            let error = check_shared_dir(dir).unwrap_err();
            let said = error.to_string();
            assert!(error.is_usage() && said.contains(name), "{said}");
            fs::remove_file(file).unwrap();
        }
        fs::write(dir.join("report.html"), "ours").unwrap();
        for marker in MARKERS {
            fs::write(dir.join(marker), "{\"schema\": 1}").unwrap();
            check_shared_dir(dir).unwrap();
            fs::remove_file(dir.join(marker)).unwrap();
        }
        fs::write(dir.join("settings.json"), "{}").unwrap();
        assert!(check_shared_dir(dir).is_err());
    }
}
