//! The auto-regressive model: the next token on steps, answer and `<eos>` (Appendix D).

use burn::tensor::backend::{AutodiffBackend, Backend};
use relay_models::{CausalChain, CausalTransformer, DropoutKey, Work, generate_causal};
use relay_tasks::{
    CausalBatch, Chain, Codec, EOS, Example, GroupLimits, TaskInfo, group_causal, read_chain,
};
use serde_json::{Value, json};

use crate::batch::{last_columns, last_states, tokens};
use crate::loss::judged_readout;
use crate::objective::{
    InnerModel, LossParts, Objective, check_model_settings, check_task_weights, check_vocab,
    count_by_task, mean, shares, task_weight,
};
use crate::{Effort, Result};

/// Next-token cross-entropy, the mean over the target tokens of each task.
#[derive(Debug, Clone, PartialEq)]
pub struct CausalObjective {
    /// Weight of each task in the loss; empty for 1 each.
    pub task_weights: Vec<f32>,
    /// How large a micro-batch may be.
    pub limits: GroupLimits,
    /// Tasks and vocabulary.
    pub codec: Codec,
}

/// A micro-batch of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct CausalMicroBatch {
    /// Tokens, targets and weights.
    pub host: CausalBatch,
    /// Weight of the task.
    pub weight: f32,
}

impl CausalObjective {
    /// The objective of the auto-regressive models.
    pub fn new(task_weights: Vec<f32>, limits: GroupLimits, codec: Codec) -> Self {
        Self {
            task_weights,
            limits,
            codec,
        }
    }
}

impl<B: AutodiffBackend> Objective<B> for CausalObjective {
    type Model = CausalTransformer<B>;
    type Batch = CausalMicroBatch;

    fn name(&self) -> &str {
        "auto-regressive"
    }

    fn settings(&self) -> Value {
        json!({ "task_weights": self.task_weights, "limits": self.limits })
    }

    fn codec(&self) -> Option<&Codec> {
        Some(&self.codec)
    }

    fn check_model(&self, model: &CausalTransformer<B>) -> Result<()> {
        check_vocab(model.config().transformer.vocab, &self.codec)
    }

    fn check_settings(&self, model: &CausalTransformer<B>, settings: &Value) -> Result<()> {
        check_model_settings(model.config(), settings)
    }

    fn collate(&self, examples: &[Example]) -> Result<Vec<CausalMicroBatch>> {
        check_task_weights(&self.task_weights, self.codec.tasks.len())?;
        self.limits.validate()?;
        let info = &self.codec.tasks;
        let targets =
            |example: &Example| Ok(CausalBatch::targets_of(example, &info[example.task])?);
        let tokens = count_by_task(examples, &self.codec, targets)?;
        let batch = |group: Vec<usize>| {
            let members: Vec<&Example> = group.iter().map(|&index| &examples[index]).collect();
            let task = members[0].task;
            let weight = task_weight(&self.task_weights, task);
            let host = CausalBatch::new(&members, &info[task], weight / tokens[task] as f32)?;
            Ok(CausalMicroBatch { host, weight })
        };
        group_causal(examples, info, &self.limits)?
            .into_iter()
            .map(batch)
            .collect()
    }

    fn widen(&self, batch: CausalMicroBatch, columns: usize) -> CausalMicroBatch {
        let width = batch.host.width.next_multiple_of(columns.max(1));
        CausalMicroBatch {
            host: batch.host.widened(width),
            ..batch
        }
    }

    fn share(&self, batch: CausalMicroBatch, workers: usize) -> Vec<Option<CausalMicroBatch>> {
        let part = |rows| CausalMicroBatch {
            host: batch.host.rows(rows),
            weight: batch.weight,
        };
        shares(batch.host.size, workers)
            .map(|rows| rows.map(part))
            .collect()
    }

    fn loss(
        &self,
        model: &CausalTransformer<B>,
        batch: &CausalMicroBatch,
        key: DropoutKey,
        device: &B::Device,
    ) -> LossParts<B> {
        let CausalMicroBatch { host, weight } = batch;
        let states = model.states(
            tokens(&host.tokens, host.size, host.width, device),
            &host.pads,
            Some(key),
        );
        // Problems are not learnt to be written, so only the columns of the chains are read out.
        let states = last_states(&states, host.columns);
        let [size, columns, d_model] = states.dims();
        let states = states.reshape([size * columns, d_model]);
        let targets = last_columns(&host.targets, host.width, columns);
        let weights = last_columns(&host.weights, host.width, columns);
        let norm = Some(&model.block.norm_final);
        let (total, guesses) = judged_readout(&model.head, norm, states, &targets, &weights);
        LossParts {
            answer: total.clone().inner(),
            total,
            steps: None,
            guesses: vec![guesses],
            task: host.task,
            weight: *weight,
        }
    }

    /// The head reads the columns of the chains.
    fn effort(&self, batch: &CausalMicroBatch) -> Effort {
        let (size, width) = (batch.host.size, batch.host.width);
        Effort {
            tokens: (size * width) as u64,
            learnt: Work {
                readouts: (size * batch.host.columns) as u64,
                ..Work::windows(size, width, 1)
            },
            forward: Work::default(),
        }
    }

