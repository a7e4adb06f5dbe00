//! Problems as tokens.

use serde::{Deserialize, Serialize};

use crate::TokenId;

/// A problem as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Example {
    /// Index of the task in [`Codec::tasks`](crate::Codec::tasks).
    pub task: usize,
    /// Problem length.
    pub length: usize,
    /// Steps, and iterations T of the looped model.
    pub iterations: usize,
    /// Natural width of the window: the longest of the input and the steps.
    pub width: usize,
    /// The tag, then the problem.
    pub prompt: Vec<TokenId>,
    /// The steps; empty while nobody has solved the problem.
    pub steps: Vec<Vec<TokenId>>,
    /// The answer, if somebody has solved the problem.
    pub answer: Option<TokenId>,
}
