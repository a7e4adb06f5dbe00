//! One process at a time in a directory.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use crate::{Result, TrainError};

/// The file in a directory that is locked; it is empty, and stays.
pub const LOCK: &str = "lock";

/// Locks the directory `dir` until the file that this gives is closed, or the process ends, however it may.
///
/// [`Trainer::run`](crate::Trainer::run) does so with its own.
///
/// # Errors
/// [`TrainError::Locked`] when somebody else holds the directory, and when it cannot be locked.
pub fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(TrainError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::Locked {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(TrainError::io("lock", &path)(error)),
    }
}
