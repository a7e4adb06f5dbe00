//! What a sweep measured.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{Axis, Sweep};
use crate::{
    Aggregate, OrderedMap, PlannedRun, Result, Results, json::read_json, reuse::taken_from,
    run_dir::SET_ASIDE,
};

/// The version of the form of `sweep.json` that this program writes.
pub const SWEEP_SCHEMA: u32 = 1;

/// Everything that a sweep measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepResults {
    /// Version of the form, [`SWEEP_SCHEMA`].
    pub schema: u32,
    /// Name of the preset.
    pub preset: String,
    /// The command that made the sweep.
    pub command: String,
    /// What was varied.
    pub axes: Vec<Axis>,
    /// The seeds of every combination.
    pub seeds: Vec<u64>,
    /// The combinations, the last axis changing fastest.
    pub combinations: Vec<Swept>,
}

/// What the runs of one combination measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swept {
    /// What tells it from the others.
    pub label: String,
    /// Path to value.
    pub values: OrderedMap<String>,
    /// Its runs, one a seed.
    pub runs: Vec<SweepRun>,
    /// Mean, lowest and highest over the seeds.
    pub measured: Aggregate,
}

/// A run of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepRun {
    /// Its seed.
    pub seed: u64,
    /// Its directory below that of the sweep.
    pub dir: String,
    /// Stage to the run that it was taken over from, for stages that this run did not make itself.
    pub reused: OrderedMap<String>,
}

impl Sweep {
    /// Puts together what the sweep's `runs` gave, in their order.
    ///
    /// # Errors
    /// When runs of one combination do not belong together.
    pub fn results(
        &self,
        runs: &[PlannedRun],
        results: &[Results],
        command: &str,
    ) -> Result<SweepResults> {
        let each = self.seeds.len().max(1);
        let mut combinations = Vec::new();
        for (index, combination) in self.combinations()?.into_iter().enumerate() {
            let of = |count: usize| index * each..((index + 1) * each).min(count);
            let values = combination.overrides.iter();
            combinations.push(Swept {
                label: combination.label.clone(),
                values: values
                    .map(|one| (one.path.clone(), one.value.clone()))
                    .collect(),
                runs: runs[of(runs.len())].iter().map(SweepRun::of).collect(),
                measured: Aggregate {
                    // What the runs' own files say better.
                    together: None,
                    ..Aggregate::of_runs(&results[of(results.len())])?
                },
            });
        }
        Ok(SweepResults {
            schema: SWEEP_SCHEMA,
            preset: results
                .first()
                .map_or(String::new(), |run| run.preset.clone()),
            command: command.to_owned(),
            axes: self.axes.clone(),
            seeds: self.seeds.clone(),
            combinations,
        })
    }
}

impl SweepRun {
    fn of(run: &PlannedRun) -> Self {
        let name = run.dir.file_name().unwrap_or(run.dir.as_os_str());
        let mut reused = OrderedMap::new();
        for stage in stages(&run.dir) {
            if let Some(lender) = taken_from(&run.dir, &stage) {
                reused.insert(stage, lender);
            }
        }
        Self {
            seed: run.settings.seed,
            dir: name.to_string_lossy().into_owned(),
            reused,
        }
    }
}

impl SweepResults {
    /// Reads a `sweep.json`.
    ///
    /// # Errors
    /// When the file cannot be read, is not of this form or of another schema; it is named.
    pub fn load(path: &Path) -> Result<Self> {
        read_json(path, SWEEP_SCHEMA, |json| json)
    }
}

/// Names of the stages that a run directory holds, such as `evaluation/ARM` and `ARM/phase-1/data`.
fn stages(run: &Path) -> Vec<String> {
    fn below(dir: &Path, prefix: &str, stages: &mut Vec<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name == SET_ASIDE {
                continue;
            }
            let name = format!("{prefix}{}", name.to_string_lossy());
            if path.join("done.json").is_file() {
                stages.push(name);
            } else if path.is_dir() {
                below(&path, &format!("{name}/"), stages);
            }
        }
    }
    let mut stages = Vec::new();
    below(run, "", &mut stages);
    stages.sort();
    stages
}
