//! Files of lines: they appear whole or not at all, and what is wrong with one is said with its line.

use std::{
    fmt::Display,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{PipelineError, Result, atomic::Aside};

/// A JSONL file that appears whole or not at all.
///
/// Its lines go to a file beside it, which is removed where it is not finished; what a killed process leaves of it goes when
/// the run directory is opened.
#[derive(Debug)]
pub(crate) struct LineFile {
    aside: Aside,
    writer: BufWriter<File>,
}

impl LineFile {
    /// Starts a file beside `path`.
    ///
    /// # Errors
    /// When the file beside it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let aside = Aside::of(path)?;
        let file =
            File::create(aside.path()).map_err(|e| PipelineError::io("create", aside.path(), e))?;
        Ok(Self {
            aside,
            writer: BufWriter::new(file),
        })
    }

    /// Adds one line.
    ///
    /// # Errors
    /// When the line cannot be written.
    pub fn line<T: Serialize>(&mut self, value: &T) -> Result<()> {
        serde_json::to_writer(&mut self.writer, value)
            .map_err(|e| PipelineError::io("write", self.aside.path(), e.into()))?;
        self.writer
            .write_all(b"\n")
            .map_err(|e| PipelineError::io("write", self.aside.path(), e))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// When the rest cannot be written or the file cannot be renamed.
    pub fn finish(mut self) -> Result<()> {
        let flushed = self.writer.flush();
        flushed.map_err(|e| PipelineError::io("write", self.aside.path(), e))?;
        self.aside.put_in_place()
    }
}

/// The lines of a file that a [`LineFile`] wrote.
///
/// # Errors
/// When the file cannot be read or a line is not of the form; the line is named.
pub(crate) fn read_lines<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>> {
    let opened = File::open(file).map_err(|e| PipelineError::io("open", file, e))?;
    let read = |(index, line): (usize, io::Result<String>)| {
        let line = line.map_err(|e| PipelineError::io("read", file, e))?;
        serde_json::from_str(&line).map_err(|e| at(file, index, &e))
    };
    BufReader::new(opened)
        .lines()
        .enumerate()
        .map(read)
        .collect()
}

/// What is wrong with a line of `file`; `index` counts from 0.
pub(crate) fn at(file: &Path, index: usize, what: &dyn Display) -> PipelineError {
    PipelineError::corrupt(file, format!("line {}: {what}", index + 1))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_is_left_of_a_file_that_was_not_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.jsonl");
        let files = || fs::read_dir(dir.path()).unwrap().count();
        let mut failing = LineFile::create(&path).unwrap();
        // What was opened to be read cannot be written.
        failing.writer = BufWriter::new(File::open(failing.aside.path()).unwrap());
        failing.line(&1).unwrap();
        assert_eq!(files(), 1);
        let error = failing.finish().unwrap_err().to_string();
        assert!(
            error.contains("cannot write") && error.contains("lines.jsonl"),
            "{error}"
        );
        assert_eq!(files(), 0);
        let mut whole = LineFile::create(&path).unwrap();
        whole.line(&1).unwrap();
        whole.finish().unwrap();
        assert_eq!((files(), fs::read(&path).unwrap()), (1, b"1\n".to_vec()));
    }
}
