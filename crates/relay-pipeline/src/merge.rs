//! Merging: the original data and the looped model's chains, in the proportions of Table 3.

use std::path::Path;

use relay_tasks::{Problem, Stream};
use relay_train::Batching;

use crate::{
    Corpus, Result,
    chains::read_chains,
    line_file::{LineFile, read_lines},
};
use serde::{Deserialize, Serialize};

/// One line of `merged.jsonl`: a problem with its solution, and who wrote that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergedLine {
    /// Who wrote the chain.
    pub source: Origin,
    /// Name of the task.
    pub task: String,
    /// Problem length.
    pub length: usize,
    /// The problem.
    pub problem: String,
    /// The steps.
    pub steps: Vec<String>,
    /// The answer.
    pub answer: String,
}

/// Who wrote a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It came with the original data.
    Original,
    /// The looped model wrote it.
    Looped,
    /// The auto-regressive model wrote it for itself.
    Own,
}

impl MergedLine {
    /// A problem with its solution and its author.
    pub(crate) fn new(source: Origin, problem: Problem) -> Self {
        Self {
            source,
            task: problem.task,
            length: problem.length,
            problem: problem.prompt,
            steps: problem.steps,
            answer: problem.answer,
        }
    }
}

/// Writes the original data and the chains of `chains` to `merged`, in an order that depends on `seed` alone; gives the
/// number of lines. `batching` is that of the training before, see [`Corpus::original`].
///
/// # Errors
/// When the chains cannot be read or the merged file cannot be written.
pub fn merge(
    corpus: &dyn Corpus,
    batching: &Batching,
    chains: &Path,
    merged: &Path,
    seed: u64,
) -> Result<usize> {
    let original = corpus
        .original(batching)?
        .into_iter()
        .map(|problem| MergedLine::new(Origin::Original, problem));
    let longer = read_chains(chains, corpus.codec())?
        .into_iter()
        .map(|problem| MergedLine::new(Origin::Looped, problem));
    let mut lines: Vec<MergedLine> = original.chain(longer).collect();
    Stream::named(seed, "merge", &[]).shuffle(&mut lines);
    write_merged(merged, &lines)?;
    Ok(lines.len())
}

/// Writes a merged file, whole or not at all.
pub(crate) fn write_merged(file: &Path, lines: &[MergedLine]) -> Result<()> {
    let mut writer = LineFile::create(file)?;
    lines.iter().try_for_each(|line| writer.line(line))?;
    writer.finish()
}

/// The problems of a merged file.
///
/// # Errors
/// When the file cannot be read or a line is not of the form; the line is named.
pub fn read_merged(file: &Path) -> Result<Vec<Problem>> {
    let problem = |line: MergedLine| Problem {
        task: line.task,
        length: line.length,
        prompt: line.problem,
        steps: line.steps,
        answer: line.answer,
    };
    Ok(read_lines(file)?.into_iter().map(problem).collect())
}
