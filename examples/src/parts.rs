//! A directory of files as parts of limited size, and back: for places that take small files only.
//!
//! The files are laid end to end in the order of their names and cut; `parts.json` holds the sizes and BLAKE3 hashes of
//! files and parts.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Name of the file that lists the others.
pub const PARTS: &str = "parts.json";

/// Bytes that it has at most: each file and part takes about a hundred.
const LARGEST_LIST: u64 = 1 << 24;

/// Version of its form.
const FORM: u64 = 1;

/// What can go wrong with parts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// A file or directory could not be read or written.
    #[error("cannot {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// A part is missing, or something is not what it was.
    #[error("{}: {reason}", path.display())]
    Wrong {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

type Result<T> = core::result::Result<T, PartsError>;

fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PartsError {
    let path = path.to_owned();
    move |error| PartsError::Io { verb, path, error }
}

fn wrong(path: &Path, reason: impl Into<String>) -> PartsError {
    PartsError::Wrong {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

/// A file or a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece {
    name: String,
    bytes: u64,
    blake3: String,
}

impl Piece {
    fn of(name: String, bytes: &[u8]) -> Self {
        Self {
            name,
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    form: u64,
    /// Name of the directory.
    directory: String,
    files: Vec<Piece>,
    parts: Vec<Piece>,
}

/// Writes the files of `dir` into `out` as parts of at most `limit` bytes, with their list; gives the number of parts.
///
/// # Errors
/// When `dir` holds no files, holds directories or names that begin with a dot, `limit` is 0, or something cannot be read
/// or written.
pub fn split(dir: &Path, out: &Path, limit: usize) -> Result<usize> {
    let name = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| wrong(path, "its name is no text"))?;
        if !is_name(name) {
            return Err(wrong(path, format!("`{name}` is no name of a file")));
        }
        Ok(name.to_owned())
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(io("read", dir))? {
        files.push(entry.map_err(io("read", dir))?.path());
    }
    files.sort();
    if files.is_empty() {
        return Err(wrong(dir, "there is nothing in it to be split"));
    }
    let directory = name(&fs::canonicalize(dir).map_err(io("read", dir))?)?;
    let names = files.iter().map(|path| name(path));
    let names: Vec<String> = names.collect::<Result<_>>()?;
    if limit == 0 {
        return Err(wrong(out, "parts of 0 bytes: at least 1 is needed"));
    }
    fs::create_dir_all(out).map_err(io("create", out))?;
    let mut list = List {
        form: FORM,
        directory,
        files: Vec::new(),
        parts: Vec::new(),
    };
    let mut rest = Vec::new();
    for (path, name) in files.iter().zip(names) {
        // Checkpoints are a few files of some megabytes, of which one at a time is held.
        let bytes = fs::read(path).map_err(io("read", path))?;
        list.files.push(Piece::of(name, &bytes));
        rest.extend(bytes);
        while rest.len() > limit {
            let more = rest.split_off(limit);
            write_part(out, &mut list, &std::mem::replace(&mut rest, more))?;
        }
    }
    write_part(out, &mut list, &rest)?;
    let path = out.join(PARTS);
    let text = serde_json::to_string_pretty(&list).map_err(|e| wrong(&path, e.to_string()))?;
    fs::write(&path, text + "\n").map_err(io("write", &path))?;
    Ok(list.parts.len())
}

/// Whether a list from elsewhere may have this name: it must not lead anywhere else.
fn is_name(name: &str) -> bool {
    !(name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']))
}

fn write_part(out: &Path, list: &mut List, bytes: &[u8]) -> Result<()> {
    let name = format!("part-{:04}", list.parts.len());
    let path = out.join(&name);
    fs::write(&path, bytes).map_err(io("write", &path))?;
    list.parts.push(Piece::of(name, bytes));
    Ok(())
}

/// Makes the directory again that was split into the parts in `parts`, within `into`; gives its path. All of it is
/// verified before it gets its name.
///
/// # Errors
/// When a part or the list is missing or was altered, when there is such a directory already, or something cannot be
/// read or written.
pub fn join(parts: &Path, into: &Path) -> Result<PathBuf> {
    let list = read_list(parts)?;
    let place = into.join(&list.directory);
    if place.exists() {
        return Err(wrong(&place, "it exists already"));
    }
    let aside = into.join(format!(".joining-{}", list.directory));
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(io("remove", &aside))?;
    }
    fs::create_dir_all(&aside).map_err(io("create", &aside))?;
    let joined = write_files(parts, &list, &aside)
        .and_then(|()| fs::rename(&aside, &place).map_err(io("rename", &place)));
    if joined.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_dir_all(&aside);
    }
    joined.map(|()| place)
}

fn read_list(parts: &Path) -> Result<List> {
    let path = parts.join(PARTS);
    let found = fs::metadata(&path).map_err(io("read", &path))?;
    if !found.is_file() || found.len() > LARGEST_LIST {
        let reason = format!("it is no ordinary file of at most {LARGEST_LIST} bytes");
        return Err(wrong(&path, reason));
    }
    let text = fs::read_to_string(&path).map_err(io("read", &path))?;
    let list: List = serde_json::from_str(&text).map_err(|e| wrong(&path, e.to_string()))?;
    if list.form != FORM {
        let (found, right) = (list.form, FORM);
        return Err(wrong(
            &path,
            format!("its form is {found}, this program reads {right}"),
        ));
    }
    let names = list.files.iter().chain(&list.parts);
    let names = names.map(|piece| &piece.name).chain([&list.directory]);
    let bad = names.into_iter().find(|name| !is_name(name)).cloned();
    match bad {
        Some(name) => Err(wrong(&path, format!("`{name}` is no name of a file"))),
        None => Ok(list),
    }
}

fn write_files(parts: &Path, list: &List, aside: &Path) -> Result<()> {
    let mut todo = list.parts.iter();
    let mut rest = Vec::new();
    for file in &list.files {
        let path = aside.join(&file.name);
        let length = usize::try_from(file.bytes).map_err(|_| wrong(&path, "it is too long"))?;
        while rest.len() < length {
            let Some(part) = todo.next() else {
                let reason = format!("the parts end within {}", file.name);
                return Err(wrong(&parts.join(PARTS), reason));
            };
            rest.extend(read_part(parts, part)?);
        }
        let more = rest.split_off(length);
        let bytes = std::mem::replace(&mut rest, more);
        if Piece::of(file.name.clone(), &bytes) != *file {
            let reason = format!("the parts do not add up to {}", file.name);
            return Err(wrong(&parts.join(PARTS), reason));
        }
        fs::File::create(&path)
            .and_then(|mut out| out.write_all(&bytes).and_then(|()| out.sync_all()))
            .map_err(io("write", &path))?;
    }
    Ok(())
}

fn read_part(parts: &Path, part: &Piece) -> Result<Vec<u8>> {
    let path = parts.join(&part.name);
    let found = match fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(wrong(&path, "this part is missing"));
        }
        Err(error) => return Err(io("read", &path)(error)),
    };
    // Before it is read: what is no part may have no end.
    let right = part.bytes;
    if !found.is_file() {
        return Err(wrong(&path, "it is no ordinary file"));
    }
    if found.len() != right {
        let reason = format!("it has {} bytes instead of {right}", found.len());
        return Err(wrong(&path, reason));
    }
    let bytes = fs::read(&path).map_err(io("read", &path))?;
    if Piece::of(part.name.clone(), &bytes) != *part {
        return Err(wrong(
            &path,
            "it was altered: its hash is not that of the list",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    // Helpers of tests are not seen as tests by the lint.
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Files of many sizes, split into parts of 100 bytes.
    fn parts(place: &Path) -> (PathBuf, PathBuf) {
        let (dir, out) = (place.join("step-7"), place.join("parts"));
        fs::create_dir(&dir).unwrap();
        for (name, length) in [("a", 250), ("b", 0), ("c", 99), ("d", 1)] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            fs::write(dir.join(name), bytes).unwrap();
        }
        assert_eq!(split(&dir, &out, 100).unwrap(), 4);
        (dir, out)
    }

    fn refused(parts: &Path, place: &Path) -> String {
        let error = join(parts, &place.join("back")).unwrap_err().to_string();
        let left = fs::read_dir(place.join("back")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{error}");
        error
    }

    #[test]
    fn what_is_joined_is_what_was_split() {
        let place = tempfile::tempdir().unwrap();
        let (dir, out) = parts(place.path());
        let back = join(&out, &place.path().join("back")).unwrap();
        assert!(back.ends_with("back/step-7"));
        for name in ["a", "b", "c", "d"] {
            let [found, right] = [&back, &dir].map(|dir| fs::read(dir.join(name)).unwrap());
            assert_eq!(found, right, "{name}");
        }
        for part in fs::read_dir(&out).unwrap() {
            let part = part.unwrap();
            assert!(part.file_name() == PARTS || part.metadata().unwrap().len() <= 100);
        }
        let error = join(&out, &place.path().join("back")).unwrap_err();
        assert!(error.to_string().ends_with("it exists already"));
    }

    #[test]
    fn nothing_is_split_that_could_not_be_joined() {
        let place = tempfile::tempdir().unwrap();
        let (dir, out) = parts(place.path());
        let error = split(&dir, &out, 0).unwrap_err().to_string();
        assert!(error.contains("parts of 0 bytes"), "{error}");
        fs::write(dir.join(".left"), "x").unwrap();
        let error = split(&dir, &out, 100).unwrap_err().to_string();
        assert!(error.ends_with("`.left` is no name of a file"), "{error}");
        let hidden = place.path().join(".hidden");
        fs::remove_file(dir.join(".left")).unwrap();
        fs::rename(&dir, &hidden).unwrap();
        let error = split(&hidden, &out, 100).unwrap_err().to_string();
        assert!(error.contains("`.hidden`"), "{error}");
    }

    #[test]
    fn missing_and_altered_parts_are_named() {
        let place = tempfile::tempdir().unwrap();
        let (_, out) = parts(place.path());
        let part = out.join("part-0001");
        let right = fs::read(&part).unwrap();
        let mut bytes = right.clone();
        bytes[50] ^= 1;
        fs::write(&part, &bytes).unwrap();
        let error = refused(&out, place.path());
        assert!(error.ends_with("part-0001: it was altered: its hash is not that of the list"));
        fs::write(&part, &right[..99]).unwrap();
        let error = refused(&out, place.path());
        assert!(
            error.ends_with("part-0001: it has 99 bytes instead of 100"),
            "{error}"
        );
        fs::remove_file(&part).unwrap();
        let error = refused(&out, place.path());
        assert!(
            error.ends_with("part-0001: this part is missing"),
            "{error}"
        );
    }

    #[test]
    fn lists_that_cannot_be_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let (_, out) = parts(place.path());
        let list = fs::read_to_string(out.join(PARTS)).unwrap();
        for (old, new, reason) in [
            (
                "\"step-7\"",
                "\"../step-7\"",
                "`../step-7` is no name of a file",
            ),
            (
                "\"form\": 1",
                "\"form\": 2",
                "its form is 2, this program reads 1",
            ),
            (
                "\"bytes\": 250",
                "\"bytes\": 251",
                "the parts do not add up to a",
            ),
            ("\"bytes\": 1,", "\"bytes\": 5,", "the parts end within d"),
        ] {
            let changed = list.replacen(old, new, 1);
            assert_ne!(changed, list);
            fs::write(out.join(PARTS), changed).unwrap();
            let error = refused(&out, place.path());
            assert!(error.ends_with(reason), "{error}");
        }
        fs::remove_file(out.join(PARTS)).unwrap();
        assert!(refused(&out, place.path()).starts_with("cannot read "));
        let empty = tempfile::tempdir().unwrap();
        assert!(split(empty.path(), &out, 9).is_err());
    }
}
