//! The loss of the auto-regressive models against one written down anew.

use crate::common::*;
use crate::losses::{close, total};
use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use relay_tasks::Example;

/// The next-token loss written down anew: of each task the mean over the tokens of steps, answer and `<eos>`, which are not
/// the problem's.
fn next_tokens_by_hand(examples: &[Example], weights: &[f64]) -> f64 {
    let (codec, device) = (codec(), Default::default());
    let model = causal(0.0).init::<Flex>(&device, 3).valid();
    let mut sums = vec![(0.0, 0); codec.tasks.len()];
    for example in examples {
        let info = &codec.tasks[example.task];
        let mut chain = Vec::new();
        for step in &example.steps {
            chain.extend(step);
            // Steps of a task that does not end them itself have a `<sep>` between them.
            if info.step_end.is_none() {
                chain.push(relay_tasks::SEP);
            }
        }
        if !info.answer_is_last_step {
            chain.push(example.answer.unwrap());
        } else if info.step_end.is_none() {
            chain.pop();
        }
        chain.push(relay_tasks::EOS);
        let text: Vec<i32> = example
            .prompt
            .iter()
            .chain(&chain)
            .map(|token| *token as i32)
            .collect();
        let data = burn::tensor::TensorData::new(text.clone(), [1, text.len()]);
        let logits = model.forward(Tensor::from_data(data, &device), &[0], None);
        let logits: Vec<f32> = logits.into_data().iter().collect();
        let vocab = codec.vocab.len();
        for (at, token) in (example.prompt.len()..).zip(&chain) {
            let row = &logits[(at - 1) * vocab..at * vocab];
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            let (loss, count) = &mut sums[example.task];
            *loss += sum.ln() - f64::from(row[*token as usize]);
            *count += 1;
        }
    }
    let tasks = sums.iter().zip(weights);
    tasks
        .map(|((loss, count), weight)| weight * loss / *count as f64)
        .sum()
}

#[test]
fn the_next_token_loss_is_the_mean_over_the_chains_of_each_task() {
    let examples = examples();
    for weights in [[1.0, 2.0], [3.0, 0.5]] {
        let right = next_tokens_by_hand(&examples, &weights) as f32;
        let objective = relay_train::CausalObjective {
            task_weights: weights.map(|weight| weight as f32).to_vec(),
            ..next_token()
        };
        let model = causal(0.0).init::<Flex>(&Default::default(), 3);
        close(
            total::<Flex, _>(&objective, &model, &examples).0,
            right,
            1e-5,
        );
        let model = causal(0.0).init::<NdArray>(&Default::default(), 3);
        close(
            total::<NdArray, _>(&objective, &model, &examples).0,
            right,
            1e-4,
        );
    }
}