    fn write_chains(
        &self,
        model: &InnerModel<B, Self>,
        examples: &[Example],
        device: &B::Device,
    ) -> Result<Vec<Chain>> {
        write_causal_chains(model, examples, &self.codec, device)
    }
}

/// Greedy chains of an auto-regressive model for any number of examples, solved or not, in their order, as text of `codec`.
///
/// On a GPU within [`with_generation_of`](crate::with_generation_of), which lets kernels multiply in bf16.
///
/// # Errors
/// When an example is of no task of the codec or does not fit the model.
pub fn write_causal_chains<B: Backend>(
    model: &CausalTransformer<B>,
    examples: &[Example],
    codec: &Codec,
    device: &B::Device,
) -> Result<Vec<Chain>> {
    count_by_task(examples, codec, |_| Ok(1))?;
    let prompts: Vec<Vec<u32>> = examples
        .iter()
        .map(|example| example.prompt.clone())
        .collect();
    let limits: Vec<usize> = examples.iter().map(longest_chain).collect();
    let written = generate_causal(model, &prompts, EOS, &limits, device)?;
    let chains = examples.iter().zip(&written);
    let chains = chains.map(|(example, written)| read(&codec.tasks[example.task], written));
    Ok(chains.collect())
}

/// No right chain has more tokens: its steps fit into the window and may each have a `<sep>` after them, then come the
/// answer and `<eos>`.
fn longest_chain(example: &Example) -> usize {
    example.iterations * (example.width + 1) + 8
}

/// Finds steps and answer again, with the probabilities of their tokens.
fn read(info: &TaskInfo, written: &CausalChain) -> Chain {
    let mut chain = read_chain(info, &written.tokens);
    if !written.ended
        && let Some(cut) = chain.answer.take()
        && !info.answer_is_last_step
    {
        // A text that goes on for ever was cut here: what would be the answer is the beginning of one more step.
        chain.steps.push(vec![cut]);
    }
    let mut at = 0;
    for step in &chain.steps {
        let own = written
            .probabilities
            .get(at..at + step.len())
            .unwrap_or_default();
        chain.confidence.push(mean(own));
        at += step.len() + usize::from(info.step_end.is_none());
    }
    if chain.answer.is_some() {
        // The answer is the last thing that is written, as the last step or after it.
        chain.answer_confidence = written.probabilities.last().copied().unwrap_or(0.0);
    }
    chain
}

#[cfg(test)]
mod tests {
    use relay_tasks::{SEP, TaskConfig};

    use super::*;

    /// The confidence of a step is the mean over its own tokens, of which an inserted `<sep>` is none.
    #[test]
    fn every_step_has_its_own_confidence() {
        let codec = Codec::for_tasks(&[TaskConfig::Ari(Default::default()).build().unwrap()]);
        let codec = codec.unwrap();
        let (one, end) = (
            codec.vocab.id("1").unwrap(),
            codec.tasks[0].step_end.unwrap(),
        );
        let separated = TaskInfo {
            step_end: None,
            answer_is_last_step: false,
            ..codec.tasks[0].clone()
        };
        let of = |info, tokens: [u32; 6]| {
            let written = CausalChain {
                tokens: tokens.to_vec(),
                probabilities: vec![0.1, 0.3, 0.5, 0.7, 0.8, 0.9],
                ended: true,
            };
            let Chain {
                confidence,
                answer_confidence,
                ..
            } = read(info, &written);
            (confidence, answer_confidence)
        };
        let text = [one, end, one, one, end, one];
        let third = (0.5_f32 + 0.7 + 0.8) / 3.0;
        let (found, answer) = of(&codec.tasks[0], text);
        assert_eq!((found.len(), answer), (3, 0.9));
        for (found, right) in found.iter().zip([0.2, third, 0.9]) {
            assert!((found - right).abs() < 1e-6, "{found}");
        }
        let (found, answer) = of(&separated, [one, SEP, one, one, SEP, one]);
        assert_eq!((found.len(), answer), (2, 0.9));
        for (found, right) in found.iter().zip([0.1, 0.6]) {
            assert!((found - right).abs() < 1e-6, "{found}");
        }
    }

    #[test]
    fn a_text_without_an_end_has_no_answer() {
        for (task, last_step_is_answer) in [("lis", false), ("ed", false), ("ari", true)] {
            let config = match task {
                "lis" => TaskConfig::Lis(Default::default()),
                "ed" => TaskConfig::Ed(Default::default()),
                _ => TaskConfig::Ari(Default::default()),
            };
            let codec = Codec::for_tasks(&[config.build().unwrap()]).unwrap();
            let info = &codec.tasks[0];
            let token = codec.vocab.id("1").unwrap();
            let end = info.step_end.unwrap_or(SEP);
            let written = |ended| CausalChain {
                tokens: vec![token, end, token],
                probabilities: vec![0.5; 3],
                ended,
            };
            let whole = read(info, &written(true));
            assert_eq!(whole.answer, Some(token), "{task}");
            assert_eq!(whole.steps.len(), if last_step_is_answer { 2 } else { 1 });
            let cut = read(info, &written(false));
            assert_eq!((cut.answer, cut.steps.len()), (None, 2), "{task}");
            assert_eq!(cut.steps[1], [token]);
            assert_eq!(cut.confidence, [0.5, 0.5]);
        }
    }
}
