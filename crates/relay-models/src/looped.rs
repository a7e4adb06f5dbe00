//! The looped transformer: one block, applied once for each step of the chain (section 3).

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use relay_kernels::Choices;

use crate::block::{Block, Head};
use crate::config::{Injection, LoopedConfig};
use crate::context::Context;
use crate::dropout::DropoutKey;
use crate::fused;
use crate::init::Init;
use crate::norm::LayerNorm;

/// A batch for a [`LoopedTransformer`].
#[derive(Debug, Clone)]
pub struct LoopedInput<B: Backend> {
    /// Right-aligned problems, `[size, width]`.
    pub tokens: Tensor<B, 2, Int>,
    /// For each sample, how many columns on the left are padding. They are never attended to.
    pub pads: Vec<usize>,
    /// Names the dropout masks; None for no dropout.
    pub dropout: Option<DropoutKey>,
}

/// A block that is applied again and again, with a head that spells the step of each iteration and
/// a head that gives the answer.
///
/// [`forward`](Self::forward) is the loop over [`embed`](Self::embed) and [`iterate`](Self::iterate);
/// [`step_logits`](Self::step_logits) and [`answer_logits`](Self::answer_logits) read a state out.
#[derive(Module, Debug)]
pub struct LoopedTransformer<B: Backend> {
    /// Embedding, layers, final norm.
    pub block: Block<B>,
    /// Input injection by a linear map, if it is on.
    pub injection: Option<LinearInjection<B>>,
    /// Head `cot` of the paper; None in the vanilla looped model.
    pub head_step: Option<Head<B>>,
    /// Head `answer` of the paper.
    pub head_answer: Head<B>,
    config: LoopedConfig,
}

/// The two halves of a linear map of `[state; embedded]`.
#[derive(Module, Debug)]
pub struct LinearInjection<B: Backend> {
    /// `[d_model, d_model]`, applied to the state.
    pub state: Param<Tensor<B, 2>>,
    /// `[d_model, d_model]`, applied to the embedded problem.
    pub embedded: Param<Tensor<B, 2>>,
}

impl LoopedConfig {
    /// Makes a model. The same seed gives the same weights on every backend, and every model the same parameter ids: see
    /// [`stable_id`](crate::stable_id).
    ///
    /// # Panics
    /// When the settings are not valid: call [`validate`](Self::validate) first.
    pub fn init<B: Backend>(&self, device: &B::Device, seed: u64) -> LoopedTransformer<B> {
        if let Err(error) = self.validate() {
            panic!("{error}");
        }
        let (init, config) = (Init { device, seed }, &self.transformer);
        let injection = (self.injection == Injection::Linear).then(|| LinearInjection {
            state: init.identity("injection.state", config.d_model),
            embedded: init.identity("injection.embedded", config.d_model),
        });
        LoopedTransformer {
            block: Block::init(&init, config),
            injection,
            head_step: self
                .step_head
                .then(|| Head::init(&init, "head_step", config)),
            head_answer: Head::init(&init, "head_answer", config),
            config: self.clone(),
        }
    }
}

impl<B: Backend> LoopedTransformer<B> {
    /// The settings that the model was made from.
    pub fn config(&self) -> &LoopedConfig {
        &self.config
    }

    /// What all iterations of one forward pass share.
    ///
    /// It is good for this model with these weights and for one backward pass: kernels for GPUs keep the weights in it, in a form
    /// of their own. [`renewed`](Context::renewed) gives another one.
    ///
    /// # Panics
    /// When `pads` has not one entry a sample or exceeds the width.
    pub fn context(&self, input: &LoopedInput<B>) -> Context<B> {
        let (shape, device) = (input.tokens.dims(), input.tokens.device());
        Context::new(
            &self.config.transformer,
            false,
            shape,
            &input.pads,
            input.dropout,
            &device,
        )
    }

    /// The first state.
    ///
    /// # Shapes
    /// `[size, width]` to `[size, width, d_model]`.
    ///
    /// # Panics
    /// On a CPU, when a token is outside the vocabulary; on CUDA such a token gets zeros instead.
    pub fn embed(&self, tokens: Tensor<B, 2, Int>, context: &Context<B>) -> Tensor<B, 3> {
        self.block.embed_and_drop(tokens, context)
    }

    /// One pass of the block, `iteration` counted from 1.
    ///
    /// # Shapes
    /// `state` and `embedded` are `[size, width, d_model]`, and so is the new state.
    ///
    /// # Panics
    /// When these are not alike, or not of the size and the width of `context`.
    pub fn iterate(
        &self,
        state: Tensor<B, 3>,
        embedded: &Tensor<B, 3>,
        iteration: usize,
        context: &Context<B>,
    ) -> Tensor<B, 3> {
        let [size, width, _] = state.dims();
        let right = [context.size, context.width];
        assert_eq!([size, width], right, "size and width of the states");
        assert_eq!(
            embedded.dims(),
            state.dims(),
            "shape of the embedded problems"
        );
        let state = self.inject(state, embedded);
        let state = if self.config.timestep {
            add_timestep(state, iteration)
        } else {
            state
        };
        let state = self.block.forward(state, context, iteration);
        if self.config.norm_state {
            let shape = state.dims();
            self.block.norm_final.forward(rows(state)).reshape(shape)
        } else {
            state
        }
    }

