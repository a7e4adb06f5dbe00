//! What a checkpoint says about itself.

use std::collections::BTreeMap;

use relay_tasks::Codec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::FILES;
use crate::config::is_default;
use crate::{Effort, LossPast, Result as TrainResult, TrainError, Window};

/// Version of the form of checkpoints that this program reads and writes.
pub(crate) const FORMAT: u64 = 1;

/// No count comes near it.
const LARGEST: u64 = 1 << 60;

/// The file `manifest.json` of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the form.
    pub format: u64,
    /// Program and version that wrote the checkpoint.
    pub program: String,
    /// How far the run was.
    pub counters: Counters,
    /// What the next line of metrics has gathered so far.
    pub window: Window,
    /// [`TrainConfig`](crate::TrainConfig) of the run.
    pub training: Value,
    /// Settings of the objective.
    pub objective: Value,
    /// [Settings](crate::ExampleSource::settings) of the source of the examples; null where it has none, or the program did
    /// not ask it.
    // Left out where it is null, so that the digest of an older manifest stays what it was.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// Settings of the model.
    pub model: Value,
    /// Vocabulary, tasks and their dialects.
    pub codec: Codec,
    /// The other files of the checkpoint by name.
    pub files: BTreeMap<String, FileRecord>,
    /// BLAKE3 hash of this file with nothing here.
    pub digest: String,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Updates done, skipped ones included.
    pub step: u64,
    /// Samples seen.
    pub samples: u64,
    /// Updates skipped because loss or gradient was not finite.
    pub skipped: u64,
    /// How many of them were the last ones.
    pub skipped_in_a_row: u64,
    /// Times that the run went back to a checkpoint because of them or of a diverging loss.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recoveries: u64,
    /// Step of the newest checkpoint that the run could go back to, while its settings let it; 0 none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub regular: u64,
    /// What the loss was like so far.
    #[serde(default, skip_serializing_if = "LossPast::is_empty")]
    pub past: LossPast,
    /// Time spent so far; the only number here that two equal runs do not share.
    pub seconds: f64,
    /// What the updates so far cost, without those that the run went back from; `None` when it was begun by a program that
    /// did not count it.
    // Left out where it is not known, so that the digest of an older manifest stays what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
}

impl Counters {
    /// Those of a run that begins.
    pub(crate) fn start() -> Self {
        Self {
            effort: Some(Effort::default()),
            ..Self::default()
        }
    }

    /// Counts the batches of an update.
    pub(crate) fn see(&mut self, samples: u64, effort: Effort) {
        self.samples += samples;
        if let Some(sum) = &mut self.effort {
            *sum += effort;
        }
    }
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Size.
    pub bytes: u64,
    /// BLAKE3 hash.
    pub blake3: String,
}

impl FileRecord {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        }
    }
}

impl Manifest {
    /// One without settings and files.
    pub(crate) fn new(counters: Counters, window: Window, codec: Codec) -> Self {
        Self {
            format: FORMAT,
            program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            counters,
            window,
            training: Value::Null,
            objective: Value::Null,
            data: Value::Null,
            model: Value::Null,
            codec,
            files: BTreeMap::new(),
            digest: String::new(),
        }
    }

    /// The text of the file, with its digest.
    pub(crate) fn seal(mut self) -> Result<String, String> {
        self.digest = self.own_digest()?;
        serde_json::to_string_pretty(&self).map_err(|error| error.to_string())
    }

    /// Reads and verifies the text of a `manifest.json`, but not the files that it lists;
    /// [`read_manifest`](crate::read_manifest) verifies those too.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] when the text is cut off, was altered, is of another form, or holds numbers that no run
    /// comes to.
    pub fn parse(text: &[u8]) -> TrainResult<Self> {
        Self::open(text).map_err(|reason| TrainError::checkpoint("manifest.json".as_ref(), reason))
    }

