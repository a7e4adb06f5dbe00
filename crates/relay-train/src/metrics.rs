//! What a run measured, one JSON object a line.
//!
//! `metrics.jsonl` holds nothing that depends on the clock: that of a run which was stopped and gone on with is the
//! same, byte by byte, as that of one which never was. Times stand in `times.jsonl`.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
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
}

impl Metrics {
    /// Opens the files in `dir` and cuts off what comes after `step`.
    pub fn open(dir: &Path, step: u64) -> Result<Self> {
        Ok(Self {
            values: Lines::open(dir.join("metrics.jsonl"), step)?,
            times: Lines::open(dir.join("times.jsonl"), step)?,
        })
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
        self.values.write(&json!({
            "kind": "train", "step": step, "samples": samples, "learning_rate_factor": rate,
            "loss": mean(window.loss, window.updates), "gradient_norm": mean(window.gradient_norm, window.updates),
            "skipped": window.skipped, "tasks": tasks,
        }))
    }

    /// A line of validation.
    pub fn valid(&mut self, step: u64, tasks: &BTreeMap<String, Validated>) -> Result<()> {
        self.values
            .write(&json!({ "kind": "valid", "step": step, "tasks": tasks }))
    }

    /// A line that the loss is far above what it was.
    pub fn diverged(&mut self, step: u64, loss: f64, usual: f64) -> Result<()> {
        self.values.write(
            &json!({ "kind": "divergence", "step": step, "loss": loss, "usual_loss": usual }),
        )
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
        self.values.write(&match error {
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
    /// counts its own processor time only, so that starts at nothing again when a run is gone on with.
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

impl Lines {
    fn open(path: PathBuf, step: u64) -> Result<Self> {
        match fs::read_to_string(&path) {
            Ok(text) => {
                let kept = up_to(&text, step);
                if kept.len() < text.len() {
                    replace(&path, kept.as_bytes())?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
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

/// The lines up to `step`; a line that a crash cut in half ends the file.
fn up_to(text: &str, step: u64) -> &str {
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        let of = serde_json::from_str(line)
            .ok()
            .and_then(|value: Value| value.get("step")?.as_u64());
        if !line.ends_with('\n') || of.is_none_or(|of| of > step) {
            break;
        }
        length += line.len();
    }
    &text[..length]
}

#[cfg(test)]
mod tests {
    use super::up_to;

    #[test]
    fn cuts_after_a_step_and_at_half_a_line() {
        let text = "{\"step\":1}\n{\"step\":2}\n{\"st";
        assert_eq!(up_to(text, 5), "{\"step\":1}\n{\"step\":2}\n");
        assert_eq!(up_to(text, 1), "{\"step\":1}\n");
        assert_eq!(up_to(text, 0), "");
    }
}
