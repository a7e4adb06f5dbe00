//! Host batches: examples of one task side by side, as flat vectors.

use crate::{
    Example, Result, TaskError, TaskInfo, TokenId, align,
    align::masked_columns,
    chain::{chain_len, solved},
    right_align, write_chain,
};

/// Examples for the looped model, as flat vectors; those from `targets` on are empty without solutions.
#[derive(Debug, Clone, PartialEq)]
pub struct LoopedBatch {
    /// Index of the task that all examples are of.
    pub task: usize,
    /// Examples b.
    pub size: usize,
    /// Columns n of the window.
    pub width: usize,
    /// The most iterations T that an example has.
    pub iterations: usize,
    /// Input tokens `[b, n]`.
    pub tokens: Vec<i32>,
    /// Pads on the left of each input `[b]`.
    pub pads: Vec<usize>,
    /// Iterations of each example `[b]`.
    pub sample_iterations: Vec<usize>,
    /// Targets of each iteration `[T, b, n]`.
    pub targets: Vec<i32>,
    /// Weight of each target in the step loss `[T, b, n]` (equation 8): scale / (T_i * columns in the mask) in the mask,
    /// 0 elsewhere. T_i is the example's own number of iterations, so that an example's weights add up to the scale.
    pub step_weights: Vec<f32>,
    /// For each iteration how many columns, from the right, hold all that has any weight `[T]`; of some of a batch's rows maybe more.
    pub columns: Vec<usize>,
    /// Answers `[b]`.
    pub answers: Vec<i32>,
    /// Weight of each answer at each iteration `[T, b]` (equation 9): scale where the example ends, 0 elsewhere.
    pub answer_weights: Vec<f32>,
}

/// Examples for the auto-regressive model, as flat vectors, pads on the left.
#[derive(Debug, Clone, PartialEq)]
pub struct CausalBatch {
    /// Index of the task that all examples are of.
    pub task: usize,
    /// Examples b.
    pub size: usize,
    /// Columns n; the last token of a text is a target only.
    pub width: usize,
    /// Tokens `[b, n]`.
    pub tokens: Vec<i32>,
    /// Pads on the left of each text `[b]`.
    pub pads: Vec<usize>,
    /// The next token of each column `[b, n]`.
    pub targets: Vec<i32>,
    /// Weight of each target `[b, n]`: the scale on steps, answer and `<eos>`, 0 on the problem and on pads.
    pub weights: Vec<f32>,
    /// How many columns, from the right, hold all that has any weight; of some of a batch's rows maybe more.
    pub columns: usize,
}

fn shape(examples: &[&Example]) -> Result<(usize, usize)> {
    let task = examples
        .first()
        .ok_or_else(|| TaskError::data("a batch needs at least one example"))?
        .task;
    if let Some(other) = examples.iter().find(|example| example.task != task) {
        let other = other.task;
        return Err(TaskError::data(format!(
            "a batch holds examples of one task only, not of {task} and {other}"
        )));
    }
    if examples
        .iter()
        .any(|example| example.prompt.is_empty() || example.iterations == 0)
    {
        return Err(TaskError::data(
            "an example in a batch needs a problem and at least one iteration",
        ));
    }
    Ok((
        task,
        examples
            .iter()
            .map(|example| example.width)
            .max()
            .unwrap_or(1),
    ))
}

fn signed(tokens: &[TokenId]) -> impl Iterator<Item = i32> {
    tokens.iter().map(|&token| token.cast_signed())
}

impl LoopedBatch {
    /// Solved examples of one task; `scale` weighs each example's loss.
    ///
    /// # Errors
    /// When there is no example, the tasks differ, or one is not solved.
    pub fn new(examples: &[&Example], scale: f32) -> Result<Self> {
        let mut batch = Self::prompts(examples)?;
        let (size, width, iterations) = (batch.size, batch.width, batch.iterations);
        batch.targets = vec![0; iterations * size * width];
        batch.step_weights = vec![0.0; iterations * size * width];
        batch.answer_weights = vec![0.0; iterations * size];
        batch.columns = vec![0; iterations];
        for (index, example) in examples.iter().enumerate() {
            let aligned = align(example, width)?;
            for (t, step) in example.steps.iter().enumerate() {
                let row = (t * size + index) * width;
                let targets = signed(&aligned.targets[t * width..(t + 1) * width]);
                batch.targets[row..row + width]
                    .iter_mut()
                    .zip(targets)
                    .for_each(|(slot, target)| *slot = target);
                let masked = masked_columns(example, step);
                let weight = scale / (aligned.iterations * masked) as f32;
                batch.step_weights[row + width - masked..row + width].fill(weight);
                batch.columns[t] = batch.columns[t].max(masked);
            }
            batch.answers.push(aligned.answer.cast_signed());
            batch.answer_weights[(aligned.iterations - 1) * size + index] = scale;
        }
        Ok(batch)
    }

    /// Examples of one task, solved or not, to write chains for: no targets.
    ///
    /// # Errors
    /// When there is no example or the tasks differ.
    pub fn prompts(examples: &[&Example]) -> Result<Self> {
        let (task, width) = shape(examples)?;
        let mut tokens = Vec::with_capacity(examples.len() * width);
        for example in examples {
            tokens.extend(signed(&right_align(&example.prompt, width)?));
        }
        Ok(Self {
            task,
            size: examples.len(),
            width,
            iterations: examples
                .iter()
                .map(|example| example.iterations)
                .max()
                .unwrap_or(0),
            tokens,
            pads: examples
                .iter()
                .map(|example| width - example.prompt.len())
                .collect(),
            sample_iterations: examples.iter().map(|example| example.iterations).collect(),
            targets: Vec::new(),
            step_weights: Vec::new(),
            columns: Vec::new(),
            answers: Vec::new(),
            answer_weights: Vec::new(),
        })
    }
}

impl CausalBatch {
    /// Solved examples of one task as text; `scale` weighs each target.
    ///
    /// # Errors
    /// When there is no example, the tasks differ, or one has no chain to write.
    pub fn new(examples: &[&Example], info: &TaskInfo, scale: f32) -> Result<Self> {
        let (task, _) = shape(examples)?;
        let chains = examples
            .iter()
            .map(|example| write_chain(info, example))
            .collect::<Result<Vec<_>>>()?;
        let width = examples
            .iter()
            .zip(&chains)
            .map(|(e, chain)| e.prompt.len() + chain.len() - 1)
            .max()
            .unwrap_or(1);
        let mut batch = Self {
            task,
            size: examples.len(),
            width,
            tokens: Vec::new(),
            pads: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
            columns: chains.iter().map(Vec::len).max().unwrap_or(0),
        };
        for (example, chain) in examples.iter().zip(&chains) {
            let text: Vec<TokenId> = example.prompt.iter().chain(chain).copied().collect();
            let length = text.len() - 1;
            batch
                .tokens
                .extend(signed(&right_align(&text[..length], width)?));
            batch
                .targets
                .extend(signed(&right_align(&text[1..], width)?));
            batch.pads.push(width - length);
            batch.weights.extend((0..width).map(|column| {
                if column >= width - chain.len() {
                    scale
                } else {
                    0.0
                }
            }));
        }
        Ok(batch)
    }

    /// How many targets an example has: the steps, the answer unless it is the last step, and `<eos>`.
    ///
    /// # Errors
    /// When the example is not solved.
    pub fn targets_of(example: &Example, info: &TaskInfo) -> Result<usize> {
        solved(example).map(|_| chain_len(info, example))
    }
}
