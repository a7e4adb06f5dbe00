//! A task of another project: counting down.

use std::ops::RangeInclusive;

use relay_tasks::{ChainFormat, Dialect, Problem, Result, Solution, Stream, Task, TaskError};

/// From `7 3 =` (start, stride) down to what is less than the stride: `4 =`, `1 =`; the answer is the last number.
#[derive(Debug)]
pub struct Countdown {
    /// The largest number.
    pub largest: u64,
}

impl Countdown {
    fn numbers(&self, prompt: &str) -> Result<(u64, u64)> {
        let words: Vec<&str> = prompt.split_whitespace().collect();
        match words[..] {
            [start, stride, "="] => match (start.parse(), stride.parse()) {
                (Ok(start), Ok(stride)) if stride > 0 && start >= stride && start <= self.largest => Ok((start, stride)),
                _ => Err(TaskError::prompt(self.name(), prompt, "numbers out of range")),
            },
            _ => Err(TaskError::prompt(self.name(), prompt, "expected `start stride =`")),
        }
    }
}

impl Task for Countdown {
    fn name(&self) -> &str {
        "count"
    }

    fn dialect(&self) -> Dialect {
        Dialect::new([("largest", self.largest.into())])
    }

    fn tokens(&self) -> Vec<String> {
        (0..=self.largest).map(|n| n.to_string()).chain(["=".to_owned()]).collect()
    }

    fn lengths(&self) -> RangeInclusive<usize> {
        1..=5
    }

    fn chain_format(&self) -> ChainFormat {
        ChainFormat { step_end: Some("=".into()), answer_is_last_step: false }
    }

    fn draw(&self, length: usize, stream: &mut Stream) -> Result<Problem> {
        let stride = 1 + stream.below(self.largest / (length as u64 + 1));
        let start = stride * length as u64 + stream.below(stride);
        let prompt = format!("{start} {stride} =");
        let Solution { steps, answer } = self.solve(&prompt)?;
        Ok(Problem { task: self.name().into(), length, prompt, steps, answer })
    }

    fn length(&self, prompt: &str) -> Result<usize> {
        let (start, stride) = self.numbers(prompt)?;
        Ok((start / stride) as usize)
    }

    fn iterations(&self, prompt: &str) -> Result<usize> {
        self.length(prompt)
    }

    fn step_width(&self, _: &str) -> Result<usize> {
        Ok(2)
    }

    fn solve(&self, prompt: &str) -> Result<Solution> {
        let (start, stride) = self.numbers(prompt)?;
        let steps = (1..=start / stride).map(|taken| format!("{} =", start - taken * stride)).collect();
        Ok(Solution { steps, answer: (start % stride).to_string() })
    }
}
