//! Accuracy on problems that are not trained on, during training.

use std::collections::BTreeMap;

use burn::tensor::backend::AutodiffBackend;
use relay_tasks::{Chain, Codec, Example, score};
use serde::{Deserialize, Serialize};

use crate::objective::InnerModel;
use crate::{Objective, Result, TrainError};

/// Accuracies of one task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validated {
    /// Problems.
    pub samples: usize,
    /// Share of right answers.
    pub answer_accuracy: f64,
    /// Share of the chains' tokens that stand at their place; none for models that write no chains.
    pub bit_accuracy: Option<f64>,
    /// Share of chains without any wrong token.
    pub chain_accuracy: Option<f64>,
}

/// The first `samples` of `examples` of each task.
pub(crate) fn first_of_each_task(examples: &[Example], samples: usize) -> Vec<Example> {
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    let within = |example: &&Example| {
        let count = taken.entry(example.task).or_insert(0);
        *count += 1;
        *count <= samples
    };
    examples.iter().filter(within).cloned().collect()
}

/// That a writer gave one chain for each of `examples`, as it has to: one that is missing would give the others to problems that
/// are not theirs.
///
/// # Errors
/// When there is another number of them.
pub fn check_chains(examples: &[Example], chains: &[Chain]) -> Result<()> {
    let (right, found) = (examples.len(), chains.len());
    if right == found {
        return Ok(());
    }
    let what = "the number of chains that were written";
    let expected = format!("{right}, one for each problem, in their order");
    Err(TrainError::input(what, found, expected))
}

/// Has `model` write a chain for each example and compares, by name of the task.
pub(crate) fn validate<B: AutodiffBackend, O: Objective<B>>(
    objective: &O,
    model: &InnerModel<B, O>,
    examples: &[Example],
    codec: &Codec,
    device: &B::Device,
) -> Result<BTreeMap<String, Validated>> {
    let chains = objective.write_chains(model, examples, device)?;
    check_chains(examples, &chains)?;
    let writes_steps = objective.writes_steps(model);
    let mut sums: BTreeMap<usize, [usize; 5]> = BTreeMap::new();
    for (example, chain) in examples.iter().zip(&chains) {
        let score = score(example, chain);
        let one = [
            1,
            usize::from(score.answer),
            usize::from(score.chain),
            score.right,
            score.total,
        ];
        let sum = sums.entry(example.task).or_default();
        *sum = std::array::from_fn(|i| sum[i] + one[i]);
    }
    let share = |part: usize, all: usize| part as f64 / all.max(1) as f64;
    let named = sums
        .into_iter()
        .map(|(task, [samples, answers, chains, right, total])| {
            let validated = Validated {
                samples,
                answer_accuracy: share(answers, samples),
                bit_accuracy: writes_steps.then(|| share(right, total)),
                chain_accuracy: writes_steps.then(|| share(chains, samples)),
            };
            (codec.tasks[task].name.clone(), validated)
        });
    Ok(named.collect())
}
