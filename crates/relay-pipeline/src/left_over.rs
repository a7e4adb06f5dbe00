//! What a process that was killed while it wrote has left behind.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{PipelineError, Result};

/// How the name of a stage's directory begins that is being taken over.
pub(crate) const TAKING: &str = ".taking-";

/// Removes the unfinished files of [`write_atomically`](crate::write_atomically) in a run directory and all directories
/// in it, and stages that were taken over by half. Only for the process that holds the directory's lock: nobody else
/// writes there then.
pub(crate) fn remove_left_overs(dir: &Path) -> Result<()> {
    for path in entries(dir)? {
        if path.is_dir() && is_taking(&path) {
            tracing::debug!("removing the unfinished {}", path.display());
            fs::remove_dir_all(&path).map_err(|e| PipelineError::io("remove", &path, e))?;
        } else if path.is_dir() {
            remove_left_overs(&path)?;
        } else {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a stage's directory, what says that it is done or begun first: half of a stage must not pass for a whole one.
pub(crate) fn remove_stage(dir: &Path) -> Result<()> {
    for marker in ["done.json", "stage.json"] {
        let marker = dir.join(marker);
        match fs::remove_file(&marker) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(PipelineError::io("clear", &marker, e));
            }
            _ => {}
        }
    }
    fs::remove_dir_all(dir).map_err(|e| PipelineError::io("clear", dir, e))
}

/// The paths of what lies in a directory.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| PipelineError::io("list", dir, e);
    fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| Ok(entry.map_err(failed)?.path()))
        .collect()
}

/// Whether it is the directory of a stage that was being taken over.
fn is_taking(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(TAKING))
}

fn remove(path: &Path) -> Result<()> {
    if !path
        .file_name()
        .is_some_and(|name| is_unfinished(&name.to_string_lossy()))
    {
        return Ok(());
    }
    tracing::debug!("removing the unfinished {}", path.display());
    fs::remove_file(path).map_err(|e| PipelineError::io("remove", path, e))
}

/// The name of the file that an unfinished one was to become: that is `.`, the number of a process, `.`, a number of its own,
/// `-` and the name.
pub(crate) fn becomes(name: &str) -> Option<&str> {
    let (numbers, name) = name.strip_prefix('.')?.split_once('-')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (process, own) = numbers.split_once('.')?;
    (number(process) && number(own)).then_some(name)
}

/// Whether it is an unfinished file of a run: other files may have a name of that form, too.
fn is_unfinished(name: &str) -> bool {
    const WRITTEN: [&str; 7] = ["json", "jsonl", "html", "svg", "png", "csv", "md"];
    let ends = |name: &str| {
        let end = Path::new(name).extension();
        WRITTEN.iter().any(|one| end.is_some_and(|end| end == *one))
    };
    becomes(name).is_some_and(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_is_unfinished_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("evaluation/arm");
        fs::create_dir_all(&inner).unwrap();
        let kept = [
            "lock",
            ".hidden",
            ".partial-step-000000001",
            "a.json",
            ".-b",
            ".2024-notes.md",
            ".17-settings.json",
            ".17.-a.png",
        ];
        let gone = [".17.0-settings.json", ".4000000000.12-a.png"];
        for place in [dir.path(), &inner] {
            for name in kept.iter().chain(&gone) {
                fs::write(place.join(name), "x").unwrap();
            }
        }
        let half = dir.path().join(".taking-evaluation-arm");
        fs::create_dir_all(half.join("step-000000001")).unwrap();
        fs::write(half.join("done.json"), "{}").unwrap();
        remove_left_overs(dir.path()).unwrap();
        assert!(!half.exists());
        for place in [dir.path(), &inner] {
            assert!(kept.iter().all(|name| place.join(name).exists()));
            assert!(gone.iter().all(|name| !place.join(name).exists()));
        }
    }

    #[test]
    fn a_run_that_was_killed_before_its_settings_were_written_can_be_started() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".17.0-settings.json"), "{").unwrap();
        let settings = crate::preset("smoke", 1).unwrap();
        for existing in [crate::Existing::Refuse, crate::Existing::Resume] {
            crate::RunDir::open(dir.path(), &settings, existing).unwrap();
        }
    }
}
