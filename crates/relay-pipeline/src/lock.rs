//! One process at a time in a directory.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use crate::{PipelineError, Result};

/// The file in a directory that is locked.
pub(crate) const LOCK: &str = "lock";

/// Makes `dir`, if it is not there, and locks it until the file that this gives is closed, or the process ends, however it may.
///
/// # Errors
/// When another process holds the directory, or it cannot be made or locked.
pub fn lock(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir).map_err(|e| PipelineError::io("create", dir, e))?;
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| PipelineError::io("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PipelineError::Locked {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(e)) => Err(PipelineError::io("lock", &path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_for_one_process() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("out");
        let held = lock(&dir).unwrap();
        let said = lock(&dir).unwrap_err().to_string();
        assert!(said.contains("out is in use"), "{said}");
        drop(held);
        lock(&dir).unwrap();
    }
}
