//! One line of a data file.

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::error::{Result, TaskError};
use crate::problem::Problem;

/// One object of a JSONL file. `problem` is always there; what else depends on what the file is for: problems with
/// steps and answer, problems to be solved, chains that a model wrote. A field of another name is an error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Name of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Dialect of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// Length of the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// The problem, tokens separated by spaces.
    pub problem: String,
    /// Number of iterations, where there are no steps to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// Width of the windows, where there are no steps to take it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// The steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<String>>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// For a written chain: how sure the model was of each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Vec<f32>>,
    /// For a written chain: how sure the model was of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_confidence: Option<f32>,
    /// For a written chain whose truth was known: whether the answer is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_is_right: Option<bool>,
    /// For a written chain whose truth was known: whether every step is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_is_right: Option<bool>,
}

impl Record {
    /// The line of a solved problem.
    #[must_use]
    pub fn of(problem: &Problem, dialect: &Dialect) -> Self {
        Self {
            task: Some(problem.task.clone()),
            dialect: Some(dialect.clone()),
            length: Some(problem.length),
            problem: problem.prompt.clone(),
            steps: Some(problem.steps.clone()),
            answer: Some(problem.answer.clone()),
            ..Self::default()
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// [`TaskError::Data`] when it is no such object.
    pub fn parse(line: &str) -> Result<Self> {
        if !line.trim_start().starts_with('{') {
            return Err(TaskError::data("it is no JSON object"));
        }
        serde_json::from_str(line).map_err(|error| {
            // Every line is parsed alone, so that serde's own line number would only mislead.
            let text = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let reason = text.strip_suffix(&place).unwrap_or(&text);
            TaskError::data(format!("{reason} (at byte {})", error.column()))
        })
    }

    /// The same line with the tokens of problem, steps and answer one space apart.
    #[must_use]
    pub fn spaced(self) -> Self {
        let steps = self.steps.map(|all| all.into_iter().map(spaced).collect());
        Self {
            problem: spaced(self.problem),
            steps,
            answer: self.answer.map(spaced),
            ..self
        }
    }

    /// The solved problem that the line holds, its tokens one space apart. Without `length` its length is the number of
    /// steps.
    ///
    /// # Errors
    /// [`TaskError::Data`] when the task is missing, or problem, steps or answer are missing or empty.
    pub fn into_problem(self) -> Result<Problem> {
        let line = self.spaced();
        let task = line
            .task
            .ok_or_else(|| TaskError::data("field `task` is missing"))?;
        let missing = |field: &str| TaskError::data(format!("field `{field}` is missing or empty"));
        let steps = line.steps.unwrap_or_default();
        if steps.is_empty() || steps.iter().any(String::is_empty) {
            return Err(missing("steps"));
        }
        if line.problem.is_empty() {
            return Err(missing("problem"));
        }
        let answer = line.answer.unwrap_or_default();
        if answer.is_empty() {
            return Err(missing("answer"));
        }
        Ok(Problem {
            task,
            length: line.length.unwrap_or(steps.len()),
            prompt: line.problem,
            steps,
            answer,
        })
    }
}

/// The text with its tokens one space apart: whatever stands between them, it is the same text.
pub fn spaced(text: String) -> String {
    let already = text
        .split(' ')
        .all(|word| !word.is_empty() && !word.contains(char::is_whitespace));
    if already {
        text
    } else {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
