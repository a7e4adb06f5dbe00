//! What a task must offer.

use std::{fmt::Debug, ops::RangeInclusive};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::draws::{Place, first_in_split, purpose_of};
use crate::{Dialect, Problem, Result, Solution, Split, Stream};

/// A reasoning task: problems, their steps, their answers.
///
/// Implement it for a task of your own; everything else in the crates works with any task.
pub trait Task: Debug + Send + Sync {
    /// Short name in lower case, such as `ari`.
    fn name(&self) -> &str;

    /// The token that stands before every problem of this task, such as `[ARI]`.
    fn tag(&self) -> String {
        format!("[{}]", self.name().to_uppercase())
    }

    /// The settings that change what problems and steps mean.
    fn dialect(&self) -> Dialect;

    /// The other settings, which change only what problems are drawn: a training does not go on under other ones. Null for a
    /// task whose dialect holds all.
    fn drawing(&self) -> Value {
        Value::Null
    }

    /// Every token that problems, steps and answers may hold, without the tag and the special tokens.
    fn tokens(&self) -> Vec<String>;

    /// The lengths that can be drawn.
    fn lengths(&self) -> RangeInclusive<usize>;

    /// How a chain is written as one line of text.
    fn chain_format(&self) -> ChainFormat;

    /// A random problem of the given length, with its solution.
    ///
    /// # Errors
    /// When there are no problems of that length.
    fn draw(&self, length: usize, stream: &mut Stream) -> Result<Problem>;

    /// The length of a problem.
    ///
    /// # Errors
    /// When the text is no problem of this task.
    fn length(&self, prompt: &str) -> Result<usize>;

    /// The number of steps, and of iterations T, that a problem takes; known without solving it.
    ///
    /// # Errors
    /// When the text is no problem of this task.
    fn iterations(&self, prompt: &str) -> Result<usize>;

    /// The most tokens that a step of a problem can have; known without solving it.
    ///
    /// # Errors
    /// When the text is no problem of this task.
    fn step_width(&self, prompt: &str) -> Result<usize>;

    /// The true steps and the answer.
    ///
    /// # Errors
    /// When the text is no problem of this task.
    fn solve(&self, prompt: &str) -> Result<Solution>;

    /// Problem `index` of a split: a pure function of the task's settings and the arguments.
    ///
    /// Problems are drawn again until one falls into the split, which makes the splits disjoint.
    ///
    /// # Errors
    /// When there are no problems of that length, or none that falls into the split.
    fn generate(&self, seed: u64, split: Split, index: u64, length: usize) -> Result<Problem> {
        let purpose = purpose_of(self.name(), &self.dialect());
        let place = Place {
            purpose: &purpose,
            seed,
            split,
            index,
            length,
        };
        first_in_split(
            self,
            place,
            |stream| self.draw(length, stream),
            |problem| problem.prompt.as_str(),
        )
    }

    /// Whether `text` is right as step number `step`, counted from 1, after the step `previous`.
    ///
    /// # Errors
    /// When the text is no problem of this task.
    fn check_step(
        &self,
        prompt: &str,
        step: usize,
        previous: Option<&str>,
        text: &str,
    ) -> Result<bool> {
        // A problem has one chain of steps here; tasks with several look at the step before.
        let _ = previous;
        let solution = self.solve(prompt)?;
        Ok(step
            .checked_sub(1)
            .and_then(|index| solution.steps.get(index))
            .is_some_and(|right| right == text))
    }

    /// Number of the first of `steps` that [`check_step`](Self::check_step) refuses, counted from 1; none where it takes
    /// them all.
    ///
    /// # Errors
    /// When the text is no problem of this task.
    fn first_wrong_step(&self, prompt: &str, steps: &[String]) -> Result<Option<usize>> {
        // Steps that begin as the solution does are right, and looking at each alone takes long.
        let solution = self.solve(prompt)?.steps;
        let pairs = steps.iter().zip(&solution);
        let same = pairs.take_while(|(step, right)| step == right).count();
        let mut previous = same.checked_sub(1).map(|last| steps[last].as_str());
        for (index, text) in steps.iter().enumerate().skip(same) {
            let number = index + 1;
            if !self.check_step(prompt, number, previous, text)? {
                return Ok(Some(number));
            }
            previous = Some(text.as_str());
        }
        Ok(None)
    }

    /// Whether every problem has one right chain, the one that [`solve`](Self::solve) gives.
    fn has_one_chain(&self) -> bool {
        true
    }

    /// Whether a whole chain is right: every step by [`check_step`](Self::check_step), their number, and the answer.
    ///
    /// It is for checking data. What a model wrote is compared with the one chain that [`solve`](Self::solve) gives
    /// ([`score`](crate::score)).
    ///
    /// # Errors
    /// When the text is no problem of this task.
    fn check_chain(&self, prompt: &str, steps: &[String], answer: &str) -> Result<bool> {
        let solution = self.solve(prompt)?;
        if solution.answer != answer || solution.steps.len() != steps.len() {
            return Ok(false);
        }
        if solution.steps == steps {
            return Ok(true);
        }
        Ok(self.first_wrong_step(prompt, steps)?.is_none())
    }
}

/// How a chain of steps is written as one line of text for an auto-regressive model, and found again in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainFormat {
    /// The token that every step ends in, but for a last step that is the answer; without one, `<sep>` is put after each
    /// step.
    pub step_end: Option<String>,
    /// Whether the last step is the answer, so that the answer is not written again.
    pub answer_is_last_step: bool,
}
