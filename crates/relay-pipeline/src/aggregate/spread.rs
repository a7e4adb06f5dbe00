//! What several runs measured at one length.

use serde::{Deserialize, Serialize};

use crate::{LengthResult, Measure, Results, Share};

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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

impl RunShare {
    pub(super) fn new(seed: u64, n: u64, Share { value, low, high }: Share) -> Self {
        Self {
            seed,
            n,
            value,
            low,
            high,
        }
    }
}

impl LengthSpread {
    /// As the result of one run, whose shares `share` makes of those of the runs.
    pub(super) fn as_one(&self, share: impl Fn(&Spread) -> Share) -> LengthResult {
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

    /// The mean, from the lowest to the highest run; where there is no other, of `seeds`, the share with its interval.
    pub(super) fn range(&self, seeds: usize) -> Share {
        match self.runs.as_slice() {
            [
                RunShare {
                    value, low, high, ..
                },
            ] if seeds == 1 => Share {
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
    pub(super) fn problems(&self) -> u64 {
        self.runs.iter().map(|run| run.n).sum()
    }

    /// The share over the problems of all runs, with the interval of so large a sample.
    pub(super) fn pooled(&self) -> Share {
        let n = self.problems();
        let right: f64 = self.runs.iter().map(|run| run.value * run.n as f64).sum();
        Share::with_interval(right / n.max(1) as f64, n)
    }

    pub(super) fn over(
        runs: &[Results],
        arm: &str,
        task: &str,
        length: usize,
        measure: Measure,
    ) -> Option<Self> {
        let share = |run: &Results| {
            let is_it = |result: &&LengthResult| result.length == length;
            let result = run.of(arm, task).iter().find(is_it)?;
            Some(RunShare::new(run.seed, result.n, result.share(measure)?))
        };
        Self::of(runs.iter().filter_map(share).collect())
    }
}
