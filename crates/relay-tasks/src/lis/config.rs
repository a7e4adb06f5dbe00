//! Settings of the longest increasing subsequence task.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{LARGEST, LONGEST, Lis};
use crate::dialect::Dialect;
use crate::draws::purpose_of;
use crate::error::{Result, TaskError};

/// Where the numbers of a sequence come from. In both dialects they never collide with the values of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "range", rename_all = "snake_case", deny_unknown_fields)]
pub enum LisValues {
    /// From n + 1 to `max` for n numbers, as in the benchmark. Problems are drawn up to half of `max` numbers, beyond which
    /// too few different ones are left; longer ones are read and solved as long as there is a number above n. Default
    /// with `max` = 249.
    Benchmark {
        /// The largest number.
        max: u32,
    },
    /// From `lowest` to `highest` at every length. A subsequence is no longer than there are numbers, so that with
    /// fewer of them than `lowest` problems may be as long as one likes; 126 to 249 fills the paper's vocabulary.
    Fixed {
        /// The smallest number; the values of the steps stay below it.
        lowest: u32,
        /// The largest number.
        highest: u32,
    },
}

impl Default for LisValues {
    fn default() -> Self {
        Self::Benchmark { max: 249 }
    }
}

/// Settings of the longest increasing subsequence task. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LisConfig {
    /// Numbers to a step, 10. A smaller group makes more and narrower steps.
    pub group: usize,
    /// Where the numbers come from, by default the benchmark's range.
    pub values: LisValues,
    /// Fewest and most increasing runs that are planted, 1 to 3.
    pub runs: [usize; 2],
}

impl Default for LisConfig {
    fn default() -> Self {
        Self {
            group: 10,
            values: LisValues::default(),
            runs: [1, 3],
        }
    }
}

/// What of the settings a file or a checkpoint has to agree on: all that changes tokens, steps or answers.
#[derive(Serialize)]
struct DialectFields {
    group: usize,
    values: LisValues,
}

impl LisConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`TaskError::Setting`] with the field, its value and what would be right.
    pub fn validate(&self) -> Result<()> {
        if !(1..=LONGEST).contains(&self.group) {
            return Err(TaskError::setting(
                "group",
                self.group,
                format!("from 1 to {LONGEST} numbers to a step"),
            ));
        }
        let [fewest, most] = self.runs;
        if fewest < 1 || fewest > most || most > 1000 {
            let expected = "two numbers in order, from 1 to 1000";
            return Err(TaskError::setting(
                "runs",
                format!("{:?}", self.runs),
                expected,
            ));
        }
        match self.values {
            LisValues::Benchmark { max } if !(2..=LARGEST).contains(&max) => Err(
                TaskError::setting("values.max", max, format!("a number from 2 to {LARGEST}")),
            ),
            LisValues::Fixed { lowest, .. } if lowest < 2 => Err(TaskError::setting(
                "values.lowest",
                lowest,
                "at least 2, so that a step's values lie below it",
            )),
            LisValues::Fixed { lowest, highest } if !(lowest..=LARGEST).contains(&highest) => {
                Err(TaskError::setting(
                    "values.highest",
                    highest,
                    format!("from {lowest} (the lowest) to {LARGEST}"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Makes the task.
    ///
    /// # Errors
    /// As [`LisConfig::validate`].
    pub fn build(self) -> Result<Lis> {
        self.validate()?;
        Ok(Lis {
            purpose: purpose_of(Lis::NAME, &self.dialect()),
            config: self,
        })
    }

    pub(super) fn dialect(&self) -> Dialect {
        Dialect::of(&DialectFields {
            group: self.group,
            values: self.values,
        })
    }

    /// The numbers that a sequence of this length may hold; empty where there are none.
    pub(super) fn range(&self, length: usize) -> RangeInclusive<u32> {
        match self.values {
            LisValues::Benchmark { max } => {
                u32::try_from(length).unwrap_or(u32::MAX).saturating_add(1)..=max
            }
            LisValues::Fixed { lowest, highest } => lowest..=highest,
        }
    }

    pub(super) fn longest(&self) -> usize {
        match self.values {
            LisValues::Benchmark { max } => max as usize / 2,
            LisValues::Fixed { lowest, highest } if highest - lowest + 1 < lowest => LONGEST,
            LisValues::Fixed { lowest, .. } => lowest as usize - 1,
        }
    }
}
