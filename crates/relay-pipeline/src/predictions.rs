//! What an arm wrote on each test problem: for whoever compares arms problem by problem, or looks for what its errors have in
//! common.

use std::path::Path;

use relay_tasks::{Chain, Codec, Example, score};
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    arms::evaluation_of,
    line_file::{LineFile, read_lines},
};

/// The file of an arm's evaluation.
pub(crate) const PREDICTIONS: &str = "predictions.jsonl";

/// What an arm wrote on one test problem, a line of `evaluation/ARM/predictions.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Name of the task.
    pub task: String,
    /// Problem length.
    pub length: usize,
    /// The problem.
    pub problem: String,
    /// The steps that the arm wrote; none where it writes no chains.
    pub steps: Vec<String>,
    /// The answer that it gave; `None` where it gave none.
    pub answer: Option<String>,
    /// The true answer.
    pub true_answer: String,
    /// Whether the two are the same.
    pub right: bool,
    /// Whether every step is right, token for token, and there are as many as there should be; `None` where it writes no chains.
    pub right_chain: Option<bool>,
    /// Tokens of the steps that stand at their place.
    pub right_tokens: usize,
    /// Tokens that count: those of the true steps, and what written steps have beyond them.
    pub tokens: usize,
}

impl Prediction {
    /// `truth` with what an arm wrote, which `writes_chains` or answers alone.
    fn of(codec: &Codec, truth: &Example, written: &Chain, writes_chains: bool) -> Self {
        let problem = codec.decode_chain(truth, written);
        let score = score(truth, written);
        let text = |token| codec.vocab.decode(&[token]);
        Self {
            task: problem.task,
            length: problem.length,
            problem: problem.prompt,
            steps: problem.steps,
            answer: written.answer.map(text),
            true_answer: truth.answer.map(text).unwrap_or_default(),
            right: score.answer,
            right_chain: writes_chains.then_some(score.chain),
            right_tokens: score.right,
            tokens: score.total,
        }
    }
}

/// The file while it is written.
#[derive(Debug)]
pub(crate) struct Predictions<'a> {
    lines: LineFile,
    codec: &'a Codec,
    writes_chains: bool,
}

impl<'a> Predictions<'a> {
    /// The file in the directory of an evaluation, of an arm that `writes_chains` or answers alone.
    pub fn create(dir: &Path, codec: &'a Codec, writes_chains: bool) -> Result<Self> {
        Ok(Self {
            lines: LineFile::create(&dir.join(PREDICTIONS))?,
            codec,
            writes_chains,
        })
    }

    /// Adds what was written on some problems, a chain for each: whoever measures checks that, and does not finish the file else.
    pub fn add(&mut self, truth: &[Example], written: &[Chain]) -> Result<()> {
        for (truth, written) in truth.iter().zip(written) {
            let line = Prediction::of(self.codec, truth, written, self.writes_chains);
            self.lines.line(&line)?;
        }
        Ok(())
    }

    /// Puts it in its place.
    pub fn finish(self) -> Result<()> {
        self.lines.finish()
    }
}

/// What an arm of the run in the directory `run` wrote on each test problem, in the order in which all arms have them. A run keeps
/// it where its settings ask for it ([`predictions`](crate::EvaluationSettings::predictions)).
///
/// # Errors
/// When the file is not there, cannot be read, or has a line that is none; the line is named.
pub fn read_predictions(run: &Path, arm: &str) -> Result<Vec<Prediction>> {
    read_lines(&run.join(evaluation_of(arm)).join(PREDICTIONS))
}
