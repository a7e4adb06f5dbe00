//! Directories that others may have filled: nothing in them may lead out of them.

use std::{
    fs::{self, DirEntry},
    io,
    path::Path,
};

use crate::{Result, TrainError};

/// Checks that everything in `dir`, at any depth, is a file or a directory: through a link in a directory that came from
/// elsewhere a run would read and write wherever the link says, a pipe would hold it up, and a device may have no end.
/// `dir` itself may be reached through a link. What another process removes meanwhile is no matter.
///
/// # Errors
/// [`TrainError::NotPlain`] names the first thing that is neither.
pub fn refuse_links(dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).map_err(TrainError::io("read", dir))?;
    refuse_among(dir, entries)
}

fn refuse_among(dir: &Path, entries: impl Iterator<Item = io::Result<DirEntry>>) -> Result<()> {
    for entry in entries {
        let Some(entry) = unless_gone(dir, entry)? else {
            continue;
        };
        let path = entry.path();
        let Some(kind) = unless_gone(&path, entry.file_type())? else {
            continue;
        };
        if kind.is_dir() {
            if let Some(entries) = unless_gone(&path, fs::read_dir(&path))? {
                refuse_among(&path, entries)?;
            }
        } else if !kind.is_file() {
            return Err(TrainError::NotPlain { path });
        }
    }
    Ok(())
}

/// What was found at `path`; `None` where another process has removed it meanwhile.
fn unless_gone<T>(path: &Path, found: io::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TrainError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_away_meanwhile_is_no_matter() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        // As if they went just after they were listed.
        let listed: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(listed.len(), 2);
        for name in ["a", "b"] {
            fs::remove_dir(dir.path().join(name)).unwrap();
        }
        let gone = Err(io::ErrorKind::NotFound.into());
        refuse_among(dir.path(), listed.into_iter().chain([gone])).unwrap();
        assert!(refuse_links(&dir.path().join("a")).is_err());
        let denied = Err(io::ErrorKind::PermissionDenied.into());
        assert!(refuse_among(dir.path(), [denied].into_iter()).is_err());
    }
}
