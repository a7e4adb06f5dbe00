//! Files that appear whole or not at all.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use relay_tasks::{create_beside, parent_dir, sync_dir};

use crate::{PipelineError, Result};

/// Writes `bytes` to `path` so that a reader, a crash or a full disk never meets half a file.
///
/// The bytes go to a file beside `path`, which is synced and renamed; then the directory is synced, so that the new name
/// outlives a power failure too. What `path` held before stays until the rename. Missing parent directories are created.
///
/// # Errors
/// When the directory, the file beside `path` or `path` cannot be written; the message names the path.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = Aside::of(path)?;
    let written = File::create(aside.path()).and_then(|mut file| file.write_all(bytes));
    written.map_err(|e| PipelineError::io("write", path, e))?;
    aside.put_in_place()
}

/// A file that is written beside its place. Unless it is put there it is removed: a full disk would stay full.
#[derive(Debug)]
pub(crate) struct Aside {
    path: PathBuf,
    place: PathBuf,
    placed: bool,
}

impl Aside {
    /// A new file to be written for `place`, of a name that nobody else writes to; creates the directory that both lie in.
    ///
    /// Its name ends in the extension of `place`, because image encoders choose their format by it.
    pub fn of(place: &Path) -> Result<Self> {
        let dir = parent_dir(place);
        fs::create_dir_all(dir).map_err(|e| PipelineError::io("create", dir, e))?;
        let name = place
            .file_name()
            .ok_or_else(|| PipelineError::corrupt(place, "not the name of a file"))?
            .to_string_lossy();
        let (path, _) = create_beside(place, |number| format!(".{number}-{name}"))
            .map_err(|e| PipelineError::io("write", place, e))?;
        Ok(Self {
            path,
            place: place.to_owned(),
            placed: false,
        })
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the finished file and renames it to its place.
    pub fn put_in_place(mut self) -> Result<()> {
        let renamed = File::open(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.path, &self.place));
        self.placed = renamed.is_ok();
        renamed
            .and_then(|()| sync_dir(parent_dir(&self.place)))
            .map_err(|e| PipelineError::io("write", &self.place, e))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.placed {
            // Best effort: the error that matters is the one that kept it from its place.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep").join("file.txt");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn two_writers_of_one_path_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.txt");
        let [one, other] = [(); 2].map(|()| Aside::of(&path).unwrap());
        fs::write(one.path(), "one").unwrap();
        fs::write(other.path(), "other").unwrap();
        one.put_in_place().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        other.put_in_place().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_what_was_there() {
        // A directory in the file's place: the rename fails after the bytes are written.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        let error = write_atomically(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        assert!(path.join("inside").is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
