//! Edit distance, one row of the table a step (the paper's Appendix A.2).
//!
//! A problem is two strings, the shorter first; its length is that of the shorter, and so is the number of its steps.
//! Step t is row t of the dynamic programme, columns 1 to the end, then `,`:
//!
//! ```
//! use relay_tasks::{EditDistanceConfig, Task, TaskConfig};
//!
//! let task = TaskConfig::Ed(EditDistanceConfig::default()).build()?;
//! let solution = task.solve("o t m l | o t t m l <sep>")?;
//! assert_eq!(solution.steps[0], "0 2 4 6 7 ,");
//! assert_eq!(solution.answer, "2");
//! # Ok::<(), relay_tasks::TaskError>(())
//! ```

mod config;
mod generate;

use std::ops::RangeInclusive;

use serde_json::{Value, json};

pub use self::config::{CostDialect, EditDistanceConfig};
use crate::dialect::Dialect;
use crate::draws::{Place, draw_into_split};
use crate::error::{Result, TaskError};
use crate::problem::{Problem, Solution};
use crate::random::Stream;
use crate::split::Split;
use crate::task::{ChainFormat, Task};
use crate::text::{push_number, shown};

/// How much longer the second string of a generated problem may be than the first.
const LONGER_BY: usize = 3;
/// Longest problem, whatever the largest number: a chain holds about the square of it in tokens.
const LONGEST: usize = 4096;

/// The edit distance task, named `ed`.
#[derive(Debug, Clone)]
pub struct EditDistance {
    config: EditDistanceConfig,
    longest: usize,
    /// What the random numbers of its problems are for.
    purpose: String,
}

impl EditDistance {
    /// Name of the task.
    pub const NAME: &'static str = "ed";

    /// Reads a problem into its two strings.
    fn parse(&self, prompt: &str) -> Result<(Vec<u8>, Vec<u8>)> {
        let wrong = |reason: String| TaskError::prompt(Self::NAME, prompt, reason);
        let mut strings = [Vec::new(), Vec::new()];
        let (mut current, mut closed) = (0, false);
        for word in prompt.split_ascii_whitespace() {
            match word.as_bytes() {
                _ if closed => {
                    return Err(wrong(format!(
                        "{} stands after `<sep>`, which has to be the last token",
                        shown(word)
                    )));
                }
                b"|" if current == 0 => current = 1,
                b"<sep>" if current == 1 => closed = true,
                &[letter]
                    if letter.is_ascii_lowercase()
                        && usize::from(letter - b'a') < self.config.letters =>
                {
                    strings[current].push(letter);
                }
                _ => {
                    let last = char::from(b'a' + (self.config.letters - 1) as u8);
                    let expected = "letters, `|`, letters, `<sep>`";
                    return Err(wrong(format!(
                        "{} stands where {expected} are due, letters from a to {last}",
                        shown(word)
                    )));
                }
            }
        }
        let [first, second] = strings;
        if !closed {
            return Err(wrong(
                "it has to be two strings with `|` between them, then `<sep>`".to_owned(),
            ));
        }
        if first.is_empty() || second.is_empty() {
            return Err(wrong("a string is empty".to_owned()));
        }
        if first.len() > second.len() {
            return Err(wrong(format!(
                "the shorter string stands first: {} letters before {}",
                first.len(),
                second.len()
            )));
        }
        if first.len() > LONGEST {
            return Err(wrong(format!(
                "the first string has {} letters, more than {LONGEST}",
                first.len()
            )));
        }
        let highest = self.config.highest_value(first.len(), second.len());
        if highest > self.config.largest as usize {
            let (a, b, largest) = (first.len(), second.len(), self.config.largest);
            return Err(wrong(format!(
                "strings of {a} and {b} letters may cost up to {highest}, above {largest}, the largest number"
            )));
        }
        Ok((first, second))
    }

