//! Files that are on the disk whole, or not there.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use relay_tasks::parent_dir;

use crate::{Result, TrainError};

/// Writes a file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(TrainError::io("create", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(TrainError::io("write", path))
}

/// Waits until what was created, renamed or removed in a directory is on the disk.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    relay_tasks::sync_dir(path).map_err(TrainError::io("sync", path))
}

/// Replaces a file by another version of it, written aside.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".partial");
    let aside = Path::new(&aside);
    let put = write_synced(aside, bytes)
        .and_then(|()| fs::rename(aside, path).map_err(TrainError::io("rename", path)));
    if put.is_err() {
        // A full disk would stay full.
        let _ = fs::remove_file(aside);
    }
    put?;
    sync_dir(parent_dir(path))
}

/// Removes a directory that may not be there. It gets another name first, so that no half of it is ever mistaken for
/// the whole.
pub(crate) fn remove_dir(dir: &Path, name: &str) -> Result<()> {
    let (place, aside) = (dir.join(name), dir.join(format!(".old-{name}")));
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(TrainError::io("remove", &aside))?;
    }
    if place.exists() {
        fs::rename(&place, &aside).map_err(TrainError::io("rename", &place))?;
        fs::remove_dir_all(&aside).map_err(TrainError::io("remove", &aside))?;
    }
    Ok(())
}
