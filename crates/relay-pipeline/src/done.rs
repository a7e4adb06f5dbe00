//! The marker of a finished stage.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Machine, PipelineError, Result};

/// The marker of a finished stage, `done.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// Hash of all that the stage was made from.
    pub made_from: String,
    /// Hash of what the stage made, for the stages that build on it.
    pub result: String,
    /// The files that the hash is of, relative to the stage's directory.
    // Runs from before there was such a field have none, and are not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// Seconds that the stage took, resumed parts included.
    pub seconds: f64,
    /// The machine that finished the stage; a part of it may have been made on others.
    // Runs from before there was such a field do not say.
    #[serde(default, skip_serializing_if = "Machine::is_unknown")]
    pub machine: Machine,
    /// What the stage wants to tell the report.
    pub notes: Value,
}

impl Done {
    /// The marker in the stage's directory `dir`, if there is one.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>> {
        let file = dir.join("done.json");
        match fs::read(&file) {
            Ok(bytes) => Self::parse(&String::from_utf8_lossy(&bytes))
                .map(Some)
                .map_err(|reason| {
                    let help = "bring it back, or remove it: what the stage has trained or written is then taken up again";
                    PipelineError::corrupt(&file, format!("{reason}; {help}"))
                }),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(PipelineError::io("read", &file, e)),
        }
    }

    /// The marker in a text; says why there is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let done: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        // Whoever wrote it must not choose what is read.
        let within = |file: &PathBuf| {
            let mut parts = file.components();
            parts.all(|part| matches!(part, Component::Normal(_)))
        };
        match done.files.iter().find(|file| !within(file)) {
            Some(file) => Err(format!("{} is no file of the stage", file.display())),
            None => Ok(done),
        }
    }

    /// That the files in the stage's directory `dir` are those that the stage made.
    pub(crate) fn check(&self, dir: &Path) -> Result<()> {
        let changed = |what: String| PipelineError::corrupt(dir, format!("{what}; {}", redo(dir)));
        if self.files.is_empty() {
            return Ok(());
        }
        match hash_files(dir, &self.files) {
            Ok(found) if found == self.result => Ok(()),
            Ok(_) => {
                let names = self.files.iter().map(|file| file.display().to_string());
                let names = names.collect::<Vec<_>>().join(", ");
                Err(changed(format!("{names} was changed after it was made")))
            }
            // What the system does not read may be as it was.
            Err(PipelineError::Io { verb, path, error }) if error.kind() != ErrorKind::NotFound => {
                Err(PipelineError::Io { verb, path, error })
            }
            Err(error) => Err(changed(error.to_string())),
        }
    }
}

/// Where the weights lie that the training in `dir` made. The marker of one that is finished names its checkpoint, so that no
/// older one stands in for it where it is damaged; of one that is not, the newest good checkpoint in `dir` counts.
pub(crate) fn checkpoint_of(dir: &Path) -> Result<PathBuf> {
    let marker = Done::read(dir)?;
    let named = marker
        .as_ref()
        .and_then(|done| done.files.first()?.parent());
    Ok(named.map_or_else(|| dir.to_owned(), |named| dir.join(named)))
}

/// What to do about a stage whose result is damaged.
pub(crate) fn redo(stage: &Path) -> String {
    format!(
        "bring it back, or remove {} to have it made anew when the run goes on",
        stage.display()
    )
}

/// Hash of the names of `files` in `dir` and of what they hold.
pub(crate) fn hash_files(dir: &Path, files: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let path = dir.join(file);
        let reader = File::open(&path).map_err(|e| PipelineError::io("open", &path, e))?;
        hasher.update(file.to_string_lossy().as_bytes());
        hasher
            .update_reader(reader)
            .map_err(|e| PipelineError::io("read", &path, e))?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
