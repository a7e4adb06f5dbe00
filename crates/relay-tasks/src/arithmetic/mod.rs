//! Arithmetic expressions, reduced one operation a step (the paper's Appendix A.1).
//!
//! A problem is an expression closed by `=`; its length is the number of operators, and so is the number of its
//! steps. Step t is the expression after t reductions, closed by `=`; the last step is the bare value:
//!
//! ```
//! use relay_tasks::{ArithmeticConfig, Domain, Task, TaskConfig};
//!
//! let config = ArithmeticConfig { domain: Domain::Integers { max: 249 }, ..ArithmeticConfig::default() };
//! let task = TaskConfig::Ari(config).build()?;
//! let solution = task.solve("15 / ( 17 - 4 * 3 ) =")?;
//! assert_eq!(solution.steps, ["15 / ( 17 - 12 ) =", "15 / 5 =", "3"]);
//! # Ok::<(), relay_tasks::TaskError>(())
//! ```

mod domain;
mod expression;
mod generate;
mod reduce;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

pub use self::domain::Domain;
use self::expression::Expression;
use crate::dialect::Dialect;
use crate::draws::{Place, draw_into_split, purpose_of};
use crate::error::{Result, TaskError};
use crate::problem::{Problem, Solution};
use crate::random::Stream;
use crate::split::Split;
use crate::task::{ChainFormat, Task};

/// Longest problem: a chain holds about the square of it in tokens.
const LONGEST: usize = 4096;

/// In which order the operations of an expression are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOrder {
    /// The leftmost operation that may be done now, as in the example the paper prints.
    #[default]
    LeftToRight,
    /// The random expansion that made the problem, backwards, as in the files of the benchmark. The order cannot be
    /// known from the problem, so that any chain of valid reductions passes the checks of data; the accuracies of models
    /// compare with the one that was drawn.
    RandomExpansion,
}

/// Settings of the arithmetic task. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArithmeticConfig {
    /// The numbers, by default the prime field of the benchmark.
    pub domain: Domain,
    /// The order of the steps, by default left to right.
    pub order: StepOrder,
}

