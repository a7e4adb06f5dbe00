//! Files of lines that appear whole or not at all.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    PipelineError, Result,
    atomic::{beside, put_in_place},
};

/// A JSONL file that appears whole or not at all.
///
/// Its lines go to a file beside it; what a killed process leaves of that is removed when the run directory is opened.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    aside: PathBuf,
    writer: BufWriter<File>,
}

impl LineFile {
    /// Starts a file beside `path`.
    ///
    /// # Errors
    /// When the file beside it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let aside = beside(path)?;
        let file = File::create(&aside).map_err(|e| PipelineError::io("create", &aside, e))?;
        Ok(Self {
            path: path.to_owned(),
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
            .map_err(|e| PipelineError::io("write", &self.aside, e.into()))?;
        self.writer
            .write_all(b"\n")
            .map_err(|e| PipelineError::io("write", &self.aside, e))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// When the rest cannot be written or the file cannot be renamed.
    pub fn finish(mut self) -> Result<()> {
        let flushed = self.writer.flush();
        flushed.map_err(|e| PipelineError::io("write", &self.aside, e))?;
        put_in_place(&self.aside, &self.path)
    }
}
