//! Directories that others may have filled: nothing in them may lead out of them.

use std::{fs, path::Path};

use crate::{Result, TrainError};

/// Checks that everything in `dir`, at any depth, is a file or a directory: through a link in a directory that came from
/// elsewhere a run would read and write wherever the link says, a pipe would hold it up, and a device may have no end.
/// `dir` itself may be reached through a link.
///
/// # Errors
/// [`TrainError::NotPlain`] names the first thing that is neither.
pub fn refuse_links(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(TrainError::io("read", dir))? {
        let entry = entry.map_err(TrainError::io("read", dir))?;
        let path = entry.path();
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            // Another process may have removed it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(TrainError::io("read", &path)(error)),
        };
        if kind.is_dir() {
            refuse_links(&path)?;
        } else if !kind.is_file() {
            return Err(TrainError::NotPlain { path });
        }
    }
    Ok(())
}
