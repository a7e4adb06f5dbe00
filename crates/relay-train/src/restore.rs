//! Reading checkpoints: nothing of one is used before all of it is verified.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use burn::module::Module;
use burn::tensor::backend::Backend;
use relay_tasks::Codec;
use serde_json::Value;

use crate::checkpoint::{FILES, MANIFEST, MODEL, list};
use crate::manifest::{FileRecord, Manifest};
use crate::tensors::{Tensors, decode, into_model};
use crate::{Result, TrainError, first_difference};

/// The most bytes of a manifest; one of a vocabulary of a million tokens has fewer.
const LARGEST_MANIFEST: u64 = 64 << 20;

/// A checkpoint of which all that is needed was read and found good.
#[derive(Debug)]
pub(crate) struct Verified {
    pub path: PathBuf,
    pub manifest: Manifest,
    /// Contents of the files that are needed by name, as they were when their hash was taken.
    files: BTreeMap<String, Vec<u8>>,
}

impl Verified {
    /// Reads and verifies the checkpoint in `path`, of its files those that are `needed`.
    pub fn read(path: &Path, needed: &[&str]) -> Result<Self> {
        let wrong = |reason: String| TrainError::checkpoint(path, reason);
        let failed = |name: &str, error| unreadable(path, name, error);
        // Asked before a byte is read: memory must not depend on what is found there, and a link leads elsewhere.
        let size = |name: &str| match fs::symlink_metadata(path.join(name)) {
            Ok(found) if found.is_file() => Ok(found.len()),
            Ok(_) => Err(wrong(format!("{name} is no ordinary file"))),
            Err(error) => Err(failed(name, error)),
        };
        let read = |name: &str| fs::read(path.join(name)).map_err(|error| failed(name, error));
        let bytes = size(MANIFEST)?;
        if bytes > LARGEST_MANIFEST {
            return Err(wrong(format!("{MANIFEST} has {bytes} bytes, far too many")));
        }
        let manifest = Manifest::open(&read(MANIFEST)?).map_err(wrong)?;
        Self::of_files(path.to_owned(), manifest, needed, |name, record| {
            let found = size(name)?;
            if found != record.bytes {
                let right = record.bytes;
                return Err(wrong(format!(
                    "{name} has {found} bytes instead of {right}"
                )));
            }
            read(name)
        })
    }

    /// One that comes from elsewhere, file by file, after its manifest and in the order of that. `path` stands for it in
    /// messages.
    pub fn received(
        path: PathBuf,
        manifest: &[u8],
        mut next_file: impl FnMut() -> Result<Vec<u8>>,
    ) -> Result<Self> {
        let manifest =
            Manifest::open(manifest).map_err(|reason| TrainError::checkpoint(&path, reason))?;
        Self::of_files(path, manifest, &FILES, |_, _| next_file())
    }

    /// The `needed` files of a manifest, each as `read` gives it, if its hash is right.
    fn of_files(
        path: PathBuf,
        manifest: Manifest,
        needed: &[&str],
        mut read: impl FnMut(&str, &FileRecord) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        let mut files = BTreeMap::new();
        let records = manifest.files.iter();
        for (name, record) in records.filter(|(name, _)| needed.contains(&name.as_str())) {
            let bytes = read(name, record)?;
            if FileRecord::of(&bytes) != *record {
                let reason = format!("{name} was altered: its hash is not that of the manifest");
                return Err(TrainError::checkpoint(&path, reason));
            }
            files.insert(name.clone(), bytes);
        }
        Ok(Self {
            path,
            manifest,
            files,
        })
    }

