//! One process at a time in a directory.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use crate::CliError;

/// Makes `dir`, if it is not there, and locks it until what this gives is dropped, or the process ends however it may.
///
/// # Errors
/// A failure that names the directory: when another process holds it, or it cannot be made or locked.
pub fn lock(dir: &Path) -> Result<File, CliError> {
    let failed = |verb: &str, error: std::io::Error| {
        CliError::failure(format!("cannot {verb} {}: {error}", dir.display()))
    };
    fs::create_dir_all(dir).map_err(|e| failed("create", e))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
        .map_err(|e| failed("lock", e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CliError::failure(format!(
            "{} is in use by another process; wait for it or choose another --out",
            dir.display()
        ))),
        Err(TryLockError::Error(e)) => Err(failed("lock", e)),
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
