//! Problems and solutions as text, tokens one space apart.

use serde::{Deserialize, Serialize};

use crate::error::excerpt;

/// The steps of a reasoning chain and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solution {
    /// One text for each step; as many as the looped model has iterations.
    pub steps: Vec<String>,
    /// The answer, one token.
    pub answer: String,
}

/// A problem with its solution.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// Name of the task.
    pub task: String,
    /// Problem length as the task counts it.
    pub length: usize,
    /// The problem itself, without the task's tag.
    pub prompt: String,
    /// The steps; empty while nobody has solved it.
    pub steps: Vec<String>,
    /// The answer; empty while nobody has solved it.
    pub answer: String,
}

/// That a problem has steps, none of them empty, and an answer of one token; on failure says what is wrong with it.
pub(crate) fn check_solved(problem: &Problem) -> Result<(), String> {
    if problem.steps.is_empty() {
        return Err("it has no steps, needs at least one".to_owned());
    }
    if let Some(empty) = problem.steps.iter().position(|step| step.trim().is_empty()) {
        return Err(format!("its step {} is empty", empty + 1));
    }
    match problem.answer.split_whitespace().count() {
        1 => Ok(()),
        count => {
            let answer = excerpt(&problem.answer);
            Err(format!(
                "its answer `{answer}` has {count} tokens, needs exactly one"
            ))
        }
    }
}