    /// As [`read`](Self::read), for a `path` that nobody asked for but that was found: it must not lead elsewhere.
    fn found(path: &Path, needed: &[&str]) -> Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_dir() => Err(TrainError::checkpoint(path, "it is no directory")),
            _ => Self::read(path, needed),
        }
    }

    /// The newest checkpoint of `dir`, which may be one itself, that is good in what is `needed`; says which ones are not good, and why.
    ///
    /// # Errors
    /// When there are checkpoints but none is good, or the system does not give one that is there.
    pub fn newest(dir: &Path, needed: &[&str]) -> Result<Option<Self>> {
        if dir.join(MANIFEST).exists() {
            return Self::read(dir, needed).map(Some);
        }
        Self::newest_with(dir, needed, |_| true)
    }

    /// The newest checkpoint in `dir`, good in all its parts, of a step that `wanted` holds of.
    ///
    /// # Errors
    /// When there are such checkpoints but none is good, or the system does not give one that is there.
    pub fn newest_of(dir: &Path, wanted: impl Fn(u64) -> bool) -> Result<Option<Self>> {
        Self::newest_with(dir, &FILES, wanted)
    }

    fn newest_with(
        dir: &Path,
        needed: &[&str],
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Option<Self>> {
        let mut reasons = Vec::new();
        for (step, name) in list(dir)?.into_iter().filter(|(step, _)| wanted(*step)) {
            match Self::found(&dir.join(&name), needed).and_then(|found| found.of_step(step)) {
                Ok(found) => {
                    if !reasons.is_empty() {
                        tracing::warn!(
                            "{name} of {} is the newest good checkpoint and is used",
                            dir.display()
                        );
                    }
                    return Ok(Some(found));
                }
                // Nobody knows whether it is good: to go back to an older one would lose what lies between.
                Err(error @ TrainError::Io { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!("{error}; it is passed over");
                    reasons.push(match error {
                        TrainError::Checkpoint { reason, .. } => format!("{name}: {reason}"),
                        other => other.to_string(),
                    });
                }
            }
        }
        if reasons.is_empty() {
            return Ok(None);
        }
        Err(TrainError::NoCheckpoint {
            dir: dir.to_owned(),
            reason: format!(
                "{}; without that directory the model is trained anew",
                reasons.join("; ")
            ),
        })
    }

    /// That it is what its name says: a renamed copy of an older one must not pass for the newest.
    fn of_step(self, step: u64) -> Result<Self> {
        match self.manifest.counters.step {
            held if held == step => Ok(self),
            held => Err(self.wrong(format!("it was made after step {held}"))),
        }
    }

    /// As [`newest`](Self::newest), but there has to be one.
    pub fn newest_or_error(dir: &Path, needed: &[&str]) -> Result<Self> {
        let none = || TrainError::NoCheckpoint {
            dir: dir.to_owned(),
            reason: "there is none".to_owned(),
        };
        let names = || list(dir).map(|found| found.into_iter().map(|(_, name)| name));
        let before: Vec<_> = names()?.collect();
        let found = match Self::newest(dir, needed) {
            // A training that goes on meanwhile has saved the next one, and removed what was being read.
            Err(TrainError::NoCheckpoint { .. }) if !names()?.eq(before) => {
                Self::newest(dir, needed)
            }
            found => found,
        };
        found?.ok_or_else(none)
    }

    /// The tensors of one of the files.
    pub fn tensors(&self, name: &str) -> Result<Tensors> {
        let bytes = self
            .files
            .get(name)
            .ok_or_else(|| self.wrong(format!("{name} is not in the manifest")))?;
        decode(bytes).map_err(|reason| self.wrong(format!("{name}: {reason}")))
    }

    /// Whether it has a file.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// `model` with the weights of one of the files.
    pub fn model<B: Backend, M: Module<B>>(&self, name: &str, model: M) -> Result<M> {
        into_model(model, self.tensors(name)?)
            .map_err(|reason| self.wrong(format!("{name}: {reason}")))
    }

    /// That it is of this codec and model.
    pub fn check(&self, codec: &Codec, model: &Value) -> Result<()> {
        codec.check_same(&self.manifest.codec)?;
        self.check_settings("model", &self.manifest.model, model)
    }

    /// That settings are those it was made with.
    pub fn check_settings(&self, name: &str, held: &Value, wanted: &Value) -> Result<()> {
        match first_difference(name, held, wanted) {
            Some((field, held, wanted)) => Err(TrainError::OtherSettings {
                path: self.path.clone(),
                field,
                held,
                wanted,
            }),
            None => Ok(()),
        }
    }

    pub fn wrong(&self, reason: String) -> TrainError {
        TrainError::checkpoint(&self.path, reason)
    }
}

/// `model` with the weights of a checkpoint: of the newest in `dir` whose model is good, or of `dir` itself if it is one. They are
/// the averaged weights if the run kept an average. [`Checkpoint`](crate::Checkpoint) needs not know codec and settings.
///
/// # Errors
/// When there is no good checkpoint, or it was made for another codec (vocabulary, tasks, dialects), with other model
/// settings, or for a model of other shapes.
pub fn load_model<B: Backend, M: Module<B>>(
    dir: &Path,
    model: M,
    codec: &Codec,
    settings: &Value,
) -> Result<M> {
    let verified = Verified::newest_or_error(dir, &[MODEL])?;
    verified.check(codec, settings)?;
    verified.model(MODEL, model)
}

/// What a checkpoint says about itself, once all of it is verified: codec and model settings among it, so that a model
/// can be loaded without knowing them. `dir` is as for [`load_model`].
///
/// # Errors
/// When there is no good checkpoint.
pub fn read_manifest(dir: &Path) -> Result<Manifest> {
    Ok(Verified::newest_or_error(dir, &FILES)?.manifest)
}

/// Why a file of the checkpoint in `path` cannot be read: it is not there, so that the checkpoint is not whole; or the system does
/// not give it now, by its rights, its limits or its disk, and it may be good all the same.
fn unreadable(path: &Path, name: &str, error: io::Error) -> TrainError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            TrainError::checkpoint(path, format!("{name}: {error}"))
        }
        _ => TrainError::io("read", &path.join(name))(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint that is not whole is passed over; one that the system does not give is not, as nobody knows what it holds.
    #[test]
    fn what_cannot_be_read_now_is_not_damaged() {
        let place = Path::new("runs/step-000000009");
        let of = |error: io::Error| unreadable(place, "model.safetensors", error);
        let gone = of(ErrorKind::NotFound.into());
        assert!(matches!(gone, TrainError::Checkpoint { .. }), "{gone}");
        // Too many open files; an error of the disk.
        for error in [
            ErrorKind::PermissionDenied.into(),
            io::Error::from_raw_os_error(24),
            io::Error::from_raw_os_error(5),
        ] {
            let error = of(error);
            let TrainError::Io { path, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(*path, place.join("model.safetensors"));
        }
    }
}
