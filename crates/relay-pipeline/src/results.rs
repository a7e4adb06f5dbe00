//! `results.json`: all that a run measured, and all that the report is made from.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ChainYield, Claim, LengthResult, Machine, OrderedMap, PipelineError, Result, StageCost,
    TaskForensics,
    aggregate::each_once,
    atomic::write_atomically,
    json::{pretty, read_json},
};

mod possible;

/// The version of the format that this program writes and reads.
pub const SCHEMA: u32 = 1;

/// Everything that a run measured.
///
/// Maps keep the order in which the run filled them. Shares are between 0 and 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of the format, [`SCHEMA`].
    pub schema: u32,
    /// Name of the preset, or of what was run instead.
    pub preset: String,
    /// The seed of everything random.
    pub seed: u64,
    /// The device: `flex`, `ndarray` or `cuda`.
    pub device: String,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// The command that made the run.
    #[serde(default)]
    pub command: String,
    /// The machine that finished the stage which took longest, on [`device`](Self::device); arms of self-chains count as one stage.
    #[serde(default)]
    pub machine: Machine,
    /// Stage to the machine that finished it, where that was another one.
    #[serde(default, skip_serializing_if = "OrderedMap::is_empty")]
    pub other_machines: OrderedMap<Machine>,
    /// Task to shortest and longest length trained on, both included.
    pub train_lengths: OrderedMap<[usize; 2]>,
    /// Arm to task to what was measured at each length, lengths ascending.
    pub arms: OrderedMap<OrderedMap<Vec<LengthResult>>>,
    /// Stage to seconds.
    pub seconds: OrderedMap<f64>,
    /// Stage that wrote chains to learn from, to `task length`, to what became of them.
    #[serde(default, skip_serializing_if = "OrderedMap::is_empty")]
    pub written_chains: OrderedMap<BTreeMap<String, ChainYield>>,
    /// Stage to what it cost.
    #[serde(default, skip_serializing_if = "OrderedMap::is_empty")]
    pub cost: OrderedMap<StageCost>,
    /// Arm to task to where its chains go wrong.
    #[serde(default, skip_serializing_if = "OrderedMap::is_empty")]
    pub forensics: OrderedMap<OrderedMap<TaskForensics>>,
    /// The hit matrices of each task and length that they were measured on.
    #[serde(default)]
    pub hit_matrices: Vec<HitMatrices>,
    /// The complete settings of the run.
    #[serde(default)]
    pub settings: Value,
    /// The paper's claims with their verdicts; [`write_report`](crate::write_report) fills them in.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// The hit matrices of all arms that write chains, on problems of one task and length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HitMatrices {
    /// The task.
    pub task: String,
    /// The length of the problems.
    pub length: usize,
    /// How many problems.
    pub n: u64,
    /// Whether the last column is the end of every step, as in LIS; results from before the field are of such tasks.
    #[serde(default = "yes")]
    pub step_end: bool,
    /// Arm to matrix.
    pub arms: OrderedMap<HitMatrix>,
}

fn yes() -> bool {
    true
}

/// Share right at each step and column; `None` where no chain has a token.
pub type HitMatrix = Vec<Vec<Option<f64>>>;

impl Results {
    /// Results of a run on this machine with nothing measured yet.
    pub fn new(preset: impl Into<String>, seed: u64, device: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA,
            preset: preset.into(),
            seed,
            device: device.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: Machine::detect(),
            ..Self::default()
        }
    }

    /// Reads a `results.json`.
    ///
    /// # Errors
    /// When the file cannot be read, is not of this form or of another schema, or holds a number that cannot be, such as a share
    /// above 1; the message names the file.
    pub fn load(path: &Path) -> Result<Self> {
        let results: Self = read_json(path, SCHEMA)?;
        let checked = results.check();
        checked.map_err(|what| PipelineError::corrupt(path, what))?;
        Ok(results)
    }

    /// Writes a `results.json`, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = pretty(path, self)? + "\n";
        write_atomically(path, text.as_bytes())
    }

    /// Adds an arm's hit matrix on `n` problems of one task and length.
    pub fn add_hit_matrix(
        &mut self,
        arm: &str,
        task: &str,
        length: usize,
        n: u64,
        matrix: HitMatrix,
    ) {
        let known = |these: &HitMatrices| these.task == task && these.length == length;
        let index = self.hit_matrices.iter().position(known).unwrap_or_else(|| {
            self.hit_matrices.push(HitMatrices {
                task: task.to_owned(),
                length,
                n,
                step_end: true,
                ..HitMatrices::default()
            });
            self.hit_matrices.len() - 1
        });
        self.hit_matrices[index].arms.insert(arm, matrix);
    }

    /// Adds what an arm did on a task at one length, keeping lengths ascending.
    pub fn add(&mut self, arm: &str, task: &str, result: LengthResult) {
        let lengths = self.arms.entry_or_default(arm).entry_or_default(task);
        let at = lengths.partition_point(|other| other.length < result.length);
        lengths.insert(at, result);
    }

    /// What an arm did on a task, length by length; empty if it was not measured.
    pub fn of(&self, arm: &str, task: &str) -> &[LengthResult] {
        self.arms
            .get(arm)
            .and_then(|tasks| tasks.get(task))
            .map_or(&[], Vec::as_slice)
    }

    /// The tasks of the run: those trained on, then any other that an arm was tested on.
    pub fn tasks(&self) -> Vec<&str> {
        let tested = self.arms.values().flat_map(OrderedMap::keys);
        each_once(self.train_lengths.keys().chain(tested))
    }

    /// Whether `task` was trained at `length`; `None` when nothing is known of the task's training lengths.
    pub fn trained_at(&self, task: &str, length: usize) -> Option<bool> {
        self.train_lengths.trained_at(task, length)
    }
}

