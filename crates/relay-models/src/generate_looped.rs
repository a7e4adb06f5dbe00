//! Greedy generation with the looped model: a whole chain in T passes (section 3.3).

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::context::Context;
use crate::error::{ModelError, Result};
use crate::greedy::Logits;
use crate::looped::{LoopedInput, LoopedTransformer};

/// Right-aligned problems to write chains for.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// Applies the block to all states; the first iteration is 1.
    fn iterate(&mut self, iteration: usize);
    /// Logits of every column of every state, `samples * width` rows; None without a step head.
    fn steps(&mut self) -> Option<Logits>;
    /// Logits of the answers of the states in `rows`.
    fn answers(&mut self, rows: &[usize]) -> Logits;
    /// The most probable tokens of [`steps`](Self::steps) and their probabilities, for models that need no logits for it.
    fn best_steps(&mut self) -> Option<Vec<(u32, f32)>> {
        self.steps().map(|logits| logits.greedy().collect())
    }
    /// The most probable tokens of [`answers`](Self::answers) and their probabilities.
    fn best_answers(&mut self, rows: &[usize]) -> Vec<(u32, f32)> {
        self.answers(rows).greedy().collect()
    }
    /// Drops all states but those in `rows`.
    fn keep(&mut self, rows: &[usize]);
}

/// Writes chains for a batch; every sample leaves at its own number of iterations.
///
/// A sample's chain does not depend on what else is in the batch. Call it with
/// [`valid()`](burn::module::AutodiffModule::valid) models: a model under autodiff keeps its graphs.
///
/// # Errors
/// [`ModelError::Input`] for lengths that do not agree, tokens outside the vocabulary and zero iterations.
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
pub fn decode_looped(
    model: &mut impl LoopedDecoder,
    width: usize,
    iterations: &[usize],
) -> Vec<LoopedChain> {
    let mut chains = vec![LoopedChain::default(); iterations.len()];
    let mut live: Vec<usize> = (0..iterations.len()).collect();
    let mut iteration = 0;
    while !live.is_empty() {
        iteration += 1;
        model.iterate(iteration);
        if let Some(best) = model.best_steps() {
            for (sample, best) in live.iter().zip(best.chunks(width.max(1))) {
                let (tokens, probabilities) = best.iter().copied().unzip();
                chains[*sample].columns.push(tokens);
                chains[*sample].probabilities.push(probabilities);
            }
        }
        let (done, going): (Vec<usize>, Vec<usize>) =
            (0..live.len()).partition(|row| iterations[live[*row]] <= iteration);
        if done.is_empty() {
            continue;
        }
        let answers = model.best_answers(&done);
        for (row, (answer, probability)) in done.iter().zip(answers) {
            chains[live[*row]].answer = answer;
            chains[live[*row]].answer_probability = probability;
        }
        if !going.is_empty() {
            model.keep(&going);
        }
        live = going.iter().map(|row| live[*row]).collect();
    }
    chains
}

impl LoopedPrompts {
    fn validate(&self, vocab: usize) -> Result<()> {
        let lengths = [
            ("tokens", self.tokens.len(), self.size * self.width),
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
    fn iterate(&mut self, iteration: usize) {
        self.state =
            self.model
                .iterate(self.state.clone(), &self.embedded, iteration, &self.context);
    }

    fn steps(&mut self) -> Option<Logits> {
        let logits = self.model.step_logits(self.state.clone())?;
        let [size, width, vocab] = logits.dims();
        Some(Logits::read(logits.reshape([size * width, vocab])))
    }

    fn answers(&mut self, rows: &[usize]) -> Logits {
        Logits::read(self.model.answer_logits(self.last_columns(rows)))
    }

    fn best_steps(&mut self) -> Option<Vec<(u32, f32)>> {
        let fused = self.model.best_step(&self.state);
        fused.or_else(|| self.steps().map(|logits| logits.greedy().collect()))
    }

    fn best_answers(&mut self, rows: &[usize]) -> Vec<(u32, f32)> {
        let fused = self.model.best_answer(&self.last_columns(rows));
        fused.unwrap_or_else(|| self.answers(rows).greedy().collect())
    }

    fn keep(&mut self, rows: &[usize]) {
        let indices = self.indices(rows);
        self.state = self.state.clone().select(0, indices.clone());
        self.embedded = self.embedded.clone().select(0, indices);
        self.context = self.context.select(rows);
    }
}

/// Row numbers as a tensor.
pub(crate) fn indices<B: Backend>(rows: &[usize], device: &B::Device) -> Tensor<B, 1, Int> {
    let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
    let length = rows.len();
    Tensor::from_data(TensorData::new(rows, [length]), device)
}