impl ArithmeticConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`TaskError::Setting`] with the field, its value and what would be right.
    pub fn validate(&self) -> Result<()> {
        self.domain.validate()
    }

    /// Makes the task.
    ///
    /// # Errors
    /// As [`ArithmeticConfig::validate`].
    pub fn build(self) -> Result<Arithmetic> {
        self.validate()?;
        Ok(Arithmetic {
            purpose: purpose_of(Arithmetic::NAME, &self.dialect()),
            config: self,
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect::of(self)
    }
}

/// The arithmetic task, named `ari`.
#[derive(Debug, Clone)]
pub struct Arithmetic {
    config: ArithmeticConfig,
    /// What the random numbers of its problems are for.
    purpose: String,
}

impl Arithmetic {
    /// Name of the task.
    pub const NAME: &'static str = "ari";

    fn parse(&self, prompt: &str) -> Result<(Expression, usize)> {
        let wrong = |reason: String| TaskError::prompt(Self::NAME, prompt, reason);
        let expression = Expression::parse(prompt, &self.config.domain).map_err(wrong)?;
        match expression.operators() {
            0 => Err(wrong(
                "it has no operator, so there is nothing to do".to_owned(),
            )),
            length if length > LONGEST => Err(wrong(format!(
                "it has {length} operators, more than {LONGEST}"
            ))),
            length => Ok((expression, length)),
        }
    }

    /// A random expression and, where the order is that of the expansion, the stages it went through.
    fn expand(&self, length: usize, stream: &mut Stream) -> (Expression, Vec<String>) {
        let mut stages = Vec::new();
        let keep = self.config.order == StepOrder::RandomExpansion;
        let expression = generate::expand(&self.config.domain, length, stream, |stage| {
            if keep {
                stages.push(stage.text());
            }
        });
        (expression, stages)
    }

    fn finish(
        &self,
        prompt: String,
        length: usize,
        expression: Expression,
        mut stages: Vec<String>,
    ) -> Result<Problem> {
        let steps = match self.config.order {
            StepOrder::LeftToRight => self.reduce_all(&prompt, expression)?,
            StepOrder::RandomExpansion => {
                stages.truncate(length);
                stages.reverse();
                stages
            }
        };
        let answer = steps.last().cloned().unwrap_or_default();
        Ok(Problem {
            task: Self::NAME.to_owned(),
            length,
            prompt,
            steps,
            answer,
        })
    }

    /// Whether some valid reduction of `before` gives `text`.
    fn reduces_to(&self, before: &Expression, text: &str) -> bool {
        let mut before = before.clone();
        before.strip_lone_brackets();
        before.reducible().any(|index| {
            let mut after = before.clone();
            after.reduce(index, &self.config.domain).is_some() && after.text() == text
        })
    }

    /// Every step, leftmost operation first.
    fn reduce_all(&self, prompt: &str, mut expression: Expression) -> Result<Vec<String>> {
        expression.strip_lone_brackets();
        let mut steps = Vec::with_capacity(expression.operators());
        while let Some(index) = expression.leftmost() {
            if expression.reduce(index, &self.config.domain).is_none() {
                let operation = expression.operation(index).map(|(left, operator, right)| {
                    format!(
                        "{left} {} {right} has no value from 0 to {}",
                        operator.symbol(),
                        self.config.domain.largest()
                    )
                });
                return Err(TaskError::prompt(
                    Self::NAME,
                    prompt,
                    operation.unwrap_or_default(),
                ));
            }
            steps.push(expression.text());
        }
        Ok(steps)
    }
}

impl Task for Arithmetic {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn dialect(&self) -> Dialect {
        self.config.dialect()
    }

    fn tokens(&self) -> Vec<String> {
        let symbols = ["+", "-", "*", "/", "(", ")", "="].map(str::to_owned);
        symbols
            .into_iter()
            .chain((0..=self.config.domain.largest()).map(|number| number.to_string()))
            .collect()
    }

    fn lengths(&self) -> RangeInclusive<usize> {
        1..=LONGEST
    }

    fn chain_format(&self) -> ChainFormat {
        ChainFormat {
            step_end: Some("=".to_owned()),
            answer_is_last_step: true,
        }
    }

    fn draw(&self, length: usize, stream: &mut Stream) -> Result<Problem> {
        if !self.lengths().contains(&length) {
            return Err(TaskError::length(Self::NAME, length, self.lengths()));
        }
        let (expression, stages) = self.expand(length, stream);
        self.finish(expression.text(), length, expression, stages)
    }

    fn generate(&self, seed: u64, split: Split, index: u64, length: usize) -> Result<Problem> {
        let place = Place {
            purpose: &self.purpose,
            seed,
            split,
            index,
            length,
        };
        let (prompt, (expression, stages)) = draw_into_split(self, place, |stream| {
            let (expression, stages) = self.expand(length, stream);
            (expression.text(), (expression, stages))
        })?;
        self.finish(prompt, length, expression, stages)
    }

    fn length(&self, prompt: &str) -> Result<usize> {
        self.parse(prompt).map(|(_, length)| length)
    }

    fn iterations(&self, prompt: &str) -> Result<usize> {
        self.length(prompt)
    }

    /// Every reduction removes at least an operator and a number, so the first step is the longest and is at least
    /// two tokens shorter than the problem.
    fn step_width(&self, prompt: &str) -> Result<usize> {
        let (expression, length) = self.parse(prompt)?;
        Ok(if length == 1 {
            1
        } else {
            expression.tokens.len() - 1
        })
    }

    /// The chain that does the leftmost operation first, in either [`StepOrder`]: it is always a valid one.
    fn solve(&self, prompt: &str) -> Result<Solution> {
        let (expression, _) = self.parse(prompt)?;
        let steps = self.reduce_all(prompt, expression)?;
        let answer = steps.last().cloned().unwrap_or_default();
        Ok(Solution { steps, answer })
    }

    /// With [`StepOrder::RandomExpansion`] a problem has a chain for every order in which it can be reduced.
    fn has_one_chain(&self) -> bool {
        self.config.order == StepOrder::LeftToRight
    }

    /// With [`StepOrder::LeftToRight`] whether it is that step of the chain; with [`StepOrder::RandomExpansion`]
    /// whether it is a valid reduction of the step before (of the problem, for the first).
    fn check_step(
        &self,
        prompt: &str,
        step: usize,
        previous: Option<&str>,
        text: &str,
    ) -> Result<bool> {
        let (problem, length) = self.parse(prompt)?;
        let Some(index) = step.checked_sub(1).filter(|&index| index < length) else {
            return Ok(false);
        };
        match self.config.order {
            StepOrder::LeftToRight => Ok(self.reduce_all(prompt, problem)?[index] == text),
            StepOrder::RandomExpansion => {
                let before = match (index, previous) {
                    (0, _) => Some(problem),
                    (_, Some(previous)) => Expression::parse(previous, &self.config.domain).ok(),
                    (_, None) => None,
                };
                let is_due = |before: &Expression| before.operators() == length - index;
                Ok(before
                    .filter(is_due)
                    .is_some_and(|before| self.reduces_to(&before, text)))
            }
        }
    }
}
