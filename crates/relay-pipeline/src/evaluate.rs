//! Measuring an arm on the test problems: accuracy by length, and the hit matrix.

use std::collections::BTreeMap;

use relay_tasks::{Chain, Example, Score, hits, score};
use relay_train::check_chains;
use serde::{Deserialize, Serialize};

use crate::{
    Corpus, EvaluationSettings, HitMatrix, OrderedMap, Result, TaskForensics, forensics::Forensics,
};

/// Counts of one arm on one task and length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Problems.
    pub problems: usize,
    /// Problems with the right answer.
    pub answers: usize,
    /// Problems whose chain has no wrong token.
    pub chains: usize,
    /// Tokens of the chains that stand at their place.
    pub right: usize,
    /// Tokens that count: those of the true chain, and the surplus of steps that are too long.
    pub total: usize,
}

impl Counts {
    /// Adds the score of one problem.
    pub fn add(&mut self, score: &Score) {
        self.problems += 1;
        self.answers += usize::from(score.answer);
        self.chains += usize::from(score.chain);
        self.right += score.right;
        self.total += score.total;
    }
}

/// What was measured of one arm, as a stage keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Whether the arm writes chains; without them only answers count.
    pub writes_chains: bool,
    /// Task, length, counts.
    pub by_length: BTreeMap<String, BTreeMap<usize, Counts>>,
    /// Task, length and hit matrix wherever the settings ask for one.
    pub hit_matrices: Vec<(String, usize, HitMatrix)>,
    /// Task to where its chains go wrong; empty for an arm that writes none.
    #[serde(default)]
    pub forensics: OrderedMap<TaskForensics>,
}

/// Measures an arm, whose chains `write` writes, on `examples`.
///
/// # Errors
/// What `write` returns.
pub fn evaluate(
    corpus: &dyn Corpus,
    settings: &EvaluationSettings,
    examples: &[Example],
    writes_chains: bool,
    mut write: impl FnMut(&[Example]) -> Result<Vec<Chain>>,
) -> Result<Measured> {
    let mut measured = Measured {
        writes_chains,
        ..Measured::default()
    };
    let places = settings.hit_matrices.iter();
    let mut hits: Vec<_> = places.map(|place| (place, HitCounts::default())).collect();
    let mut forensics = Forensics::default();
    // Neighbours have one task and length, so that little of a batch is padding.
    for part in examples.chunks(512) {
        let chains = write(part)?;
        check_chains(part, &chains)?;
        for (example, chain) in part.iter().zip(chains) {
            let name = &corpus.codec().tasks[example.task].name;
            let of_task = measured.by_length.entry(name.clone()).or_default();
            of_task
                .entry(example.length)
                .or_default()
                .add(&score(example, &chain));
            if writes_chains {
                forensics.add(example, &chain);
            }
            for ((task, length), hits) in &mut hits {
                if writes_chains && task == name && *length == example.length {
                    hits.add(example, &chain);
                }
            }
        }
    }
    let shares = |((task, length), hits): (&(String, usize), HitCounts)| {
        Some((task.clone(), *length, hits.shares()?))
    };
    measured.hit_matrices = hits.into_iter().filter_map(shares).collect();
    measured.forensics = forensics.finish(corpus.codec());
    Ok(measured)
}

/// Right and counted tokens of each place of each step.
#[derive(Debug, Default)]
struct HitCounts {
    // From right to left, as windows are aligned: problems of one length may have steps of other widths.
    steps: Vec<Vec<(usize, usize)>>,
}

impl HitCounts {
    fn add(&mut self, truth: &Example, written: &Chain) {
        let columns = truth.steps.iter().map(Vec::len).max().unwrap_or(0);
        for (step, row) in hits(truth, written, columns).into_iter().enumerate() {
            if self.steps.len() <= step {
                self.steps.resize(step + 1, Vec::new());
            }
            let cells = &mut self.steps[step];
            cells.resize(cells.len().max(row.len()), (0, 0));
            for (cell, hit) in cells.iter_mut().zip(row.into_iter().rev()) {
                if let Some(hit) = hit {
                    cell.0 += usize::from(hit);
                    cell.1 += 1;
                }
            }
        }
    }

    fn shares(self) -> Option<HitMatrix> {
        let columns = self.steps.iter().map(Vec::len).max()?;
        let share =
            |(right, total): (usize, usize)| (total > 0).then(|| right as f64 / total as f64);
        let row = |mut cells: Vec<(usize, usize)>| {
            cells.resize(columns, (0, 0));
            cells.into_iter().rev().map(share).collect()
        };
        Some(self.steps.into_iter().map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_of_a_hit_matrix_is_the_end_of_every_step() {
        let example = |steps: &[&[u32]]| {
            let steps: Vec<Vec<_>> = steps.iter().map(|step| step.to_vec()).collect();
            Example {
                task: 0,
                length: 2,
                iterations: steps.len(),
                width: 4,
                prompt: vec![3, 4],
                steps,
                answer: Some(9),
            }
        };
        let written = |steps: &[&[u32]]| Chain {
            steps: steps.iter().map(|step| step.to_vec()).collect(),
            answer: Some(9),
            confidence: vec![1.0; steps.len()],
            answer_confidence: 1.0,
        };
        let mut counts = HitCounts::default();
        // The ends are right, what comes before them is wrong.
        counts.add(&example(&[&[5, 6, 1]]), &written(&[&[7, 7, 1]]));
        counts.add(
            &example(&[&[5, 1], &[5, 5, 5, 1]]),
            &written(&[&[7, 1], &[7, 7, 7, 1]]),
        );
        let wrong = Some(0.0);
        assert_eq!(
            counts.shares().unwrap(),
            [
                [None, wrong, wrong, Some(1.0)],
                [wrong, wrong, wrong, Some(1.0)]
            ]
        );
    }
}
