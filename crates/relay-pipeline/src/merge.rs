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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use relay_tasks::{Chain, Example};

    use super::*;
    use crate::{ChainSettings, chains::write_chains};

    /// Table 3: all of the original part, and every chain as the looped model wrote it, wrong or not.
    #[test]
    fn the_merged_set_is_the_original_part_and_the_written_chains() {
        let settings = crate::preset("smoke", 1).unwrap();
        let corpus = crate::corpus(&settings).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let [chains, merged] = ["chains.jsonl", "merged.jsonl"].map(|name| dir.path().join(name));
        let all = ChainSettings {
            min_confidence: 0.0,
            tries: 1,
        };
        let codec = corpus.codec();
        let one = codec.vocab.id("1").unwrap();
        let write = |examples: &[Example]| {
            let chain = |example: &Example| {
                let problem = codec.decode_chain(example, &Chain::default());
                let truth = corpus.truth(&problem).unwrap();
                let mut steps = codec.encode(&truth).unwrap().steps;
                // Mostly wrong.
                steps[0][0] = one;
                Chain {
                    confidence: vec![1.0; steps.len()],
                    answer: Some(one),
                    answer_confidence: 1.0,
                    steps,
                }
            };
            Ok(examples.iter().map(chain).collect())
        };
        let counts = write_chains(corpus.as_ref(), &all, None, &chains, write).unwrap();
        let kept: usize = counts.values().map(|count| count.kept).sum();
        let batching = &settings.ar_baseline.batching;
        let lines = merge(corpus.as_ref(), batching, &chains, &merged, 7).unwrap();
        let original = corpus.original(batching).unwrap();
        assert!(
            kept > 100 && lines == original.len() + kept,
            "{kept} {lines}"
        );

        let sorted = |mut problems: Vec<Problem>| {
            problems.sort_by(|a, b| (&a.task, &a.prompt).cmp(&(&b.task, &b.prompt)));
            problems
        };
        let mut by: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
        let sources = read_lines::<MergedLine>(&merged).unwrap();
        for (line, problem) in sources.iter().zip(read_merged(&merged).unwrap()) {
            by.entry(format!("{:?}", line.source))
                .or_default()
                .push(problem);
        }
        assert_eq!(sorted(by.remove("Original").unwrap()), sorted(original));
        let written = read_chains(&chains, corpus.codec()).unwrap();
        assert!(
            written
                .iter()
                .all(|problem| problem.steps[0].starts_with('1'))
        );
        assert_eq!(sorted(by.remove("Looped").unwrap()), sorted(written));
        assert!(by.is_empty());

        // Another seed is another order of the same.
        let first = fs::read_to_string(&merged).unwrap();
        merge(corpus.as_ref(), batching, &chains, &merged, 8).unwrap();
        let second = fs::read_to_string(&merged).unwrap();
        assert_ne!(first, second);
        let lines = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&first), lines(&second));
    }
}
