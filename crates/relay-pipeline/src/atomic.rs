//! Files that appear whole or not at all.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process,
};

use crate::{PipelineError, Result};

/// Writes `bytes` to `path` so that a reader, a crash or a full disk never meets half a file.
///
/// The bytes go to a file beside `path`, which is synced and renamed; then the directory is synced, so that the new name
/// outlives a power failure too. What `path` held before stays until the rename. Missing parent directories are created.
///
/// # Errors
/// When the directory, the file beside `path` or `path` cannot be written; the message names the path.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = beside(path)?;
    let written = File::create(&aside).and_then(|mut file| file.write_all(bytes));
    match written {
        Ok(()) => put_in_place(&aside, path),
        Err(e) => {
            // Best effort: the error that matters is the one of the write.
            let _ = fs::remove_file(&aside);
            Err(PipelineError::io("write", path, e))
        }
    }
}

/// Name for a file to be written beside `path`; creates the directory that both lie in.
///
/// The name ends in `path`'s own extension, because image encoders choose their format by it.
pub(crate) fn beside(path: &Path) -> Result<PathBuf> {
    let dir = parent(path);
    fs::create_dir_all(dir).map_err(|e| PipelineError::io("create", dir, e))?;
    let name = path
        .file_name()
        .ok_or_else(|| PipelineError::corrupt(path, "not the name of a file"))?;
    Ok(dir.join(format!(".{}-{}", process::id(), name.to_string_lossy())))
}

/// Syncs the finished file `aside` and renames it to `path`.
pub(crate) fn put_in_place(aside: &Path, path: &Path) -> Result<()> {
    let placed = File::open(aside)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(aside, path))
        .and_then(|()| File::open(parent(path))?.sync_all());
    placed.map_err(|e| {
        let _ = fs::remove_file(aside);
        PipelineError::io("write", path, e)
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
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
