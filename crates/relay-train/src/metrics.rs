//! What a run measured, one JSON object a line.
//!
//! `metrics.jsonl` holds nothing that depends on the clock: that of a run which was stopped and resumed is the
//! same, byte by byte, as that of one which never was. Times stand in `times.jsonl`.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug, Formatter},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use relay_tasks::Codec;
use serde::Serialize;
use serde_json::{Value, json};

use crate::files::replace;
use crate::statistics::Window;
use crate::usage::{processor_seconds, resident_mebibytes};
use crate::{Result, TrainError, Validated};

/// The two files of a run, open for more.
#[derive(Debug)]
pub(crate) struct Metrics {
    values: Lines,
    times: Lines,
    listener: Listener,
}

/// What a program of one's own does with each line.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<Hear>>);

type Hear = dyn Fn(&Value) + Send + Sync;

impl Listener {
    pub fn new(listener: impl Fn(&Value) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }
}

impl Debug for Listener {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener" } else { "None" })
    }
}

impl Metrics {
    /// Opens the files in `dir` and cuts off what comes after `step`.
    pub fn open(dir: &Path, step: u64, listener: Listener) -> Result<Self> {
        Ok(Self {
            listener,
            values: Lines::open(dir.join("metrics.jsonl"), step, refuse)?,
            // No training is given up for the lines of a clock.
            times: Lines::open(dir.join("times.jsonl"), step, |path, reason, _| {
                tracing::warn!("{}: {reason}; the lines before it stay", path.display());
                Ok(())
            })?,
        })
    }

    fn tell(&mut self, line: &Value) -> Result<()> {
        self.values.write(line)?;
        if let Some(listener) = &self.listener.0 {
            listener(line);
        }
        Ok(())
    }

    /// A line of training: means over the updates since the last one.
    pub fn train(
        &mut self,
        step: u64,
        samples: u64,
        rate: f64,
        window: &Window,
        codec: &Codec,
    ) -> Result<()> {
        let mean = |sum: f64, count: u64| {
            if count > 0 {
                Some(sum / count as f64)
            } else {
                None
            }
        };
        let tasks: BTreeMap<&str, Value> = window
            .tasks
            .iter()
            .map(|(&task, sums)| {
                (
                    codec.tasks[task].name.as_str(),
                    json!({
                        "answer_loss": mean(sums.answer_loss, sums.updates),
                        "step_loss": mean(sums.step_loss, sums.updates),
                        "accuracy": mean(sums.right as f64, sums.guesses),
                    }),
                )
            })
            .collect();
        self.tell(&json!({
            "kind": "train", "step": step, "samples": samples, "learning_rate_factor": rate,
            "loss": mean(window.loss, window.updates), "gradient_norm": mean(window.gradient_norm, window.updates),
            "skipped": window.skipped, "tasks": tasks,
        }))
    }

    /// A line of validation.
    pub fn valid(&mut self, step: u64, tasks: &BTreeMap<String, Validated>) -> Result<()> {
        self.tell(&json!({ "kind": "valid", "step": step, "tasks": tasks }))
    }

    /// A line that the loss is far above what it was.
    pub fn diverged(&mut self, step: u64, loss: f64, usual: f64) -> Result<()> {
        self.tell(&json!({ "kind": "divergence", "step": step, "loss": loss, "usual_loss": usual }))
    }

    /// A line that the run went back to step `to` from an `error`. It is of the first update that is made anew, so that it
    /// stays as long as the updates after it do.
    pub fn went_back(
        &mut self,
        error: &TrainError,
        to: u64,
        recoveries: u64,
        rate: f64,
    ) -> Result<()> {
        let step = to + 1;
        self.tell(&match error {
            TrainError::Diverged { step: at, loss, usual } => json!({
                "kind": "recovery", "step": step, "diverged_at": at, "loss": loss, "usual_loss": usual,
                "recoveries": recoveries, "learning_rate_scale": rate,
            }),
            TrainError::NotFinite { step: up_to, .. } => json!({
                "kind": "recovery", "step": step, "not_finite_up_to": up_to, "recoveries": recoveries,
                "learning_rate_scale": rate,
            }),
            // A run goes back from nothing else.
            _ => return Ok(()),
        })
    }

    /// A line of times: seconds since the start of the run, breaks not counted, and what the process uses. A process
    /// counts its own processor time only, so that starts at nothing again when a run is resumed.
    pub fn time(&mut self, step: u64, seconds: f64) -> Result<()> {
        self.times.write(&json!({
            "step": step, "seconds": seconds, "processor_seconds": processor_seconds(),
            "resident_mib": resident_mebibytes(),
        }))
    }

    /// Waits until all lines are on the disk.
    pub fn sync(&self) -> Result<()> {
        self.values.sync()?;
        self.times.sync()
    }
}

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
}

