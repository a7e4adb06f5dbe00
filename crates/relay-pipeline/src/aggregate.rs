//! Runs of several seeds together: mean, lowest and highest.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Machine, Measure, OrderedMap, PipelineError, Result, Results, json::read_json};

mod chains;
mod details;
pub(crate) mod files;
mod markdown;
mod same;
mod spread;
mod together;
mod verdicts;

pub(crate) use markdown::few_of;

pub use chains::ChainSpreads;
pub use spread::{LengthSpread, RunShare, Spread};
pub use verdicts::{ClaimVerdicts, RunVerdict};

/// The version of the form of `aggregate.json` that this program writes and reads.
pub const AGGREGATE_SCHEMA: u32 = 1;

/// What several runs measured, which differ in their seeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Version of the form, [`AGGREGATE_SCHEMA`].
    pub schema: u32,
    /// Name of the preset; empty where the runs have several.
    pub preset: String,
    /// The runs.
    pub runs: Vec<AggregatedRun>,
    /// Task to shortest and longest length trained on, both included.
    pub train_lengths: OrderedMap<[usize; 2]>,
    /// Arm to task to what was measured at each length, lengths ascending.
    pub arms: OrderedMap<OrderedMap<Vec<LengthSpread>>>,
    /// How often chains are wrong; empty in a file of a version without it.
    #[serde(default, skip_serializing_if = "ChainSpreads::is_empty")]
    pub chains: ChainSpreads,
    /// The claims of the paper that at least one run decides; empty in a file of a version without them, and for runs on
    /// single tasks that were joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimVerdicts>,
    /// All runs as one: the problems of all seeds together, with verdicts on the claims; of the cost the mean. `None` for a
    /// single run, for runs on single tasks that were joined, and in a file of a version without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<Box<Results>>,
}

/// One of the runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregatedRun {
    /// Its preset, where this is not that of all; empty in a file of a version without it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub preset: String,
    /// Its seed.
    pub seed: u64,
    /// Its device.
    pub device: String,
    /// The processor.
    pub cpu: String,
    /// Cores that the program could use.
    pub cores: usize,
    /// Other machines that stages of it were finished on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_machines: Vec<Machine>,
    /// Minutes of all its stages.
    pub minutes: f64,
    /// Stage to minutes; empty in a file of a version without it.
    #[serde(default, skip_serializing_if = "OrderedMap::is_empty")]
    pub stages: OrderedMap<f64>,
}

impl Aggregate {
    /// Puts the results of several runs together. An arm that some of them lack is the mean of the others.
    ///
    /// # Errors
    /// When there is no run, two have the same seed, or two differ in their training lengths or in any other setting.
    pub fn of_runs(runs: &[Results]) -> Result<Self> {
        let Some(first) = runs.first() else {
            return Err(PipelineError::settings("runs", "none", "at least one run"));
        };
        same::different_seeds(runs)?;
        // Results of old may lack their settings, and then say nothing of the others'.
        let told = runs.iter().find(|run| !run.settings.is_null());
        for other in runs {
            same::same_but_for_seeds(told.unwrap_or(first), other)?;
        }
        let mut aggregate = Self {
            schema: AGGREGATE_SCHEMA,
            preset: first.preset.clone(),
            runs: runs.iter().map(AggregatedRun::of).collect(),
            train_lengths: first.train_lengths.clone(),
            arms: OrderedMap::new(),
            chains: ChainSpreads::of(runs),
            claims: Vec::new(),
            together: None,
        };
        for run in runs {
            for (arm, tasks) in run.arms.iter() {
                for task in tasks.keys() {
                    aggregate.add(runs, arm, task);
                }
            }
        }
        if runs.len() > 1 {
            aggregate.together = Some(Box::new(together::together(&aggregate, first, runs)));
        }
        aggregate.claims = verdicts::verdicts(runs);
        Ok(aggregate)
    }

    fn add(&mut self, runs: &[Results], arm: &str, task: &str) {
        let mut lengths: Vec<usize> = runs
            .iter()
            .flat_map(|run| run.of(arm, task))
            .map(|result| result.length)
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        let spread = |length: usize| {
            let at = |measure| Spread::over(runs, arm, task, length, measure);
            LengthSpread {
                length,
                answer: at(Measure::Answer),
                bit: at(Measure::Bit),
                chain: at(Measure::Chain),
            }
        };
        let spreads = lengths.into_iter().map(spread).collect();
        self.arms.entry_or_default(arm).insert(task, spreads);
    }

    /// What an arm did on a task, length by length; empty if it was not measured.
    pub fn of(&self, arm: &str, task: &str) -> &[LengthSpread] {
        self.arms
            .get(arm)
            .and_then(|tasks| tasks.get(task))
            .map_or(&[], Vec::as_slice)
    }

    /// Whether `task` was trained at `length`.
    pub fn trained_at(&self, task: &str, length: usize) -> bool {
        self.train_lengths.trained_at(task, length) == Some(true)
    }

    /// Adds the arms and tasks of another aggregate to this one, such as those of a run on another task alone.
    pub fn join(&mut self, mut other: Self) {
        for (task, lengths) in other.train_lengths.iter() {
            self.train_lengths.insert(task, *lengths);
        }
        for (arm, tasks) in other.arms.iter() {
            for (task, spreads) in tasks.iter() {
                self.arms
                    .entry_or_default(arm)
                    .insert(task, spreads.clone());
            }
        }
        self.chains.join(other.chains);
        // From now on each run has its own.
        for (preset, runs) in [
            (&self.preset, &mut self.runs),
            (&other.preset, &mut other.runs),
        ] {
            for run in runs.iter_mut().filter(|run| run.preset.is_empty()) {
                run.preset.clone_from(preset);
            }
        }
        self.runs.extend(other.runs);
        self.preset = String::new();
        // A claim is about all tasks of a run.
        self.claims.clear();
        self.together = None;
    }

    /// Reads an `aggregate.json`.
    ///
    /// # Errors
    /// When the file cannot be read, is not of this form or of another schema, or holds a number that cannot be; it is named.
    pub fn load(path: &Path) -> Result<Self> {
        let all: Self = read_json(path, AGGREGATE_SCHEMA)?;
        let checked = all.check();
        checked.map_err(|what| PipelineError::corrupt(path, what))?;
        Ok(all)
    }
}

/// Everything at the place where it comes first.
pub(crate) fn each_once<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.fold(Vec::new(), |mut once, one| {
        if !once.contains(&one) {
            once.push(one);
        }
        once
    })
}

impl AggregatedRun {
    fn of(run: &Results) -> Self {
        let stages: OrderedMap<f64> = run
            .seconds
            .iter()
            .map(|(stage, s)| (stage, s / 60.0))
            .collect();
        Self {
            preset: String::new(),
            seed: run.seed,
            device: run.device.clone(),
            cpu: run.machine.cpu.clone(),
            cores: run.machine.cores,
            other_machines: each_once(run.other_machines.values().cloned()),
            minutes: stages.values().sum(),
            stages,
        }
    }
}
