//! Lines of a file, each turned into something, with errors that name the file and the line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Result, TaskError};

/// How many bad lines are reported one by one when they are skipped; the rest is only counted.
const REPORTED: usize = 10;

/// No problem is longer; a device without line ends would fill the memory.
const LONGEST_LINE: u64 = 1 << 24;

/// Reads a file line by line in flat memory. Blank lines do not count.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    file: PathBuf,
    reader: R,
    buffer: Vec<u8>,
    number: usize,
    skip_bad: bool,
    good: usize,
    skipped: usize,
    ended: bool,
}

impl Lines<BufReader<File>> {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| TaskError::io(path, error))?;
        Ok(Self::new(BufReader::with_capacity(1 << 16, file), path))
    }
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R, file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            reader,
            buffer: Vec::new(),
            number: 0,
            skip_bad: false,
            good: 0,
            skipped: 0,
            ended: false,
        }
    }

    pub(crate) fn set_skip_bad(&mut self, skip_bad: bool) {
        self.skip_bad = skip_bad;
    }

    pub(crate) fn skipped(&self) -> usize {
        self.skipped
    }

    /// The next line that `convert` accepts. A line that it does not is an error with file and line number, or is
    /// counted and reported where bad lines are skipped. Mixed dialects, a file that cannot be read and one without
    /// any good line are errors in either case; the first error ends the reading.
    pub(crate) fn next_as<T>(
        &mut self,
        mut convert: impl FnMut(&str) -> Result<T>,
    ) -> Option<Result<T>> {
        while !self.ended {
            match self.read_line() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            let converted = match self.text() {
                Ok(text) if text.trim().is_empty() => continue,
                text => text.and_then(&mut convert),
            };
            match converted {
                Ok(value) => {
                    self.good += 1;
                    return Some(Ok(value));
                }
                Err(error)
                    // A dialect or a setting that is wrong is not the line's fault.
                    if self.skip_bad
                        && !matches!(
                            error,
                            TaskError::MixedDialects { .. } | TaskError::Setting { .. }
                        ) =>
                {
                    self.skip(&error)
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error.at(&self.file, self.number)));
                }
            }
        }
        let empty = !self.ended && self.good == 0;
        self.ended = true;
        empty.then(|| {
            Err(TaskError::NoData {
                file: self.file.clone(),
                skipped: self.skipped,
            })
        })
    }

    /// Reads the next line into the buffer; `false` where there is none.
    fn read_line(&mut self) -> Result<bool> {
        self.buffer.clear();
        let mut line = self.reader.by_ref().take(LONGEST_LINE);
        let read = line
            .read_until(b'\n', &mut self.buffer)
            .map_err(|error| TaskError::io(&self.file, error))?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        if line.limit() == 0 && !self.buffer.ends_with(b"\n") {
            let longest = LONGEST_LINE >> 20;
            let error = TaskError::data(format!("it is longer than {longest} MiB"));
            return Err(error.at(&self.file, self.number));
        }
        Ok(true)
    }

    /// The line that was read last, without its end.
    fn text(&self) -> Result<&str> {
        let text = std::str::from_utf8(&self.buffer)
            .map_err(|_| TaskError::data("it is not UTF-8 text"))?
            .trim_end_matches(['\n', '\r']);
        // Editors of some systems put a byte order mark before everything.
        Ok(match self.number {
            1 => text.trim_start_matches('\u{feff}'),
            _ => text,
        })
    }

    fn skip(&mut self, error: &TaskError) {
        self.skipped += 1;
        if self.skipped <= REPORTED {
            tracing::warn!(
                "skipped {}: line {}: {error}",
                self.file.display(),
                self.number
            );
        }
    }
}
