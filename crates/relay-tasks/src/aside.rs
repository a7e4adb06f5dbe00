//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Result, TaskError};

/// A file that is written beside its place and moved there when it is finished. When it is dropped before, what was
/// written goes; a file of that name that was there before stays as it was in any case. A process that is killed leaves
/// `.NAME.PROCESS.NUMBER.partial` behind.
///
/// A path that is there and is no ordinary file (a terminal, a pipe) is written to directly; so are `/dev/stdout` and its
/// like, at their end, because they may be files that others write to, too.
#[derive(Debug)]
pub(crate) struct AsideFile {
    path: PathBuf,
    /// Where the lines go until the file is finished; `None` where they go to `path` directly.
    aside: Option<PathBuf>,
    file: BufWriter<File>,
}

impl AsideFile {
    /// Starts a file for `path`.
    ///
    /// # Errors
    /// [`TaskError::Io`] when it cannot be created there.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = |error| TaskError::io(path, error);
        let streams = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];
        if streams.iter().any(|place| path.starts_with(place)) {
            let file = File::options().append(true).open(path).map_err(failed)?;
            return Ok(Self {
                path: path.to_path_buf(),
                aside: None,
                file: BufWriter::new(file),
            });
        }
        let path = destination(path);
        if fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let file = File::options().write(true).open(&path).map_err(failed)?;
            return Ok(Self {
                path,
                aside: None,
                file: BufWriter::new(file),
            });
        }
        let name = match path.file_name() {
            Some(name) if !path.is_dir() => name,
            _ => return Err(failed(io::Error::from(io::ErrorKind::IsADirectory))),
        };
        // No longer than a file system takes, even where the name is as long as that.
        let name: String = name.to_string_lossy().chars().take(48).collect();
        let (aside, file) =
            create_beside(&path, |number| format!(".{name}.{number}.partial")).map_err(failed)?;
        Ok(Self {
            path,
            aside: Some(aside),
            file: BufWriter::with_capacity(1 << 16, file),
        })
    }

    /// Writes a line and its end.
    ///
    /// # Errors
    /// [`TaskError::Io`], for instance when the disk is full.
    pub fn write_line(&mut self, line: &[u8]) -> Result<()> {
        self.file
            .write_all(line)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|error| TaskError::io(&self.path, error))
    }

    /// Makes sure that everything is on the disk and puts the file in its place.
    ///
    /// # Errors
    /// [`TaskError::Io`]; the place is then as it was before.
    pub fn finish(mut self) -> Result<()> {
        let moved = self.file.flush().and_then(|()| match self.aside.take() {
            None => Ok(()),
            Some(aside) => {
                let moved = self
                    .file
                    .get_ref()
                    .sync_all()
                    .and_then(|()| fs::rename(&aside, &self.path));
                if moved.is_err() {
                    self.aside = Some(aside);
                }
                moved.and_then(|()| sync_dir(parent_dir(&self.path)))
            }
        });
        moved.map_err(|error| TaskError::io(&self.path, error))
    }
}

/// A new file beside `path`, of a name that nobody else writes to: not another thread, nor a process of the same number in
/// another container. `name` makes its name from what sets it apart, `PROCESS.NUMBER`.
///
/// # Errors
/// When it cannot be created there.
pub fn create_beside(path: &Path, name: impl Fn(&str) -> String) -> io::Result<(PathBuf, File)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let aside = path.with_file_name(name(&format!("{process}.{number}")));
        match File::options().write(true).create_new(true).open(&aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (aside, file)),
        }
    }
}

/// Where a path leads in the end: a link stays a link, and what it points to is made or replaced.
fn destination(path: &Path) -> PathBuf {
    let mut place = path.to_path_buf();
    // As many as Linux follows; the last link of a ring is replaced.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&place) else {
            break;
        };
        place = place.parent().unwrap_or(Path::new("")).join(target);
    }
    place
}

/// The directory that `path` lies in: of a bare name `.`.
pub fn parent_dir(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Makes sure that new names in a directory are on the disk, where the system has such a thing and lets us: a directory may be
/// written to and not read, and not every file system can do it. The files are in their places then all the same.
///
/// # Errors
/// When the directory is not there, or the disk fails.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.or_else(|error| match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}

impl Drop for AsideFile {
    fn drop(&mut self) {
        // Nothing can be reported from here, and a file left over does no harm but take space.
        if let Some(aside) = &self.aside {
            let _ = fs::remove_file(aside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_of_one_path_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.txt");
        // As one leaves it that was killed, of this number by chance.
        let left = format!(".lines.txt.{}.0.partial", std::process::id());
        fs::write(dir.path().join(&left), "old").unwrap();
        let mut files = [(); 3].map(|()| AsideFile::create(&path).unwrap());
        for (number, file) in files.iter_mut().enumerate() {
            file.write_line(number.to_string().as_bytes()).unwrap();
        }
        let [first, second, third] = files;
        first.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n");
        drop(second);
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n");
        third.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        let names = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [left, "lines.txt".to_owned()]);
    }

    #[test]
    fn a_name_may_be_as_long_as_names_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("é".repeat(127));
        AsideFile::create(&path).unwrap().finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
