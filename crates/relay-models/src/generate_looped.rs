//! Greedy generation with the looped model: a whole chain in T passes (section 3.3).

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;
use relay_kernels::Choices;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{ModelError, Result};
use crate::greedy::Logits;
use crate::indices::indices;
use crate::looped::{LoopedInput, LoopedTransformer};

/// Right-aligned problems to write chains for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopedPrompts {
    /// `[size, width]`, row by row.
    pub tokens: Vec<i32>,
    /// Number of problems.
    pub size: usize,
    /// Columns of the window.
    pub width: usize,
    /// Padding on the left of each problem.
    pub pads: Vec<usize>,
    /// Iterations of each problem, at least 1.
    pub iterations: Vec<usize>,
}

/// What the looped model wrote for one problem.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LoopedChain {
    /// One row of `width` most probable tokens for each iteration; empty without a step head.
    pub columns: Vec<Vec<u32>>,
    /// Their probabilities.
    pub probabilities: Vec<Vec<f32>>,
    /// The most probable answer.
    pub answer: u32,
    /// Its probability.
    pub answer_probability: f32,
}

/// What [`decode_looped`] needs of a model that holds the states of a batch.
pub trait LoopedDecoder {
    /// The most probable tokens of some rows, chosen now or, on a device, later.
    type Choices;

    /// Applies the block to all states; the first iteration is 1.
    fn iterate(&mut self, iteration: usize);
    /// Chooses for every column of every state, `samples * width` rows; None without a step head.
    fn steps(&mut self) -> Option<Self::Choices>;
    /// Chooses the answers of the states in `rows`.
    fn answers(&mut self, rows: &[usize]) -> Self::Choices;
    /// What has been chosen, of each row the token and its probability.
    fn read(choices: Vec<Self::Choices>) -> Vec<Vec<(u32, f32)>>;
    /// Drops all states but those in `rows`.
    fn keep(&mut self, rows: &[usize]);
}

/// Writes chains for a batch; every sample leaves at its own number of iterations.
///
/// A sample's chain does not depend on what else is in the batch, up to rounding: in a wider window positions and sums
/// are others. Call it with [`valid()`](burn::module::AutodiffModule::valid) models: a model under autodiff keeps its
/// graphs.
///
/// # Errors
/// [`ModelError::Input`] for lengths that do not agree, prompts of padding alone, tokens outside the vocabulary and zero
/// iterations.
pub fn generate_looped<B: Backend>(
    model: &LoopedTransformer<B>,
    prompts: &LoopedPrompts,
    device: &B::Device,
) -> Result<Vec<LoopedChain>> {
    prompts.validate(model.config().transformer.vocab)?;
    if prompts.size == 0 {
        return Ok(Vec::new());
    }
    let tokens = TensorData::new(prompts.tokens.clone(), [prompts.size, prompts.width]);
    let tokens = Tensor::<B, 2, Int>::from_data(tokens, device);
    let input = LoopedInput {
        tokens,
        pads: prompts.pads.clone(),
        dropout: None,
    };
    let context = model.context(&input);
    let embedded = model.embed(input.tokens, &context);
    let mut states = States {
        model,
        context,
        state: embedded.clone(),
        embedded,
    };
    Ok(decode_looped(
        &mut states,
        prompts.width,
        &prompts.iterations,
    ))
}

/// The bookkeeping of [`generate_looped`] over any model: `iterations` has one entry a sample, at least 1.
///
/// # Panics
/// If the model chooses for fewer rows than it was asked for, for another number of answers, or in fewer lists.
pub fn decode_looped<D: LoopedDecoder>(
    model: &mut D,
    width: usize,
    iterations: &[usize],
) -> Vec<LoopedChain> {
    let mut chains = vec![LoopedChain::default(); iterations.len()];
    let mut live: Vec<usize> = (0..iterations.len()).collect();
    // What was chosen, and for which samples: read in the end, as the host would wait for its device at every iteration.
    let (mut steps, mut answers) = (Vec::new(), Vec::new());
    let mut iteration = 0;
    while !live.is_empty() {
        iteration += 1;
        model.iterate(iteration);
        if let Some(chosen) = model.steps() {
            steps.push((live.clone(), chosen));
        }
        let (done, going): (Vec<usize>, Vec<usize>) =
            (0..live.len()).partition(|row| iterations[live[*row]] <= iteration);
        if done.is_empty() {
            continue;
        }
        let samples: Vec<usize> = done.iter().map(|row| live[*row]).collect();
        answers.push((samples, model.answers(&done)));
        if !going.is_empty() {
            model.keep(&going);
        }
        live = going.iter().map(|row| live[*row]).collect();
    }
    let steps = read::<D>(steps);
    chains
        .par_iter_mut()
        .enumerate()
        .for_each(|(sample, chain)| {
            for (samples, best) in &steps {
                // In ascending order, as they were in the beginning.
                let Ok(row) = samples.binary_search(&sample) else {
                    break;
                };
                let best = &best[row * width..(row + 1) * width];
                chain.columns.push(best.iter().map(|best| best.0).collect());
                let probabilities = best.iter().map(|best| best.1).collect();
                chain.probabilities.push(probabilities);
            }
        });
    for (samples, best) in read::<D>(answers) {
        assert_eq!(best.len(), samples.len(), "answers that were chosen");
        for (sample, (answer, probability)) in samples.iter().zip(best) {
            chains[*sample].answer = answer;
            chains[*sample].answer_probability = probability;
        }
    }
    chains
}