    /// What the heads read: normalised, whether or not the loop has done so already.
    ///
    /// # Shapes
    /// `[rows, d_model]` to the same.
    fn readable(&self, states: Tensor<B, 2>) -> Tensor<B, 2> {
        match self.norm_of_heads() {
            Some(norm) => norm.forward(states),
            None => states,
        }
    }

    fn inject(&self, state: Tensor<B, 3>, embedded: &Tensor<B, 3>) -> Tensor<B, 3> {
        let shape = state.dims();
        match (self.config.injection, &self.injection) {
            (Injection::Add, _) => state + embedded.clone(),
            (Injection::Linear, Some(linear)) => {
                let (state, embedded) = (rows(state), rows(embedded.clone()));
                let (a, b) = (linear.state.val(), linear.embedded.val());
                relay_kernels::blend([&state, &embedded], [&a, &b])
                    .unwrap_or_else(|| state.matmul(a) + embedded.matmul(b))
                    .reshape(shape)
            }
            (Injection::None, _) | (Injection::Linear, None) => state,
        }
    }

    /// Logits of the step that a state spells; None without a step head.
    ///
    /// # Shapes
    /// `[size, columns, d_model]` to `[size, columns, vocab]`, with any part of the window's columns.
    pub fn step_logits(&self, state: Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        let head = self.head_step.as_ref()?;
        let [size, columns, _] = state.dims();
        let logits = head.forward(self.readable(rows(state)));
        Some(logits.reshape([size, columns, self.config.transformer.vocab]))
    }

    /// Logits of the answer, from the last column of the last state.
    ///
    /// # Shapes
    /// `[size, d_model]` to `[size, vocab]`.
    pub fn answer_logits(&self, last_column: Tensor<B, 2>) -> Tensor<B, 2> {
        self.head_answer.forward(self.readable(last_column))
    }

    /// The most probable token of each column's step by a hand-written kernel, if there is a head and a kernel.
    pub(crate) fn best_step(&self, state: &Tensor<B, 3>) -> Option<Choices<B>> {
        let head = self.head_step.as_ref()?;
        fused::greedy(&rows(state.clone()), self.norm_of_heads(), head)
    }

    /// The most probable answer of each last column by a hand-written kernel, if there is one.
    pub(crate) fn best_answer(&self, last_column: &Tensor<B, 2>) -> Option<Choices<B>> {
        fused::greedy(last_column, self.norm_of_heads(), &self.head_answer)
    }

    /// What stands before the heads; None where the loop normalises the state itself.
    pub fn norm_of_heads(&self) -> Option<&LayerNorm<B>> {
        (!self.config.norm_state).then_some(&self.block.norm_final)
    }

    /// Runs the loop and hands out the state of each iteration, counted from 1.
    ///
    /// # Panics
    /// When `pads` has not one entry a sample or exceeds the width, and on a CPU when a token is outside the vocabulary; on CUDA such
    /// a token gets zeros instead.
    pub fn forward(
        &self,
        input: LoopedInput<B>,
        iterations: usize,
        mut each: impl FnMut(usize, &Tensor<B, 3>),
    ) {
        let context = self.context(&input);
        let embedded = self.embed(input.tokens, &context);
        let mut state = embedded.clone();
        for iteration in 1..=iterations {
            state = self.iterate(state, &embedded, iteration, &context);
            each(iteration, &state);
        }
    }
}

fn rows<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 2> {
    let [size, columns, d_model] = x.dims();
    x.reshape([size * columns, d_model])
}

/// Adds the sinusoidal encoding of the iteration to every column.
fn add_timestep<B: Backend>(state: Tensor<B, 3>, iteration: usize) -> Tensor<B, 3> {
    let (shape, device) = (state.dims(), state.device());
    let encoding = timestep_encoding(iteration, shape[2]);
    let encoding = Tensor::from_data(TensorData::new(encoding, [1, shape[2]]), &device);
    (rows(state) + encoding).reshape(shape)
}

/// Sines in the first half, cosines in the second, with periods from 2 pi to below 2 pi * 10,000.
fn timestep_encoding(iteration: usize, d_model: usize) -> Vec<f32> {
    let half = d_model.div_ceil(2);
    let angle = |i: usize| iteration as f64 * 10_000f64.powf(-(i as f64) / half as f64);
    let sines = (0..half).map(|i| angle(i).sin() as f32);
    let cosines = (0..d_model - half).map(|i| angle(i).cos() as f32);
    sines.chain(cosines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_iteration_has_its_sines_and_cosines() {
        let near = |found: Vec<f32>, right: [f64; 4]| {
            assert_eq!(found.len(), 4);
            for (found, right) in found.into_iter().zip(right) {
                assert!((f64::from(found) - right).abs() < 1e-6, "{found} {right}");
            }
        };
        near(timestep_encoding(0, 4), [0.0, 0.0, 1.0, 1.0]);
        // Angles of 1 and 1 / 100.
        near(
            timestep_encoding(1, 4),
            [0.841_470_985, 0.009_999_833, 0.540_302_306, 0.999_950_000],
        );
        near(
            timestep_encoding(2, 4),
            [0.909_297_427, 0.019_998_667, -0.416_146_837, 0.999_800_007],
        );
    }
}
