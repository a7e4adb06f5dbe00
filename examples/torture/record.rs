//! The outcome as a JSON file that further calls add to.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use relay_examples::{CliError, write_json};
use relay_pipeline::{Machine, Results};
use serde::{Deserialize, Serialize};

use crate::program::{Ending, Plan};

/// What one call of the program did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Batch {
    /// The seed.
    pub seed: u64,
    /// Kills.
    pub kills: u64,
    /// Kills by signal.
    pub by_signal: BTreeMap<String, u64>,
    /// Kills that left a file or checkpoint half written.
    pub half_written: u64,
    /// Kills after which the program still saved a checkpoint and said how to go on.
    pub saved: u64,
    /// Starts by number of threads.
    pub by_threads: BTreeMap<String, u64>,
    /// Runs that came to their end and were compared.
    pub runs: u64,
    /// Files compared in each of them.
    pub files: usize,
    /// What differed, or ended in another way than it should.
    pub differences: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Batch {
    /// Takes in how a start ended.
    pub fn count(&mut self, ending: &Ending, threads: u64, plan: Option<&Plan>) {
        *self.by_threads.entry(threads.to_string()).or_default() += 1;
        if let (Ending::Killed { writing, saved }, Some(plan)) = (ending, plan) {
            self.kills += 1;
            *self
                .by_signal
                .entry(plan.signal.name.to_owned())
                .or_default() += 1;
            self.half_written += u64::from(*writing);
            self.saved += u64::from(*saved);
        }
    }

    /// Takes in a run that came to its end.
    pub fn completed(&mut self, differences: Vec<String>) {
        self.runs += 1;
        let run = self.runs;
        let named = differences
            .into_iter()
            .map(|what| format!("run {run}: {what}"));
        self.differences.extend(named);
    }
}

/// All calls that were recorded in one file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    command: String,
    preset: String,
    version: String,
    machine: Machine,
    kills: u64,
    differences: usize,
    runs: u64,
    half_written: u64,
    saved: u64,
    by_signal: BTreeMap<String, u64>,
    by_threads: BTreeMap<String, u64>,
    seconds: f64,
    batches: Vec<Batch>,
}

impl Record {
    /// What a file holds, or an empty record.
    pub fn load(file: &Path, preset: &str) -> Result<Self, CliError> {
        match fs::read_to_string(file) {
            Ok(text) => {
                let held: Self = serde_json::from_str(&text)
                    .map_err(|error| CliError::failure(format!("{}: {error}", file.display())))?;
                if held.preset != preset {
                    return Err(CliError::usage(format!(
                        "{} is about the preset {}",
                        file.display(),
                        held.preset
                    )));
                }
                let here = Self::new(preset);
                if (&held.version, &held.machine) != (&here.version, &here.machine) {
                    return Err(CliError::usage(format!(
                        "{} is of version {} on {}, this is {} on {}: give another file",
                        file.display(),
                        held.version,
                        held.machine,
                        here.version,
                        here.machine
                    )));
                }
                Ok(held)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::new(preset)),
            Err(error) => Err(CliError::failure(format!("{}: {error}", file.display()))),
        }
    }

    fn new(preset: &str) -> Self {
        let Results {
            version, machine, ..
        } = Results::new(preset, 1, "flex");
        Self {
            command: format!(
                "cargo run --release --example torture -- --preset {preset} --kills N --seed S"
            ),
            preset: preset.to_owned(),
            version,
            machine,
            kills: 0,
            differences: 0,
            runs: 0,
            half_written: 0,
            saved: 0,
            by_signal: BTreeMap::new(),
            by_threads: BTreeMap::new(),
            seconds: 0.0,
            batches: Vec::new(),
        }
    }

    /// Adds a call.
    pub fn add(&mut self, batch: Batch) {
        self.kills += batch.kills;
        self.differences += batch.differences.len();
        self.runs += batch.runs;
        self.half_written += batch.half_written;
        self.saved += batch.saved;
        self.seconds += batch.seconds;
        for (sums, counts) in [
            (&mut self.by_signal, &batch.by_signal),
            (&mut self.by_threads, &batch.by_threads),
        ] {
            for (name, count) in counts {
                *sums.entry(name.clone()).or_default() += count;
            }
        }
        self.batches.push(batch);
    }

    /// Writes the file.
    pub fn save(&self, file: &Path) -> Result<(), CliError> {
        write_json(file, self)
    }
}
