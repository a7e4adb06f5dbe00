//! How fast a slot was: the table of its benchmark.

use std::{
    fs,
    path::{Path, PathBuf},
};

use relay_models::{CausalConfig, LoopedConfig};
use relay_pipeline::{arms::is_looped, write_atomically};
use relay_train::{Counters, Effort, checkpoint_name, read_manifest};
use serde::Serialize;
use serde_json::Value;

use super::Slot;
use crate::{CliError, write_json};

/// How fast a slot was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bench {
    /// Name of the device.
    pub device: String,
    /// Devices of this machine that shared the work.
    pub workers: usize,
    /// Machines that did.
    pub machines: usize,
    /// What the layers' products multiplied.
    pub precision: String,
    /// Updates before and after.
    pub updates: [u64; 2],
    /// Whether that were all updates of the training.
    pub done: bool,
    /// Seconds of training, compiling and choosing kernels among them; loading, and saving after the last update, are not.
    pub seconds: f64,
    /// Updates a second.
    pub updates_per_second: f64,
    /// Updates a second between the first and the last line of times of this slot, where it has several: without what is
    /// done once.
    pub updates_per_second_later: Option<f64>,
    /// Samples a second.
    pub samples_per_second: f64,
    /// Floating-point operations of the matrix products an update, backward pass included.
    pub flops_per_update: Option<f64>,
    /// Floating-point operations a second, in 10^12, at the later speed if it is known.
    pub tflops: Option<f64>,
    /// That by what the devices can do at most.
    pub utilisation: Option<f64>,
    /// The newest checkpoint.
    pub checkpoint: PathBuf,
}

impl Slot {
    /// What the counters of the checkpoints before and after say.
    pub(super) fn measure(
        &self,
        before: Counters,
        run: &Path,
        done: bool,
    ) -> Result<Bench, CliError> {
        let manifest = read_manifest(run).map_err(CliError::failure)?;
        let after = manifest.counters;
        let seconds = (after.seconds - before.seconds).max(f64::MIN_POSITIVE);
        // A training that went back may end before it began.
        let updates = after.step.saturating_sub(before.step);
        let per_second = updates as f64 / seconds;
        let later = later_speed(&run.join("times.jsonl"), before.step);
        let flops = match (before.effort, after.effort) {
            (Some(before), Some(after)) => {
                let all = |effort: Effort| flops(&self.arm, &manifest.model, &effort);
                all(after)
                    .zip(all(before))
                    .map(|(after, before)| after - before)
            }
            _ => None,
        };
        let flops_per_update = flops
            .filter(|_| updates > 0)
            .map(|all| all / updates as f64);
        let tflops = flops_per_update.map(|each| each * later.unwrap_or(per_second) / 1e12);
        let training = &manifest.training;
        let bench = Bench {
            device: self.device.to_string(),
            workers: self.workers,
            machines: self.machines.size(),
            precision: training["precision"].as_str().unwrap_or("f32").to_owned(),
            updates: [before.step, after.step],
            done,
            seconds,
            updates_per_second: per_second,
            updates_per_second_later: later,
            samples_per_second: after.samples.saturating_sub(before.samples) as f64 / seconds,
            flops_per_update,
            tflops,
            utilisation: tflops
                .zip(self.peak_tflops)
                .map(|(found, peak)| found / peak),
            checkpoint: run.join(checkpoint_name(after.step)),
        };
        write_json(&self.out.join("bench.json"), &bench)?;
        let table = bench.markdown();
        write_atomically(&self.out.join("bench.md"), table.as_bytes())
            .map_err(CliError::failure)?;
        Ok(bench)
    }
}

impl Bench {
    /// The table.
    pub fn markdown(&self) -> String {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |x| format!("{x:.4}"));
        let [from, to] = self.updates;
        let rows = [
            ("device", self.device.clone()),
            ("workers", self.workers.to_string()),
            ("machines", self.machines.to_string()),
            ("precision", self.precision.clone()),
            ("updates", format!("{from} to {to}")),
            ("seconds", format!("{:.1}", self.seconds)),
            ("updates a second", number(Some(self.updates_per_second))),
            (
                "updates a second, the first line of times left out",
                number(self.updates_per_second_later),
            ),
            ("samples a second", number(Some(self.samples_per_second))),
            (
                "10^12 FLOP an update",
                number(self.flops_per_update.map(|x| x / 1e12)),
            ),
            ("10^12 FLOP a second", number(self.tflops)),
            (
                "model-FLOP utilisation, %",
                number(self.utilisation.map(|x| 100.0 * x)),
            ),
        ];
        let mut text = String::from("| | |\n|---|---|\n");
        for (name, value) in rows {
            text += &format!("| {name} | {value} |\n");
        }
        text
    }
}

/// Updates a second between the first and the last line of a file of times that are of updates after `before`.
fn later_speed(times: &Path, before: u64) -> Option<f64> {
    let text = fs::read_to_string(times).ok()?;
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some((line["step"].as_f64()?, line["seconds"].as_f64()?))
    };
    let of_this_slot = |(step, _): &(f64, f64)| *step > before as f64;
    let lines = text.lines().filter_map(line).filter(of_this_slot);
    let lines: Vec<(f64, f64)> = lines.collect();
    let (first, last) = (lines.first()?, lines.last()?);
    (last.0 > first.0 && last.1 > first.1).then(|| (last.0 - first.0) / (last.1 - first.1))
}

/// Floating-point operations of an arm's model with these settings.
fn flops(arm: &str, model: &Value, effort: &Effort) -> Option<f64> {
    if is_looped(arm) {
        let config = serde_json::from_value::<LoopedConfig>(model.clone()).ok()?;
        return Some(effort.flops(|work| config.forward_flops(work)));
    }
    let config = serde_json::from_value::<CausalConfig>(model.clone()).ok()?;
    Some(effort.flops(|work| config.forward_flops(work)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn the_first_line_of_times_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("times.jsonl");
        let line = |step: u64, seconds: f64| format!("{{\"step\":{step},\"seconds\":{seconds}}}\n");
        fs::write(&file, line(100, 30.0)).unwrap();
        assert_eq!(later_speed(&file, 0), None);
        fs::write(&file, line(100, 30.0) + &line(200, 35.0) + &line(300, 40.0)).unwrap();
        assert_eq!(later_speed(&file, 0), Some(20.0));
        // Another slot of the same directory has written before this one.
        let later = line(100, 1.0) + &line(200, 30.0) + &line(300, 80.0) + &line(400, 90.0);
        fs::write(&file, later).unwrap();
        assert_eq!(later_speed(&file, 200), Some(10.0));
    }
}
