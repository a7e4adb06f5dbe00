//! Chains of a looped model, read off its iterations.

use burn::tensor::backend::Backend;
use relay_models::{LoopedChain, LoopedPrompts, LoopedTransformer, generate_looped};
use relay_tasks::{Chain, Example, GroupLimits, LoopedBatch, group_looped, read_step};

use crate::{Result, objective::mean};

/// Groups for writing chains: samples leave at their own T, so idle iterations cost nothing there.
const GENERATION: GroupLimits = GroupLimits {
    max_samples: 128,
    max_tokens: 16_384,
    max_waste: 0.3,
};

/// Greedy chains of a looped model for any number of examples, solved or not, in their order: step t is what iteration t spells.
///
/// On a GPU within [`with_generation_of`](crate::with_generation_of), which lets kernels multiply in bf16.
///
/// # Errors
/// When an example does not fit the model: a token is none of its vocabulary, there is no problem, or no iteration.
pub fn write_looped_chains<B: Backend>(
    model: &LoopedTransformer<B>,
    examples: &[Example],
    device: &B::Device,
) -> Result<Vec<Chain>> {
    let mut chains = vec![Chain::default(); examples.len()];
    for group in group_looped(examples, &GENERATION) {
        let members: Vec<&Example> = group.iter().map(|&index| &examples[index]).collect();
        let LoopedBatch {
            tokens,
            size,
            width,
            pads,
            sample_iterations,
            ..
        } = LoopedBatch::prompts(&members)?;
        let prompts = LoopedPrompts {
            tokens,
            size,
            width,
            pads,
            iterations: sample_iterations,
        };
        let written = generate_looped(model, &prompts, device)?;
        for (index, written) in group.into_iter().zip(written) {
            chains[index] = read(&written, examples[index].width);
        }
    }
    Ok(chains)
}

/// Cuts every row of columns right of its last pad, and to the example's own `width`: what stands left of that depends
/// on the batch that the example happened to be in.
fn read(written: &LoopedChain, width: usize) -> Chain {
    let mut chain = Chain {
        answer: Some(written.answer),
        answer_confidence: written.answer_probability,
        ..Chain::default()
    };
    for (columns, probabilities) in written.columns.iter().zip(&written.probabilities) {
        let step = read_step(&columns[columns.len().saturating_sub(width)..]);
        let own = &probabilities[columns.len() - step.len()..];
        chain.confidence.push(mean(own));
        chain.steps.push(step.to_vec());
    }
    chain
}

#[cfg(test)]
mod tests {
    use relay_tasks::PAD;

    use super::*;

    /// A batch may be wider than the example, and what stands left of a step is none of it.
    #[test]
    fn every_step_has_its_own_confidence() {
        let written = LoopedChain {
            columns: vec![vec![9, PAD, 5, 6], vec![9, 9, PAD, 7], vec![9, 5, 6, 7]],
            probabilities: vec![
                vec![0.1, 0.2, 0.5, 0.7],
                vec![0.1, 0.2, 0.3, 0.9],
                vec![0.1, 0.3, 0.5, 0.7],
            ],
            answer: 7,
            answer_probability: 0.4,
        };
        let chain = read(&written, 3);
        assert_eq!(chain.steps, [vec![5, 6], vec![7], vec![5, 6, 7]]);
        for (found, right) in chain.confidence.iter().zip([0.6, 0.9, 0.5]) {
            assert!((found - right).abs() < 1e-6, "{found}");
        }
        assert_eq!((chain.answer, chain.answer_confidence), (Some(7), 0.4));
    }
}