impl OrderedMap<[usize; 2]> {
    /// Whether `task` was trained at `length`; `None` when nothing is known of its lengths.
    pub(crate) fn trained_at(&self, task: &str, length: usize) -> Option<bool> {
        self.get(task)
            .map(|&[from, to]| (from..=to).contains(&length))
    }

    /// Whether `length` lies beyond all that `task` was trained at; nothing does where those are not known.
    pub(crate) fn is_longer(&self, task: &str, length: usize) -> bool {
        self.get(task).is_some_and(|&[_, to]| length > to)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Measure, RightTokens};

    #[test]
    fn reads_the_documented_form() {
        let text = r#"{"schema": 1, "preset": "mini", "seed": 1, "device": "flex", "train_lengths": {"ari": [1, 5]},
            "arms": {"looped_aligned": {"ari": [{"length": 5, "n": 1000, "answer_accuracy": 0.99, "bit_accuracy": 0.999,
            "chain_accuracy": 0.98, "answer_low": 0.98, "answer_high": 0.995}]}}, "seconds": {"stage1": 400.0},
            "hit_matrices": [{"task": "lis", "length": 30, "n": 200,
            "arms": {"looped_aligned": [[1.0, null]], "ar_baseline": [[0.5, 1.0]]}}]}"#;
        let results: Results = serde_json::from_str(text).unwrap();
        let matrices = &results.hit_matrices[0];
        assert_eq!((matrices.length, matrices.arms.len()), (30, 2));
        assert_eq!(results.of("looped_aligned", "ari")[0].length, 5);
        let bit = results.of("looped_aligned", "ari")[0]
            .share(Measure::Bit)
            .unwrap();
        assert!(bit.low < 0.999 && bit.high > 0.999);
        assert_eq!(results.trained_at("ari", 6), Some(false));
    }

    #[test]
    fn saves_and_loads_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        let mut results = Results::new("smoke", 7, "flex");
        results.add(
            "looped_vanilla",
            "ed",
            LengthResult::from_counts(5, 10, 3, None),
        );
        let chains = RightTokens {
            right_chains: 3,
            right_tokens: 70,
            tokens: 80,
        };
        results.add(
            "looped_aligned",
            "ed",
            LengthResult::from_counts(6, 10, 3, Some(chains)),
        );
        results.add(
            "looped_aligned",
            "ed",
            LengthResult::from_counts(5, 10, 4, Some(chains)),
        );
        results.save(&path).unwrap();
        assert_eq!(Results::load(&path).unwrap(), results);
        assert_eq!(results.of("looped_aligned", "ed")[0].length, 5);
        assert_eq!(
            results.arms.keys().collect::<Vec<_>>(),
            ["looped_vanilla", "looped_aligned"]
        );
    }

    #[test]
    fn names_the_file_and_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        for (text, part) in [
            ("{", "EOF"),
            ("{\"schema\": 2}", "schema 2"),
            ("{\"schema\": 1}", "missing field"),
        ] {
            fs::write(&path, text).unwrap();
            let message = Results::load(&path).unwrap_err().to_string();
            assert!(
                message.contains("results.json") && message.contains(part),
                "{message}"
            );
        }
        assert!(
            Results::load(&dir.path().join("none.json"))
                .unwrap_err()
                .to_string()
                .contains("none.json")
        );
    }
}
