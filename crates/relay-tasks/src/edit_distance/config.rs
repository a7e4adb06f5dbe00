//! Settings of the edit distance task.

use serde::{Deserialize, Serialize};

use super::{EditDistance, LONGER_BY, LONGEST};
use crate::dialect::Dialect;
use crate::draws::purpose_of;
use crate::error::{Result, TaskError};

/// What the border of the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostDialect {
    /// `M[i][0] = i` and `M[0][j] = j`, as in the benchmark and the printed example.
    #[default]
    Benchmark,
    /// `M[i][0]` is the cost of i deletions, `M[0][j]` that of j insertions: the true distance.
    TrueCosts,
}

/// Settings of the edit distance task. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EditDistanceConfig {
    /// Size of the alphabet, the first letters from `a` on; 26. Fewer make the task easier.
    pub letters: usize,
    /// Largest number token, 249; bounds the length of problems.
    pub largest: u32,
    /// The border of the table, by default the benchmark's.
    pub costs: CostDialect,
    /// Cost of an insertion, 2.
    pub insert: u32,
    /// Cost of a deletion, 2.
    pub delete: u32,
    /// Cost of a replacement, 3.
    pub replace: u32,
    /// Fewest and most different letters that are drawn for one problem, 3 to 10 (at most the alphabet).
    pub drawn: [usize; 2],
    /// Share of draws whose second string is random, 0.4; in the rest it is the first after random edits. Pairs of equal strings
    /// and of lengths too far apart are drawn again, which happens more often to the edited ones, so that of long problems
    /// about half are random.
    pub random_share: f64,
}

impl Default for EditDistanceConfig {
    fn default() -> Self {
        Self {
            letters: 26,
            largest: 249,
            costs: CostDialect::Benchmark,
            insert: 2,
            delete: 2,
            replace: 3,
            drawn: [3, 10],
            random_share: 0.4,
        }
    }
}

/// What of the settings a file or a checkpoint has to agree on: all that changes tokens, steps or answers.
#[derive(Serialize)]
struct DialectFields {
    letters: usize,
    largest: u32,
    costs: CostDialect,
    insert: u32,
    delete: u32,
    replace: u32,
}

impl EditDistanceConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`TaskError::Setting`] with the field, its value and what would be right.
    pub fn validate(&self) -> Result<()> {
        let costs = [
            ("insert", self.insert),
            ("delete", self.delete),
            ("replace", self.replace),
        ];
        for (field, value) in costs {
            if !(1..=1000).contains(&value) {
                return Err(TaskError::setting(field, value, "a cost from 1 to 1000"));
            }
        }
        if !(2..=26).contains(&self.letters) {
            return Err(TaskError::setting(
                "letters",
                self.letters,
                "from 2 to 26 letters",
            ));
        }
        let [fewest, most] = self.drawn;
        if fewest < 2 || fewest > most || fewest > self.letters {
            let expected = format!(
                "two numbers in order, the first from 2 to the {} letters there are",
                self.letters
            );
            return Err(TaskError::setting(
                "drawn",
                format!("{:?}", self.drawn),
                expected,
            ));
        }
        if !(0.0..=1.0).contains(&self.random_share) {
            return Err(TaskError::setting(
                "random_share",
                self.random_share,
                "a share from 0 to 1",
            ));
        }
        if self.longest() == 0 || self.largest > 65_535 {
            let least = self.highest_value(1, 1 + LONGER_BY);
            return Err(TaskError::setting(
                "largest",
                self.largest,
                format!("a number from {least} to 65535"),
            ));
        }
        Ok(())
    }

    /// Makes the task.
    ///
    /// # Errors
    /// As [`EditDistanceConfig::validate`].
    pub fn build(self) -> Result<EditDistance> {
        self.validate()?;
        Ok(EditDistance {
            longest: self.longest(),
            purpose: purpose_of(EditDistance::NAME, &self.dialect()),
            config: self,
        })
    }

    pub(super) fn dialect(&self) -> Dialect {
        let Self {
            letters,
            largest,
            costs,
            insert,
            delete,
            replace,
            ..
        } = *self;
        Dialect::of(&DialectFields {
            letters,
            largest,
            costs,
            insert,
            delete,
            replace,
        })
    }

    /// Cost of one cell along the upper and the left border.
    pub(super) fn border(&self) -> (u32, u32) {
        match self.costs {
            CostDialect::Benchmark => (1, 1),
            CostDialect::TrueCosts => (self.insert, self.delete),
        }
    }

    /// A bound on every number in the table of strings of these lengths: go along a border, then pair up the rest.
    /// The bound is linear along each side of the table, so that its corners decide.
    pub(super) fn highest_value(&self, first: usize, second: usize) -> usize {
        let (right, down) = self.border();
        let (right, down) = (right as usize, down as usize);
        let pair = self.replace.min(self.insert + self.delete) as usize;
        let surplus = second.saturating_sub(first);
        (right * second)
            .max(pair * first + right * surplus)
            .max(down * first)
    }

    /// Longest problem whose table holds no number above `largest`; 0 where there is none.
    fn longest(&self) -> usize {
        let fits = |&length: &usize| {
            self.highest_value(length, length + LONGER_BY) <= self.largest as usize
        };
        (1..=LONGEST).take_while(fits).last().unwrap_or(0)
    }
}