/// That lines which are to be kept come after one that cannot be read.
fn refuse(path: &Path, reason: &str, number: usize) -> Result<()> {
    let help =
        format!("{reason}; mend line {number}, or remove the file to go on without what it told");
    let error = io::Error::new(io::ErrorKind::InvalidData, help);
    Err(TrainError::io("read", path)(error))
}

impl Lines {
    /// Opens a file and cuts off what comes after `step`; where lines to keep come after one that cannot be read, `lost` says, given why and
    /// that line's number, whether they are given up.
    fn open(
        path: PathBuf,
        step: u64,
        lost: impl FnOnce(&Path, &str, usize) -> Result<()>,
    ) -> Result<Self> {
        // Bytes: a crash may cut a line within a character.
        match fs::read(&path) {
            Ok(bytes) => {
                let Kept {
                    lines: kept,
                    behind,
                } = up_to(&bytes, step);
                if let Some((number, of)) = behind {
                    let reason = format!(
                        "line {number} is no line of it, but one of step {of}, which is to be kept, comes after that"
                    );
                    lost(&path, &reason, number)?;
                }
                if kept.len() < bytes.len() {
                    replace(&path, kept)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(TrainError::io("read", &path)(error)),
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(TrainError::io("open", &path))?;
        Ok(Self { path, file })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let error = |error| TrainError::io("write", &self.path)(error);
        let mut text = serde_json::to_string(line).map_err(|e| error(e.into()))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(error)
    }

    fn sync(&self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(TrainError::io("write", &self.path))
    }
}

/// What of a file is kept.
struct Kept<'a> {
    lines: &'a [u8],
    /// Where lines that should be kept come after one that cannot be read: the number of that one, and the step of the first of them.
    /// They are on the disk before a checkpoint of their step is, so that no crash does that, and to go on loses them.
    behind: Option<(usize, u64)>,
}

/// The lines up to `step`. What a crash left behind them ends them: a line cut in half, even within a character, or bytes
/// that are no line at all.
fn up_to(bytes: &[u8], step: u64) -> Kept<'_> {
    let (mut length, mut ended, mut unreadable, mut behind) = (0, false, None, None);
    for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        match step_of(line) {
            Some(of) if of <= step => {
                behind = behind.or(unreadable.map(|number| (number, of)));
                if !ended {
                    length += line.len();
                }
            }
            Some(_) => ended = true,
            None => {
                ended = true;
                unreadable = unreadable.or(Some(number));
            }
        }
    }
    Kept {
        lines: &bytes[..length],
        behind,
    }
}

/// The step of a whole line.
fn step_of(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\n")?;
    let value: Value = serde_json::from_slice(line).ok()?;
    value.get("step")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes: &[u8], step: u64) -> &str {
        let Kept { lines, behind } = up_to(bytes, step);
        assert_eq!(behind, None);
        std::str::from_utf8(lines).unwrap()
    }

    #[test]
    fn cuts_after_a_step_and_at_half_a_line() {
        let text = b"{\"step\":1}\n{\"step\":2}\n{\"st";
        assert_eq!(kept(text, 5), "{\"step\":1}\n{\"step\":2}\n");
        assert_eq!(kept(text, 1), "{\"step\":1}\n");
        assert_eq!(kept(text, 0), "");
        assert_eq!(kept(b"", 5), "");
        // A line that lacks nothing but its end.
        assert_eq!(kept(b"{\"step\":1}\n{\"step\":2}", 5), "{\"step\":1}\n");
    }

    #[test]
    fn a_cut_within_a_character_is_one_like_any_other() {
        let text = "{\"step\":1,\"tasks\":\"größe\"}\n{\"step\":2,\"tasks\":\"größe\"}\n";
        let first = text.split_inclusive('\n').next().unwrap();
        for end in first.len()..text.len() {
            assert_eq!(kept(&text.as_bytes()[..end], 2), first, "cut after {end}");
        }
        // Blocks of a file that a crash left without content.
        for left_over in [&[0; 40][..], b"\0\0\n\0\n", b"\xff\xfe\n"] {
            let bytes = [text.as_bytes(), left_over].concat();
            assert_eq!(kept(&bytes, 2), text);
        }
    }

    #[test]
    fn garbage_before_lines_to_keep_is_told() {
        for garbage in [&b"\xff\n"[..], b"{\"st\n", b"\n", b"{\"step\":-1}\n"] {
            let lines = [b"{\"step\":1}\n", garbage, b"{\"step\":2}\n"].concat();
            let found = up_to(&lines, 2);
            assert_eq!(
                (found.lines, found.behind),
                (&b"{\"step\":1}\n"[..], Some((2, 2)))
            );
            // Without a line to keep behind it, it is what a crash left.
            assert_eq!(kept(&lines, 1), "{\"step\":1}\n");
        }
    }
}
