//! What two run directories have in common, the clock left out.

use std::{collections::BTreeMap, fs, path::Path};

use relay_examples::CliError;
use serde_json::Value;

/// Files that are about time and nothing else, or about the process.
const OF_THE_CLOCK: [&str; 3] = ["lock", "times.jsonl", "report.html"];
/// Fields of JSON files that hold times, and the hash of a manifest, which holds one.
const CLOCK_FIELDS: [&str; 2] = ["seconds", "digest"];

/// Every file of a run directory by its path, without what the clock says.
#[derive(Debug)]
pub struct Snapshot(BTreeMap<String, Vec<u8>>);

impl Snapshot {
    /// Reads a run directory.
    pub fn of(dir: &Path) -> Result<Self, CliError> {
        let mut files = BTreeMap::new();
        collect(dir, "", &mut files)?;
        Ok(Self(files))
    }

    /// How many files are compared.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

fn collect(dir: &Path, prefix: &str, into: &mut BTreeMap<String, Vec<u8>>) -> Result<(), CliError> {
    for entry in fs::read_dir(dir).map_err(CliError::failure)? {
        let entry = entry.map_err(CliError::failure)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), into)?;
        } else if !OF_THE_CLOCK.contains(&name.as_str()) {
            let bytes = fs::read(entry.path()).map_err(CliError::failure)?;
            into.insert(path, without_clock(&name, bytes));
        }
    }
    Ok(())
}

/// A JSON file without times; any other file as it is.
fn without_clock(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    if !name.ends_with(".json") {
        return bytes;
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut value) => {
            drop_times(&mut value);
            value.to_string().into_bytes()
        }
        // Not JSON after all (`stage.json` is a bare hash): compared as it is.
        Err(_) => bytes,
    }
}

fn drop_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !CLOCK_FIELDS.contains(&name.as_str()));
            fields.values_mut().for_each(drop_times);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_times),
        _ => {}
    }
}

/// One line for each file that only one of them has, or that differs.
pub fn differences(expected: &Snapshot, found: &Snapshot) -> Vec<String> {
    let (expected, found) = (&expected.0, &found.0);
    let missing = expected
        .iter()
        .filter_map(|(path, bytes)| match found.get(path) {
            None => Some(format!("{path} is missing")),
            Some(other) if other != bytes => Some(format!("{path} differs")),
            Some(_) => None,
        });
    let surplus = found
        .keys()
        .filter(|path| !expected.contains_key(*path))
        .map(|path| format!("{path} is left over"));
    missing.chain(surplus).collect()
}
