//! Longest increasing subsequence, one group of numbers a step (the paper's Appendix A.3).
//!
//! A problem is a sequence of n numbers; step t holds the dynamic programme's values for the t-th group of 10: how long
//! the longest strictly increasing subsequence is that ends there. The last group is filled up by repeating its last
//! value:
//!
//! ```
//! use relay_tasks::{LisConfig, Task, TaskConfig};
//!
//! let task = TaskConfig::Lis(LisConfig::default()).build()?;
//! let solution = task.solve("103 110 145 217 233 18 30 82 141 150 159 161 167 239 <sep>")?;
//! assert_eq!(solution.steps, ["1 2 3 4 5 1 2 3 4 5 <sep>", "6 7 8 9 9 9 9 9 9 9 <sep>"]);
//! assert_eq!(solution.answer, "9");
//! # Ok::<(), relay_tasks::TaskError>(())
//! ```

mod config;
mod generate;

use std::ops::RangeInclusive;

use serde_json::{Value, json};

pub use self::config::{LisConfig, LisValues};
use crate::dialect::Dialect;
use crate::draws::{Place, draw_into_split};
use crate::error::{Result, TaskError};
use crate::problem::{Problem, Solution};
use crate::random::Stream;
use crate::split::Split;
use crate::task::{ChainFormat, Task};
use crate::text::{parse_number, push_number, shown};

/// Longest problem where the numbers set no bound.
const LONGEST: usize = 100_000;
/// Largest number there may be: every number is a token of its own.
const LARGEST: u32 = 65_535;

/// The longest increasing subsequence task, named `lis`.
#[derive(Debug, Clone)]
pub struct Lis {
    config: LisConfig,
    /// What the random numbers of its problems are for.
    purpose: String,
}

impl Lis {
    /// Name of the task.
    pub const NAME: &'static str = "lis";

    fn parse(&self, prompt: &str) -> Result<Vec<u32>> {
        let wrong = |reason: String| TaskError::prompt(Self::NAME, prompt, reason);
        let mut numbers = Vec::with_capacity(prompt.len() / 4);
        let mut closed = false;
        for word in prompt.split_ascii_whitespace() {
            match parse_number(word) {
                _ if closed => {
                    return Err(wrong(format!(
                        "{} stands after `<sep>`, which has to be the last token",
                        shown(word)
                    )));
                }
                Some(number) => numbers.push(number),
                None if word == "<sep>" => closed = true,
                None => {
                    return Err(wrong(format!(
                        "{} is no number and not `<sep>`",
                        shown(word)
                    )));
                }
            }
        }
        if !closed || numbers.is_empty() {
            return Err(wrong("it has to be numbers, then `<sep>`".to_owned()));
        }
        if let LisValues::Fixed { .. } = self.config.values
            && numbers.len() > self.config.longest()
        {
            return Err(wrong(format!(
                "it has {} numbers, more than {}",
                numbers.len(),
                self.config.longest()
            )));
        }
        let range = self.config.range(numbers.len());
        if range.is_empty() {
            let (count, highest) = (numbers.len(), range.end());
            return Err(wrong(format!(
                "it has {count} numbers, so they would have to be above {count} and at most {highest}"
            )));
        }
        match numbers.iter().find(|number| !range.contains(number)) {
            None => Ok(numbers),
            Some(number) => {
                let (count, lowest, highest) = (numbers.len(), range.start(), range.end());
                Err(wrong(format!(
                    "{number} is outside {lowest}..{highest}, the range for {count} numbers"
                )))
            }
        }
    }

    fn finish(&self, prompt: String, numbers: &[u32]) -> Problem {
        let Solution { steps, answer } = self.write(numbers);
        Problem {
            task: Self::NAME.to_owned(),
            length: numbers.len(),
            prompt,
            steps,
            answer,
        }
    }

    /// Steps and answer from the dynamic programme.
    fn write(&self, numbers: &[u32]) -> Solution {
        let values = lengths_ending_at(numbers);
        let group = self.config.group;
        let steps = values
            .chunks(group)
            .map(|chunk| {
                let mut text = String::with_capacity(4 * group + 5);
                let fill = chunk.last().into_iter().cycle().take(group - chunk.len());
                for &value in chunk.iter().chain(fill) {
                    push_number(&mut text, value);
                    text.push(' ');
                }
                text.push_str("<sep>");
                text
            })
            .collect();
        let answer = values.iter().max().map_or_else(String::new, u32::to_string);
        Solution { steps, answer }
    }
}

/// For every number the length of the longest strictly increasing subsequence that ends with it.
fn lengths_ending_at(numbers: &[u32]) -> Vec<u32> {
    // smallest[k]: the smallest number that a subsequence of length k + 1 can end with so far.
    let mut smallest: Vec<u32> = Vec::new();
    let place = |&number: &u32| {
        let length = smallest.partition_point(|&end| end < number);
        match smallest.get_mut(length) {
            Some(end) => *end = number,
            None => smallest.push(number),
        }
        length as u32 + 1
    };
    numbers.iter().map(place).collect()
}

fn prompt_of(numbers: &[u32]) -> String {
    let mut prompt = String::with_capacity(4 * numbers.len() + 5);
    for &number in numbers {
        push_number(&mut prompt, number);
        prompt.push(' ');
    }
    prompt.push_str("<sep>");
    prompt
}

impl Task for Lis {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn dialect(&self) -> Dialect {
        self.config.dialect()
    }

    fn drawing(&self) -> Value {
        json!({ "runs": self.config.runs })
    }

    /// Numbers only: `<sep>`, which ends problems and steps, is one of every vocabulary's special tokens.
    fn tokens(&self) -> Vec<String> {
        let highest = match self.config.values {
            LisValues::Benchmark { max } => max,
            LisValues::Fixed { highest, .. } => highest,
        };
        (1..=highest).map(|number| number.to_string()).collect()
    }

    fn lengths(&self) -> RangeInclusive<usize> {
        1..=self.config.longest()
    }

    fn chain_format(&self) -> ChainFormat {
        ChainFormat {
            step_end: Some("<sep>".to_owned()),
            answer_is_last_step: false,
        }
    }

    fn draw(&self, length: usize, stream: &mut Stream) -> Result<Problem> {
        if !self.lengths().contains(&length) {
            return Err(TaskError::length(Self::NAME, length, self.lengths()));
        }
        let numbers = self.config.sequence(length, stream);
        Ok(self.finish(prompt_of(&numbers), &numbers))
    }

    fn generate(&self, seed: u64, split: Split, index: u64, length: usize) -> Result<Problem> {
        let place = Place {
            purpose: &self.purpose,
            seed,
            split,
            index,
            length,
        };
        let (prompt, numbers) = draw_into_split(self, place, |stream| {
            let numbers = self.config.sequence(length, stream);
            (prompt_of(&numbers), numbers)
        })?;
        Ok(self.finish(prompt, &numbers))
    }

    fn length(&self, prompt: &str) -> Result<usize> {
        self.parse(prompt).map(|numbers| numbers.len())
    }

    /// T = ceil(n / group).
    fn iterations(&self, prompt: &str) -> Result<usize> {
        self.length(prompt)
            .map(|length| length.div_ceil(self.config.group))
    }

    fn step_width(&self, prompt: &str) -> Result<usize> {
        self.parse(prompt).map(|_| self.config.group + 1)
    }

    fn solve(&self, prompt: &str) -> Result<Solution> {
        self.parse(prompt).map(|numbers| self.write(&numbers))
    }
}