/// The most probable tokens, with the samples that they were chosen for.
type Read = (Vec<usize>, Vec<(u32, f32)>);

/// Waits for all that was chosen.
fn read<D: LoopedDecoder>(chosen: Vec<(Vec<usize>, D::Choices)>) -> Vec<Read> {
    let (samples, choices): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
    let read = D::read(choices);
    assert_eq!(read.len(), samples.len(), "lists of what was chosen");
    samples.into_iter().zip(read).collect()
}

impl LoopedPrompts {
    fn validate(&self, vocab: usize) -> Result<()> {
        let lengths = [
            (
                "tokens",
                self.tokens.len(),
                self.size.saturating_mul(self.width),
            ),
            ("pads", self.pads.len(), self.size),
            ("iterations", self.iterations.len(), self.size),
        ];
        for (field, found, right) in lengths {
            if found != right {
                return Err(ModelError::input(
                    format!("number of `{field}`"),
                    found,
                    right.to_string(),
                ));
            }
        }
        for (sample, (pads, iterations)) in self.pads.iter().zip(&self.iterations).enumerate() {
            if *pads >= self.width {
                let expected = format!("less than the width, {}", self.width);
                return Err(ModelError::input(
                    format!("padding of prompt {sample}"),
                    pads,
                    expected,
                ));
            }
            if *iterations == 0 {
                return Err(ModelError::input(
                    format!("iterations of prompt {sample}"),
                    0,
                    "at least 1",
                ));
            }
        }
        let outside = |token: &i32| usize::try_from(*token).map_or(true, |token| token >= vocab);
        match self.tokens.iter().position(outside) {
            Some(at) => {
                let what = format!("token {} of prompt {}", at % self.width, at / self.width);
                Err(ModelError::input(
                    what,
                    self.tokens[at],
                    format!("in 0..{vocab}, the vocabulary"),
                ))
            }
            None => Ok(()),
        }
    }
}

/// The live states of a batch.
struct States<'a, B: Backend> {
    model: &'a LoopedTransformer<B>,
    context: Context<B>,
    embedded: Tensor<B, 3>,
    state: Tensor<B, 3>,
}

impl<B: Backend> States<'_, B> {
    fn indices(&self, rows: &[usize]) -> Tensor<B, 1, Int> {
        indices(rows, &self.state.device())
    }

    /// `[rows, d_model]`.
    fn last_columns(&self, rows: &[usize]) -> Tensor<B, 2> {
        let [size, width, d_model] = self.state.dims();
        self.state
            .clone()
            .slice([0..size, width - 1..width, 0..d_model])
            .reshape([size, d_model])
            .select(0, self.indices(rows))
    }
}

impl<B: Backend> LoopedDecoder for States<'_, B> {
    type Choices = Choices<B>;

    fn iterate(&mut self, iteration: usize) {
        self.state =
            self.model
                .iterate(self.state.clone(), &self.embedded, iteration, &self.context);
    }

    fn steps(&mut self) -> Option<Choices<B>> {
        self.model.best_step(&self.state).or_else(|| {
            let logits = self.model.step_logits(self.state.clone())?;
            let [size, width, vocab] = logits.dims();
            Some(choose(logits.reshape([size * width, vocab])))
        })
    }

    fn answers(&mut self, rows: &[usize]) -> Choices<B> {
        let columns = self.last_columns(rows);
        let fused = self.model.best_answer(&columns);
        fused.unwrap_or_else(|| choose(self.model.answer_logits(columns)))
    }

    fn read(choices: Vec<Choices<B>>) -> Vec<Vec<(u32, f32)>> {
        Choices::read_all(choices)
    }

    fn keep(&mut self, rows: &[usize]) {
        let indices = self.indices(rows);
        self.state = self.state.clone().select(0, indices.clone());
        self.embedded = self.embedded.clone().select(0, indices);
        self.context = self.context.kept(rows);
    }
}

/// The most probable tokens by their logits, on the host.
fn choose<B: Backend>(logits: Tensor<B, 2>) -> Choices<B> {
    let chosen: Vec<_> = Logits::read(logits).greedy().collect();
    chosen.into()
}
