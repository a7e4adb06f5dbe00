//! One process at a time in a directory.

use std::{
    fs::{self, File},
    path::Path,
};

use relay_train::TrainError;

use crate::{PipelineError, Result};

pub(crate) use relay_train::LOCK;

/// Makes `dir`, if it is not there, and locks it until the file that this gives is closed, or the process ends, however it may.
///
/// # Errors
/// When another process holds the directory, or it cannot be made or locked.
pub fn lock(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir).map_err(|e| PipelineError::io("create", dir, e))?;
    relay_train::lock(dir).map_err(|error| match error {
        TrainError::Locked { path } => PipelineError::Locked { path },
        error => error.into(),
    })
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
