//! What a sweep measured.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{Axis, Combination, Sweep};
use crate::{
    Aggregate, OrderedMap, PipelineError, PlannedRun, Result, Results, json::read_json,
    reuse::taken_from, run_dir::SET_ASIDE,
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
    /// Its runs that were made, one a seed.
    pub runs: Vec<SweepRun>,
    /// Its runs that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedRun>,
    /// Mean, lowest and highest over the seeds of the runs that were made; empty where there is none.
    pub measured: Aggregate,
}

/// A run of a sweep that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRun {
    /// Its seed.
    pub seed: u64,
    /// Its directory below that of the sweep.
    pub dir: String,
    /// Why.
    pub reason: String,
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
    /// Puts together what became of the sweep's `runs`, in their order.
    ///
    /// # Errors
    /// When there is another number of runs or outcomes than the sweep has, all failed, or runs of one combination do not belong
    /// together.
    pub fn results(
        &self,
        runs: &[PlannedRun],
        outcomes: &[Result<Results>],
        command: &str,
    ) -> Result<SweepResults> {
        let each = self.seeds.len().max(1);
        let all = self.combinations()?;
        let right = all.len() * each;
        for (what, found) in [("runs", runs.len()), ("outcomes", outcomes.len())] {
            if found != right {
                let field = format!("the number of {what}");
                let right = format!("{right}, as many as the sweep has");
                return Err(PipelineError::settings(field, found.to_string(), right));
            }
        }
        let Some(Ok(first)) = outcomes.iter().find(|outcome| outcome.is_ok()) else {
            let right = "at least one that does not fail";
            return Err(PipelineError::settings("the runs", "all failed", right));
        };
        let pairs: Vec<_> = runs.iter().zip(outcomes).collect();
        let mut combinations = Vec::new();
        for (combination, pairs) in all.into_iter().zip(pairs.chunks(each)) {
            combinations.push(Swept::of(&combination, pairs)?);
        }
        Ok(SweepResults {
            schema: SWEEP_SCHEMA,
            preset: first.preset.clone(),
            command: command.to_owned(),
            axes: self.axes.clone(),
            seeds: self.seeds.clone(),
            combinations,
        })
    }
}

impl Swept {
    fn of(combination: &Combination, pairs: &[(&PlannedRun, &Result<Results>)]) -> Result<Self> {
        let (mut runs, mut failed, mut made) = (Vec::new(), Vec::new(), Vec::new());
        for (run, outcome) in pairs {
            match outcome {
                Ok(results) => {
                    runs.push(SweepRun::of(run));
                    made.push(results.clone());
                }
                Err(error) => failed.push(FailedRun {
                    seed: run.settings.seed,
                    dir: name_of(run),
                    reason: error.to_string(),
                }),
            }
        }
        let values = combination.overrides.iter();
        Ok(Self {
            label: combination.label.clone(),
            values: values
                .map(|one| (one.path.clone(), one.value.clone()))
                .collect(),
            runs,
            failed,
            measured: match made.is_empty() {
                true => Aggregate::default(),
                false => Aggregate {
                    // What the runs' own files say better.
                    together: None,
                    ..Aggregate::of_runs(&made)?
                },
            },
        })
    }
}

/// The name of a run's directory.
fn name_of(run: &PlannedRun) -> String {
    let name = run.dir.file_name().unwrap_or(run.dir.as_os_str());
    name.to_string_lossy().into_owned()
}

impl SweepRun {
    fn of(run: &PlannedRun) -> Self {
        let mut reused = OrderedMap::new();
        for stage in stages(&run.dir) {
            if let Some(lender) = taken_from(&run.dir, &stage) {
                reused.insert(stage, lender);
            }
        }
        Self {
            seed: run.settings.seed,
            dir: name_of(run),
            reused,
        }
    }
}

impl SweepResults {
    /// Reads a `sweep.json`.
    ///
    /// # Errors
    /// When the file cannot be read, is not of this form or of another schema, or holds a number that cannot be; it is named.
    pub fn load(path: &Path) -> Result<Self> {
        let all: Self = read_json(path, SWEEP_SCHEMA)?;
        for one in &all.combinations {
            let checked = one.measured.check();
            let place = |what| format!("{}: {what}", one.label);
            checked.map_err(|what| PipelineError::corrupt(path, place(what)))?;
        }
        Ok(all)
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