    fn finish(&self, prompt: String, first: &[u8], second: &[u8]) -> Problem {
        let Solution { steps, answer } = self.table(first, second);
        Problem {
            task: Self::NAME.to_owned(),
            length: first.len(),
            prompt,
            steps,
            answer,
        }
    }

    /// The rows 1 to the end of the table, each without column 0, as text; and the last number.
    fn table(&self, first: &[u8], second: &[u8]) -> Solution {
        let config = &self.config;
        let (right, down) = config.border();
        let mut row: Vec<u32> = (0..=second.len() as u32)
            .map(|column| column * right)
            .collect();
        let mut steps = Vec::with_capacity(first.len());
        for (index, letter) in first.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = (index as u32 + 1) * down;
            let mut text = String::with_capacity(4 * second.len() + 1);
            for (column, other) in second.iter().enumerate() {
                let replaced = diagonal + if letter == other { 0 } else { config.replace };
                diagonal = row[column + 1];
                row[column + 1] = replaced
                    .min(diagonal + config.delete)
                    .min(row[column] + config.insert);
                push_number(&mut text, row[column + 1]);
                text.push(' ');
            }
            text.push(',');
            steps.push(text);
        }
        let answer = row.last().map_or_else(String::new, u32::to_string);
        Solution { steps, answer }
    }
}

fn prompt_of(first: &[u8], second: &[u8]) -> String {
    let mut prompt = String::with_capacity(2 * (first.len() + second.len()) + 8);
    let mut push = |letters: &[u8]| {
        for &letter in letters {
            prompt.push(char::from(letter));
            prompt.push(' ');
        }
    };
    push(first);
    push(b"|");
    push(second);
    prompt.push_str("<sep>");
    prompt
}

impl Task for EditDistance {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn dialect(&self) -> Dialect {
        self.config.dialect()
    }

    fn drawing(&self) -> Value {
        json!({ "drawn": self.config.drawn, "random_share": self.config.random_share })
    }

    fn tokens(&self) -> Vec<String> {
        let symbols = ["|", ","].map(str::to_owned).into_iter();
        let letters = (b'a'..=b'z')
            .take(self.config.letters)
            .map(|letter| char::from(letter).to_string());
        symbols
            .chain(letters)
            .chain((0..=self.config.largest).map(|number| number.to_string()))
            .collect()
    }

    fn lengths(&self) -> RangeInclusive<usize> {
        1..=self.longest
    }

    fn chain_format(&self) -> ChainFormat {
        ChainFormat {
            step_end: Some(",".to_owned()),
            answer_is_last_step: false,
        }
    }

    fn draw(&self, length: usize, stream: &mut Stream) -> Result<Problem> {
        if !self.lengths().contains(&length) {
            return Err(TaskError::length(Self::NAME, length, self.lengths()));
        }
        let (first, second) = self.config.strings(length, stream);
        Ok(self.finish(prompt_of(&first, &second), &first, &second))
    }

    fn generate(&self, seed: u64, split: Split, index: u64, length: usize) -> Result<Problem> {
        let place = Place {
            purpose: &self.purpose,
            seed,
            split,
            index,
            length,
        };
        let (prompt, (first, second)) = draw_into_split(self, place, |stream| {
            let (first, second) = self.config.strings(length, stream);
            (prompt_of(&first, &second), (first, second))
        })?;
        Ok(self.finish(prompt, &first, &second))
    }

    fn length(&self, prompt: &str) -> Result<usize> {
        self.parse(prompt).map(|(first, _)| first.len())
    }

    fn iterations(&self, prompt: &str) -> Result<usize> {
        self.length(prompt)
    }

    fn step_width(&self, prompt: &str) -> Result<usize> {
        self.parse(prompt).map(|(_, second)| second.len() + 1)
    }

    fn solve(&self, prompt: &str) -> Result<Solution> {
        let (first, second) = self.parse(prompt)?;
        Ok(self.table(&first, &second))
    }
}
