//! Where a run's problems come from: drawn from tasks, or read from the user's files.

use std::{fmt::Debug, sync::Arc};

use relay_tasks::{Codec, Example, Problem, spaced};
use relay_train::{Batching, Curriculum, ExampleSource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DataSettings, FileCorpus, GeneratedCorpus, PipelineError, Result, Settings};

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unsolved {
    /// The problem as text, for the file of chains.
    pub problem: Problem,
    /// The problem as tokens, without steps and answer.
    pub example: Example,
}

/// A problem that somebody asks a trained model to solve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Name of its task; may be left out where there is one only.
    pub task: Option<String>,
    /// The problem as text, one space between two tokens.
    pub problem: String,
    /// The number of iterations, and of steps, in place of what the task says; has to be there for data from files.
    pub iterations: Option<usize>,
    /// The most tokens that a step may have, in place of what the task says, or of the rule that [`FileCorpus::read`] has.
    pub width: Option<usize>,
}

/// Iterations and width of a problem: memory grows with the former, and with the square of the latter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub iterations: usize,
    pub width: usize,
}

impl Question {
    /// The name of the task.
    pub(crate) fn task<'a>(&'a self, codec: &'a Codec) -> Result<&'a str> {
        match (&self.task, codec.tasks.as_slice()) {
            (Some(name), _) => Ok(&codec.tasks[codec.task_index(name)?].name),
            (None, [only]) => Ok(&only.name),
            (None, several) => {
                let names: Vec<&str> = several.iter().map(|task| task.name.as_str()).collect();
                let right = format!("one of {}", names.join(", "));
                Err(PipelineError::question("the task", "not named", right))
            }
        }
    }

    /// The problem, of the given length, as tokens, if it has at most as many iterations, and its window is at most as
    /// wide, as `most` says.
    pub(crate) fn encoded(
        &self,
        codec: &Codec,
        length: usize,
        Sizes { iterations, width }: Sizes,
        most: Sizes,
    ) -> Result<Unsolved> {
        let checked = |what, size: usize, most: usize| match (1..=most).contains(&size) {
            true => Ok(()),
            false => {
                let right = format!("1 to {most}");
                Err(PipelineError::question(what, size.to_string(), right))
            }
        };
        checked("the number of iterations", iterations, most.iterations)?;
        let tokens = self.problem.split_whitespace().count() + 1;
        let width = if width == 0 { 0 } else { width.max(tokens) };
        checked("the width of the window", width, most.width)?;
        let task = self.task(codec)?;
        let example = codec.encode_prompt(task, length, &self.problem, iterations, width)?;
        let problem = Problem {
            task: task.to_owned(),
            length,
            prompt: spaced(self.problem.clone()),
            steps: Vec::new(),
            answer: String::new(),
        };
        Ok(Unsolved { problem, example })
    }
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

    /// Problems for the validation during training, up to `samples` of each task, of the training lengths that have some. Of files with
    /// few lines there are none, and trainings are not validated.
    ///
    /// # Errors
    /// When the data cannot be made or read, or problems are drawn and there are none of these at all.
    fn valid(&self, samples: usize) -> Result<Vec<Example>>;

    /// Problems to measure on, up to `samples` for each task and length, none of them twice.
    ///
    /// # Errors
    /// When the data cannot be made or read.
    fn test(&self, samples: usize) -> Result<Vec<Example>>;

    /// The original part of the merged set, with solutions, of each length about the share that it has in updates of
    /// `batching`: what is rarer than it was is forgotten.
    ///
    /// # Errors
    /// When the data cannot be made or read.
    fn original(&self, batching: &Batching) -> Result<Vec<Problem>>;

    /// The longer problems of one round, without solutions; round 0 holds as many as the merged set wants, later rounds
    /// replace those whose chains were dropped. Empty when there are no more.
    ///
    /// # Errors
    /// When the data cannot be made or read.
    fn longer(&self, round: usize) -> Result<Vec<Unsolved>>;

    /// `each` problems of every task with solutions, drawn as those of [`original`](Self::original): what self-chains begin
    /// with (Appendix D).
    ///
    /// # Errors
    /// When the data cannot be made.
    fn phase_start(&self, batching: &Batching, each: usize) -> Result<Vec<Problem>>;

    /// The problems of one phase of self-chains (Table 4), without solutions; rounds are as in [`longer`](Self::longer).
    /// Empty where the data have no such phase.
    ///
    /// # Errors
    /// When the data cannot be made.
    fn phase(&self, phase: usize, round: usize) -> Result<Vec<Unsolved>>;

    /// A problem that somebody asks: how many iterations it takes, and how wide its steps are, is known to a task, and has to
    /// be said for data from files.
    ///
    /// # Errors
    /// When the task is unknown or not named where there are several, the problem is none of that task's, or is too large
    /// to be computed; the message says what would be right.
    fn asked(&self, question: &Question) -> Result<Unsolved>;

    /// The true solution of a problem, if anybody knows it; it serves reports only, never the method.
    fn truth(&self, problem: &Problem) -> Option<Problem>;

    /// Whether the problems of a task have one right chain each, which [`truth`](Self::truth) gives. Otherwise it tells the
    /// answer alone.
    fn has_one_chain(&self, _task: &str) -> bool {
        true
    }

    /// All that one use of the data depends on, for the markers of the stages.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    fn fingerprint(&self, of: DataUse) -> Result<Value>;
}

/// The corpus that the settings ask for.
///
/// # Errors
/// When a task cannot be built or a file cannot be read, and for data that a program brings along itself.
pub fn corpus(settings: &Settings) -> Result<Arc<dyn Corpus>> {
    Ok(match &settings.data {
        DataSettings::Generated(tasks) => Arc::new(GeneratedCorpus::new(tasks, settings.seed)?),
        DataSettings::Files(files) => Arc::new(FileCorpus::read(files)?),
        DataSettings::Own(name) => {
            let right = "data that are drawn or read; those of a program of one's own it has to bring, by `Pipeline::open_with`";
            return Err(PipelineError::settings("data.own", name, right));
        }
    })
}