    /// Reads the text of the file; on failure says what is wrong.
    pub(crate) fn open(text: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(text).map_err(|error| format!("manifest.json: {error}"))?;
        // Asked first: another form must not show as some unknown field.
        let format = value.get("format").and_then(Value::as_u64);
        if format != Some(FORMAT) {
            let found = format.map_or("none".to_owned(), |format| format.to_string());
            return Err(format!(
                "its format is {found}, this program reads {FORMAT}"
            ));
        }
        let manifest: Self =
            serde_json::from_value(value).map_err(|error| format!("manifest.json: {error}"))?;
        // The text too, so that not even a space can change unseen.
        let written = serde_json::to_string_pretty(&manifest).map_err(|error| error.to_string())?;
        if manifest.own_digest()? != manifest.digest || written.as_bytes() != text {
            return Err("manifest.json was altered".to_owned());
        }
        let foreign = |name: &&String| !FILES.contains(&name.as_str());
        if let Some(name) = manifest.files.keys().find(foreign) {
            return Err(format!(
                "manifest.json lists {name:?}, which is no file of a checkpoint"
            ));
        }
        manifest.check_numbers()?;
        Ok(manifest)
    }

    /// That no number is one that a run cannot come to: what goes on from it counts on, and finds tasks by their index.
    fn check_numbers(&self) -> Result<(), String> {
        let (counters, window) = (&self.counters, &self.window);
        let effort = counters.effort.unwrap_or_default();
        let mut numbers = vec![
            ("counters.step", counters.step, LARGEST),
            ("counters.samples", counters.samples, LARGEST),
            ("counters.skipped", counters.skipped, counters.step),
            (
                "counters.skipped_in_a_row",
                counters.skipped_in_a_row,
                counters.skipped,
            ),
            ("counters.recoveries", counters.recoveries, LARGEST),
            ("counters.regular", counters.regular, counters.step),
            ("counters.effort.tokens", effort.tokens, LARGEST),
            ("window.updates", window.updates, counters.step),
            ("window.skipped", window.skipped, counters.skipped),
        ];
        for work in [effort.learnt, effort.forward] {
            for number in [work.passes, work.pairs, work.readouts] {
                numbers.push(("counters.effort", number, LARGEST));
            }
        }
        let tasks = self.codec.tasks.len();
        for (&task, sums) in &window.tasks {
            if task >= tasks {
                return Err(format!(
                    "manifest.json: window.tasks has task {task}, expected below {tasks}, the number of tasks"
                ));
            }
            numbers.push(("window.tasks.updates", sums.updates, window.updates));
            numbers.push(("window.tasks.right", sums.right, LARGEST));
            numbers.push(("window.tasks.guesses", sums.guesses, LARGEST));
        }
        match numbers.into_iter().find(|(_, held, most)| held > most) {
            Some((name, held, most)) => Err(format!(
                "manifest.json: {name} is {held}, expected at most {most}"
            )),
            None => Ok(()),
        }
    }

    fn own_digest(&self) -> Result<String, String> {
        let bare = Self {
            digest: String::new(),
            ..self.clone()
        };
        let text = serde_json::to_string(&bare).map_err(|error| error.to_string())?;
        Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_without_effort_keeps_its_digest() {
        let task = relay_tasks::TaskConfig::Ed(Default::default()).build();
        let codec = Codec::for_tasks(&[task.unwrap()]).unwrap();
        let manifest = |counters| Manifest::new(counters, Window::default(), codec.clone());
        let old = manifest(Counters::default()).seal().unwrap();
        assert!(!old.contains("effort"));
        let mut counters = Manifest::open(old.as_bytes()).unwrap().counters;
        let effort = Effort {
            tokens: 7,
            ..Effort::default()
        };
        counters.see(3, effort);
        assert_eq!((counters.samples, counters.effort), (3, None));

        let mut counters = Counters::start();
        counters.see(3, effort);
        let text = manifest(counters).seal().unwrap();
        assert_eq!(
            Manifest::open(text.as_bytes()).unwrap().counters.effort,
            Some(effort)
        );
    }
}
