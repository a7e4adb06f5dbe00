//! Where a run's problems come from: drawn from tasks, or read from the user's files.

use std::{fmt::Debug, sync::Arc};

use relay_tasks::{Codec, Example, Problem};
use relay_train::{Batching, Curriculum, ExampleSource};
use serde_json::Value;

use crate::{DataSettings, FileCorpus, GeneratedCorpus, Result, Settings};

/// What a stage takes from the data: it is made anew where just that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataUse {
    /// Original data to train on, and to watch the training with.
    Training,
    /// Longer problems to write chains for.
    Longer,
    /// Original data that chains are merged with.
    Original,
    /// Problems that the auto-regressive model writes chains for in one phase, counted from 0.
    Phase(usize),
    /// Problems to measure on.
    Test,
}

/// A problem of which only the text and the number of steps are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsolved {
    /// The problem as text, for the file of chains.
    pub problem: Problem,
    /// The problem as tokens, without steps and answer.
    pub example: Example,
}

/// Where the problems of a run come from.
pub trait Corpus: Debug + Send + Sync {
    /// Vocabulary, tasks and dialects.
    fn codec(&self) -> &Codec;

    /// Shortest and longest length of the original data, for each task.
    fn train_lengths(&self) -> Vec<[usize; 2]>;

    /// The original training data, one update at a time.
    ///
    /// # Errors
    /// When the data cannot be made or read.
    fn source(
        &self,
        batching: &Batching,
        curriculum: Option<&Curriculum>,
        seed: u64,
    ) -> Result<Box<dyn ExampleSource>>;

    /// Problems for the validation during training, up to `samples` of each task, of the training lengths that have some.
    ///
    /// # Errors
    /// When the data cannot be made or read, or there are no such problems at all.
    fn valid(&self, samples: usize) -> Result<Vec<Example>>;

    /// Problems to measure on, up to `samples` for each task and length, none of them twice.
    ///
    /// # Errors
    /// When the data cannot be made or read.
    fn test(&self, samples: usize) -> Result<Vec<Example>>;

    /// The original part of the merged set, with solutions.
    ///
    /// # Errors
    /// When the data cannot be made or read.
    fn original(&self) -> Result<Vec<Problem>>;

    /// The longer problems of one round, without solutions; round 0 holds as many as the merged set wants, later rounds
    /// replace those whose chains were dropped. Empty when there are no more.
    ///
    /// # Errors
    /// When the data cannot be made or read.
    fn longer(&self, round: usize) -> Result<Vec<Unsolved>>;

    /// `each` problems of every task with solutions, of the training lengths: what self-chains begin with (Appendix D).
    ///
    /// # Errors
    /// When the data cannot be made.
    fn originals(&self, each: usize) -> Result<Vec<Problem>>;

    /// The problems of one phase of self-chains (Table 4), without solutions; rounds are as in [`longer`](Self::longer).
    /// Empty where the data have no such phase.
    ///
    /// # Errors
    /// When the data cannot be made.
    fn phase(&self, phase: usize, round: usize) -> Result<Vec<Unsolved>>;

    /// The true solution of a problem, if anybody knows it; it serves reports only, never the method.
    fn truth(&self, problem: &Problem) -> Option<Problem>;

    /// All that one use of the data depends on, for the markers of the stages.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    fn fingerprint(&self, of: DataUse) -> Result<Value>;
}

/// The corpus that the settings ask for.
///
/// # Errors
/// When a task cannot be built or a file cannot be read.
pub fn corpus(settings: &Settings) -> Result<Arc<dyn Corpus>> {
    Ok(match &settings.data {
        DataSettings::Generated(tasks) => Arc::new(GeneratedCorpus::new(tasks, settings.seed)?),
        DataSettings::Files(files) => Arc::new(FileCorpus::read(files)?),
    })
}
