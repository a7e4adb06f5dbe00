//! Writing checkpoints: directories with everything needed to go on.
//!
//! | file | what it holds |
//! |---|---|
//! | `model.safetensors` | the weights to use: the averaged ones if there is an average |
//! | `weights.safetensors` | the weights to train on, only beside an average |
//! | `optimizer.safetensors` | moments and velocities |
//! | `manifest.json` | step, settings, codec, and the hash of every file |

use std::{collections::BTreeMap, fs, path::Path};

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;

use crate::files::{remove_dir, sync_dir, write_synced};
use crate::manifest::{FileRecord, Manifest};
use crate::step::State;
use crate::tensors::{Tensors, encode, of_model};
use crate::{Result, TrainError};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const WEIGHTS: &str = "weights.safetensors";
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";

/// The names that a manifest may list: whoever wrote one must not choose what is read.
pub(crate) const FILES: [&str; 3] = [MODEL, WEIGHTS, OPTIMIZER];

/// Name of the directory of the checkpoint after `step` updates.
pub fn name_of(step: u64) -> String {
    format!("step-{step:09}")
}

/// The number in a checkpoint's name.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok()
}

/// The files of a checkpoint besides the manifest.
pub(crate) fn contents<B: AutodiffBackend, M: AutodiffModule<B>>(
    state: &State<B, M>,
) -> BTreeMap<&'static str, Tensors> {
    let mut files = BTreeMap::from([(OPTIMIZER, state.optimizer.save())]);
    let weights = of_model::<B, M>(&state.model);
    match &state.average {
        Some(average) => {
            files.insert(MODEL, of_model::<B, M>(&average.model(&state.model)));
            files.insert(WEIGHTS, weights);
        }
        None => {
            files.insert(MODEL, weights);
        }
    }
    files
}

/// The bytes of a checkpoint's files.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub step: u64,
    /// The text of the manifest, which lists the others with their hashes.
    pub manifest: String,
    /// The other files by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Sealed {
    /// The files with these contents; on failure says why there are none.
    pub fn new(mut manifest: Manifest, files: &BTreeMap<&str, Tensors>) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for (file, tensors) in files {
            let bytes = encode(tensors)?;
            let record = FileRecord::of(&bytes);
            manifest.files.insert((*file).to_owned(), record);
            all.insert((*file).to_owned(), bytes);
        }
        Ok(Self {
            step: manifest.counters.step,
            manifest: manifest.seal()?,
            files: all,
        })
    }

    /// Bytes of all files but the manifest.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Writes its files into the empty directory `dir`, synced.
    fn write(&self, dir: &Path) -> Result<()> {
        for (file, bytes) in &self.files {
            write_synced(&dir.join(file), bytes)?;
        }
        write_synced(&dir.join(MANIFEST), self.manifest.as_bytes())?;
        sync_dir(dir)
    }
}

/// Writes a checkpoint into `dir`, which must be there; gives its name.
pub(crate) fn save(dir: &Path, checkpoint: &Sealed) -> Result<String> {
    let name = name_of(checkpoint.step);
    save_as(dir, &name, checkpoint)?;
    Ok(name)
}

/// Writes a checkpoint as `name` into `dir`, which must be there: aside and synced, then renamed.
pub(crate) fn save_as(dir: &Path, name: &str, checkpoint: &Sealed) -> Result<()> {
    let (place, aside) = (dir.join(name), dir.join(format!(".partial-{name}")));
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(TrainError::io("remove", &aside))?;
    }
    // Not its parents: where `dir` is gone, so is its disk, and what is written now would land on another one.
    fs::create_dir(&aside).map_err(TrainError::io("create", &aside))?;
    if let Err(error) = checkpoint.write(&aside) {
        // A full disk would stay full, for all who write to it.
        let _ = fs::remove_dir_all(&aside);
        return Err(error);
    }
    // One of the same step can only be damaged, or the run would have gone on from it.
    remove_dir(dir, name)?;
    fs::rename(&aside, &place).map_err(TrainError::io("rename", &place))?;
    sync_dir(dir)
}

/// Removes what a run that was killed while it saved has left behind.
pub(crate) fn clean(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(TrainError::io("read", dir))? {
        let entry = entry.map_err(TrainError::io("read", dir))?;
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| {
            name.strip_prefix(".partial-")
                .or_else(|| name.strip_prefix(".old-"))
        });
        if rest.and_then(step_of).is_some() {
            fs::remove_dir_all(entry.path()).map_err(TrainError::io("remove", &entry.path()))?;
        } else if ["metrics.jsonl.partial", "times.jsonl.partial"]
            .map(Some)
            .contains(&name.to_str())
        {
            fs::remove_file(entry.path()).map_err(TrainError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Removes all checkpoints up to `step` but the newest `keep`, and of those whose step is a multiple of `every` the newest
/// `spare`. Those before `step` that are `damaged` go, and do not count.
pub(crate) fn prune(
    dir: &Path,
    step: u64,
    keep: usize,
    (every, spare): (u64, usize),
    damaged: &[u64],
) -> Result<()> {
    let mut steps = list(dir)?;
    steps.retain(|(found, _)| *found <= step);
    for (_, name) in steps.extract_if(.., |(found, _)| *found < step && damaged.contains(found)) {
        remove_dir(dir, &name)?;
    }
    let regular = steps.iter().map(|(found, _)| *found);
    let regular = regular.filter(|found| found.is_multiple_of(every));
    let spared: Vec<u64> = regular.take(spare).collect();
    for (found, name) in steps.iter().skip(keep) {
        if !spared.contains(found) {
            remove_dir(dir, name)?;
        }
    }
    Ok(())
}

/// Removes the checkpoints in `dir` of steps above `step`, which lie on a way that is given up: going on would begin with one of
/// them, and take what comes now for older.
///
/// # Errors
/// When `dir` cannot be read, or a checkpoint cannot be removed.
pub fn remove_after(dir: &Path, step: u64) -> Result<()> {
    for (_, name) in list(dir)?.iter().filter(|(other, _)| *other > step) {
        remove_dir(dir, name)?;
    }
    Ok(())
}

/// Steps and names of what looks like checkpoints in `dir`, the highest step first; nothing if there is no `dir`.
///
/// # Errors
/// When `dir` cannot be read.
pub fn list(dir: &Path) -> Result<Vec<(u64, String)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TrainError::io("read", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(TrainError::io("read", dir))?.file_name();
        if let Some((step, name)) = name
            .to_str()
            .and_then(|name| Some((step_of(name)?, name.to_owned())))
        {
            found.push((step, name));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}
