//! Problems and solutions as text, tokens one space apart.

use serde::{Deserialize, Serialize};

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
