//! Runs of several seeds together: mean, lowest and highest.

use std::path::Path;

use relay_train::first_difference;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    LengthResult, Machine, Measure, OrderedMap, PipelineError, Result, Results, Share,
    json::read_json,
};

pub(crate) mod files;
mod markdown;
mod together;
mod verdicts;

pub(crate) use markdown::few_of;

pub use verdicts::{ClaimVerdicts, RunVerdict};

/// The version of the form of `aggregate.json` that this program writes and reads.
pub const AGGREGATE_SCHEMA: u32 = 1;

/// What several runs measured, which differ in their seeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Version of the form, [`AGGREGATE_SCHEMA`].
    pub schema: u32,
    /// Name of the preset.
    pub preset: String,
    /// The runs.
    pub runs: Vec<AggregatedRun>,
    /// Task to shortest and longest length trained on, both included.
    pub train_lengths: OrderedMap<[usize; 2]>,
    /// Arm to task to what was measured at each length, lengths ascending.
    pub arms: OrderedMap<OrderedMap<Vec<LengthSpread>>>,
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
}

/// What the runs did on one task at one length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LengthSpread {
    /// The length of the problems.
    pub length: usize,
    /// Share of problems with the right answer.
    pub answer: Option<Spread>,
    /// Share of the steps' tokens that stand at their place, what chains have too many counted as wrong; `None` for an arm that
    /// writes no chains.
    pub bit: Option<Spread>,
    /// Share of chains without any wrong token; `None` for an arm that writes no chains.
    pub chain: Option<Spread>,
}

/// A share over several runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The mean; every run counts the same.
    pub mean: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// The share of each run.
    pub runs: Vec<RunShare>,
}

/// The share of one run, with its 95 % Wilson interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RunShare {
    /// Seed of the run.
    pub seed: u64,
    /// How many problems.
    pub n: u64,
    /// The share.
    pub value: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
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
        different_seeds(runs)?;
        // Results of old may lack their settings, and then say nothing of the others'.
        let told = runs.iter().find(|run| !run.settings.is_null());
        for other in runs {
            same_but_for_seeds(told.unwrap_or(first), other)?;
        }
        let mut aggregate = Self {
            schema: AGGREGATE_SCHEMA,
            preset: first.preset.clone(),
            runs: runs.iter().map(AggregatedRun::of).collect(),
            train_lengths: first.train_lengths.clone(),
            arms: OrderedMap::new(),
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
        aggregate.claims = verdicts::verdicts(runs, aggregate.together.as_deref());
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
    pub fn join(&mut self, other: Self) {
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
        self.runs.extend(other.runs);
        // A claim is about all tasks of a run.
        self.claims.clear();
        self.together = None;
    }

    /// Reads an `aggregate.json`.
    ///
    /// # Errors
    /// When the file cannot be read, is not of this form or of another schema; it is named.
    pub fn load(path: &Path) -> Result<Self> {
        let all: Self = read_json(path, AGGREGATE_SCHEMA, |json| json)?;
        let checked = all.together.as_ref().map_or(Ok(()), |all| all.check());
        checked.map_err(|what| PipelineError::corrupt(path, format!("together, {what}")))?;
        Ok(all)
    }
}

/// That two runs have the same training lengths and the same settings, as far as both tell theirs.
fn same_but_for_seeds(first: &Results, other: &Results) -> Result<()> {
    let lengths = |run: &Results| serde_json::to_string(&run.train_lengths).unwrap_or_default();
    let settings = |run: &Results| {
        let mut settings = run.settings.clone();
        drop_seeds(&mut settings);
        settings
    };
    let differs = if first.train_lengths != other.train_lengths {
        Some((
            "training lengths".to_owned(),
            lengths(first),
            lengths(other),
        ))
    } else if first.settings.is_null() || other.settings.is_null() {
        None
    } else {
        first_difference("", &settings(first), &settings(other))
    };
    match differs {
        Some((field, wanted, found)) => Err(PipelineError::settings(
            format!("{field} of the run with seed {}", other.seed),
            found,
            format!("as in the run with seed {}, {wanted}", first.seed),
        )),
        None => Ok(()),
    }
}

