//! Files of lines that appear whole or not at all.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{PipelineError, Result};

/// A JSONL file that appears whole or not at all.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    aside: PathBuf,
    writer: std::io::BufWriter<File>,
}

impl LineFile {
    /// Starts a file beside `path`.
    ///
    /// # Errors
    /// When the file beside it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let aside = path.with_extension("partial");
        let file = File::create(&aside).map_err(|e| PipelineError::io("create", &aside, e))?;
        Ok(Self {
            path: path.to_owned(),
            aside,
            writer: std::io::BufWriter::new(file),
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
    pub fn finish(self) -> Result<()> {
        let Self {
            path,
            aside,
            writer,
        } = self;
        let failed = |e| PipelineError::io("write", &aside, e);
        let file = writer.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&aside, &path).map_err(|e| PipelineError::io("rename", &path, e))
    }
}
