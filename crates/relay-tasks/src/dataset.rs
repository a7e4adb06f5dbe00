//! Data sets of generated problems: no list of them is kept, any one is made from its index.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::{Result, TaskError};
use crate::problem::Problem;
use crate::random::Stream;
use crate::split::Split;
use crate::task::Task;

/// Problems of one task, lengths in proportion: a pure function of (settings, seed, split, index).
///
/// The number of problems of a length is proportional to the length, as in the paper: of every period, as many indices
/// as the lengths add up to, each length gets exactly its own number, in an order that spreads it evenly.
#[derive(Debug, Clone)]
pub struct Dataset {
    task: Arc<dyn Task>,
    lengths: RangeInclusive<usize>,
    seed: u64,
    split: Split,
    /// Sum of the lengths: one period of the order.
    period: u64,
    /// How far apart in a period neighbouring indices lie; coprime to it, so that a period visits each place once.
    stride: u64,
}

impl Dataset {
    /// Makes the data set of a task, a range of lengths, a seed and a split.
    ///
    /// # Errors
    /// [`TaskError::Length`] when the range is empty or reaches beyond what the task can generate.
    pub fn new(
        task: Arc<dyn Task>,
        lengths: RangeInclusive<usize>,
        seed: u64,
        split: Split,
    ) -> Result<Self> {
        let possible = task.lengths();
        for length in [*lengths.start(), *lengths.end()] {
            if length == 0 || !possible.contains(&length) {
                return Err(TaskError::length(task.name(), length, possible));
            }
        }
        if lengths.is_empty() {
            let value = format!("{}..{}", lengths.start(), lengths.end());
            return Err(TaskError::setting(
                "lengths",
                value,
                "the shorter length first",
            ));
        }
        let period = sum_to(*lengths.end()) - sum_to(lengths.start() - 1);
        Ok(Self {
            task,
            lengths,
            seed,
            split,
            period,
            stride: golden_stride(period),
        })
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &Arc<dyn Task> {
        &self.task
    }

    /// The lengths of its problems.
    #[must_use]
    pub fn lengths(&self) -> RangeInclusive<usize> {
        self.lengths.clone()
    }

    /// The split.
    #[must_use]
    pub fn split(&self) -> Split {
        self.split
    }

    /// Length of the problem at `index`.
    #[must_use]
    pub fn length_of(&self, index: u64) -> usize {
        // Each period starts at a place of its own, so that nothing repeats from one to the next.
        let shift = Stream::named(
            self.seed,
            "length",
            &[self.split as u64, index / self.period],
        )
        .below(self.period);
        let step = u128::from(index % self.period) * u128::from(self.stride);
        let place = ((step + u128::from(shift)) % u128::from(self.period)) as u64;
        self.length_at(place)
    }

    /// The problem at `index`.
    ///
    /// # Errors
    /// [`TaskError`] when the split holds no problem of that length.
    pub fn get(&self, index: u64) -> Result<Problem> {
        self.get_with_length(index, self.length_of(index))
    }

    /// The problem at `index` with a length that the caller chooses, which may lie outside the data set's own.
    ///
    /// # Errors
    /// [`TaskError`] when the task cannot generate that length.
    pub fn get_with_length(&self, index: u64, length: usize) -> Result<Problem> {
        self.task.generate(self.seed, self.split, index, length)
    }

    /// The length at a place of the period, where each length takes as many places as it counts.
    fn length_at(&self, place: u64) -> usize {
        let before = sum_to(self.lengths.start() - 1);
        let (mut low, mut high) = (*self.lengths.start(), *self.lengths.end());
        while low < high {
            let middle = low + (high - low) / 2;
            if sum_to(middle) - before > place {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// 1 + 2 + ... + `length`.
fn sum_to(length: usize) -> u64 {
    let length = length as u64;
    length * (length + 1) / 2
}

/// The first number coprime to `period` from its golden section on: multiples of it fill a period evenly.
fn golden_stride(period: u64) -> u64 {
    let section = (period as f64 * 0.618_033_988_749_895) as u64;
    (section.max(1)..)
        .find(|&stride| greatest_common_divisor(stride, period) == 1)
        .unwrap_or(1)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}