/// Takes out what tells the runs of several seeds apart: the seed of the run, and those of its stages.
fn drop_seeds(settings: &mut Value) {
    match settings {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "seed");
            fields.values_mut().for_each(drop_seeds);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_seeds),
        _ => {}
    }
}

/// That seeds tell the runs apart: a run that is there twice would count twice in the means.
fn different_seeds(runs: &[Results]) -> Result<()> {
    let twice = |(place, run): &(usize, &Results)| {
        runs[..*place].iter().any(|other| other.seed == run.seed)
    };
    match runs.iter().enumerate().find(twice) {
        Some((_, run)) => Err(PipelineError::settings(
            "seeds of the runs",
            format!("{} twice", run.seed),
            "each once: runs that are put together are told apart by their seeds",
        )),
        None => Ok(()),
    }
}

/// Everything at the place where it comes first.
fn each_once<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.fold(Vec::new(), |mut once, one| {
        if !once.contains(&one) {
            once.push(one);
        }
        once
    })
}

impl AggregatedRun {
    fn of(run: &Results) -> Self {
        Self {
            seed: run.seed,
            device: run.device.clone(),
            cpu: run.machine.cpu.clone(),
            cores: run.machine.cores,
            other_machines: each_once(run.other_machines.values().cloned()),
            minutes: run.seconds.values().sum::<f64>() / 60.0,
        }
    }
}

impl LengthSpread {
    /// As the result of one run, whose shares `share` makes of those of the runs.
    fn as_one(&self, share: impl Fn(&Spread) -> Share) -> LengthResult {
        let answers = self.answer.iter().flat_map(|spread| &spread.runs);
        let none = Share::of(0, 0, 0);
        LengthResult::from_shares(
            self.length,
            answers.map(|run| run.n).sum(),
            self.answer.as_ref().map_or(none, &share),
            self.bit.as_ref().map(&share),
            self.chain.as_ref().map(&share),
        )
    }

    /// One of the three shares.
    pub fn spread(&self, measure: Measure) -> Option<&Spread> {
        match measure {
            Measure::Answer => self.answer.as_ref(),
            Measure::Bit => self.bit.as_ref(),
            Measure::Chain => self.chain.as_ref(),
        }
    }
}

impl Spread {
    /// The spread of some runs' shares; `None` without any.
    pub fn of(runs: Vec<RunShare>) -> Option<Self> {
        let mean = runs.iter().map(|run| run.value).sum::<f64>() / runs.len() as f64;
        let (min, max) = runs.iter().fold((f64::MAX, f64::MIN), |(min, max), run| {
            (min.min(run.value), max.max(run.value))
        });
        (!runs.is_empty()).then_some(Self {
            mean,
            min,
            max,
            runs,
        })
    }

    /// The mean, from the lowest to the highest run; of a run alone the share with its interval.
    fn range(&self) -> Share {
        match self.runs.as_slice() {
            [
                RunShare {
                    value, low, high, ..
                },
            ] => Share {
                value: *value,
                low: *low,
                high: *high,
            },
            _ => Share {
                value: self.mean,
                low: self.min,
                high: self.max,
            },
        }
    }

    /// How many problems the runs have together.
    fn problems(&self) -> u64 {
        self.runs.iter().map(|run| run.n).sum()
    }

    /// The share over the problems of all runs, with the interval of so large a sample.
    fn pooled(&self) -> Share {
        let n = self.problems();
        let right: f64 = self.runs.iter().map(|run| run.value * run.n as f64).sum();
        Share::with_interval(right / n.max(1) as f64, n)
    }

    fn over(
        runs: &[Results],
        arm: &str,
        task: &str,
        length: usize,
        measure: Measure,
    ) -> Option<Self> {
        let share = |run: &Results| {
            let is_it = |result: &&LengthResult| result.length == length;
            let result = run.of(arm, task).iter().find(is_it)?;
            let share = result.share(measure)?;
            Some(RunShare {
                seed: run.seed,
                n: result.n,
                value: share.value,
                low: share.low,
                high: share.high,
            })
        };
        Self::of(runs.iter().filter_map(share).collect())
    }
}
