//! The looped model: answers, and with loop alignment the steps of the chain (section 3.3).

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use relay_models::{DropoutKey, LoopedInput, LoopedTransformer, Work};
use relay_tasks::{Chain, Codec, Example, GroupLimits, LoopedBatch, group_looped};
use serde_json::{Value, json};

use crate::batch::{last_states, tokens};
use crate::loss::{judged_readout, readout_of_last};
use crate::objective::{
    Guesses, InnerModel, LossParts, Objective, check_model_settings, check_task_weights,
    check_vocab, count_by_task, keep_all, shares, task_weight,
};
use crate::recompute;
use crate::{Effort, GradientSet, LossReport, Result, TrainError, write_looped_chains};

/// `L = L_ans + lambda * L_iter` (equation 10), or `L_ans` alone for the vanilla looped model.
#[derive(Debug, Clone, PartialEq)]
pub struct LoopedObjective {
    /// Whether iteration t is trained to spell step t.
    pub aligned: bool,
    /// Weight of the step loss, of which the paper gives no value.
    pub lambda: f32,
    /// Weight of each task in the loss; empty for 1 each.
    pub task_weights: Vec<f32>,
    /// How large a micro-batch may be.
    pub limits: GroupLimits,
    /// Iterations whose activations are kept at a time, the others being computed again in the backward pass: memory
    /// then grows with this number instead of T, for a third more time. 0 keeps all.
    pub checkpoint_iterations: usize,
    /// Tasks and vocabulary.
    pub codec: Codec,
}

/// A micro-batch of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct LoopedMicroBatch {
    /// Tokens, targets and weights.
    pub host: LoopedBatch,
    /// Weight of the task.
    pub weight: f32,
}

impl LoopedObjective {
    /// The objective of the aligned looped model: the answer, and the steps with the weight `lambda`.
    pub fn aligned(lambda: f32, task_weights: Vec<f32>, limits: GroupLimits, codec: Codec) -> Self {
        Self {
            aligned: true,
            lambda,
            ..Self::vanilla(task_weights, limits, codec)
        }
    }

    /// The objective of the vanilla looped model: the answer alone.
    pub fn vanilla(task_weights: Vec<f32>, limits: GroupLimits, codec: Codec) -> Self {
        Self {
            aligned: false,
            lambda: 0.0,
            task_weights,
            limits,
            checkpoint_iterations: 0,
            codec,
        }
    }

    /// Adds the losses of an iteration, counted from 1, to those before it.
    ///
    /// # Panics
    /// When it is the aligned objective and the model has no step head.
    pub(crate) fn add_iteration<B: AutodiffBackend>(
        &self,
        model: &LoopedTransformer<B>,
        host: &LoopedBatch,
        iteration: usize,
        state: &Tensor<B, 3>,
        losses: &mut LoopedLosses<B>,
    ) {
        let t = iteration - 1;
        if self.aligned {
            add(&mut losses.steps, step_loss(model, host, t, state));
        }
        if host.sample_iterations.contains(&iteration) {
            let weights = &host.answer_weights[t * host.size..(t + 1) * host.size];
            let (head, norm) = (&model.head_answer, model.norm_of_heads());
            let states = last_states(state, 1).squeeze_dim(1);
            let (loss, guesses) = judged_readout(head, norm, states, &host.answers, weights);
            losses.guesses.push(guesses);
            add(&mut losses.answer, loss);
        }
    }

    /// Equation 10 over the iterations that were added; None when none of them has a loss.
    pub(crate) fn total<B: AutodiffBackend>(
        &self,
        losses: &LoopedLosses<B>,
    ) -> Option<Tensor<B, 1>> {
        let mut total = losses.answer.clone();
        if let Some(steps) = &losses.steps {
            add(&mut total, steps.clone().mul_scalar(self.lambda));
        }
        total
    }
}

/// The losses of some iterations of a micro-batch.
#[derive(Debug)]
pub(crate) struct LoopedLosses<B: AutodiffBackend> {
    /// Equation 9.
    pub answer: Option<Tensor<B, 1>>,
    /// Equation 8.
    pub steps: Option<Tensor<B, 1>>,
    pub guesses: Vec<Guesses<B::InnerBackend>>,
}

impl<B: AutodiffBackend> Default for LoopedLosses<B> {
    fn default() -> Self {
        Self {
            answer: None,
            steps: None,
            guesses: Vec::new(),
        }
    }
}

impl<B: AutodiffBackend> Objective<B> for LoopedObjective {
    type Model = LoopedTransformer<B>;
    type Batch = LoopedMicroBatch;

    fn name(&self) -> &str {
        if self.aligned {
            "looped, aligned"
        } else {
            "looped, vanilla"
        }
    }

    fn settings(&self) -> Value {
        let mut settings = json!({
            "aligned": self.aligned, "lambda": self.lambda, "task_weights": self.task_weights, "limits": self.limits,
        });
        if self.checkpoint_iterations > 0 {
            settings["checkpoint_iterations"] = self.checkpoint_iterations.into();
        }
        settings
    }

    fn codec(&self) -> Option<&Codec> {
        Some(&self.codec)
    }

    fn check_model(&self, model: &LoopedTransformer<B>) -> Result<()> {
        check_vocab(model.config().transformer.vocab, &self.codec)?;
        if self.aligned && model.head_step.is_none() {
            let expected = "true for the aligned objective, which trains the step head";
            return Err(TrainError::setting("step_head", false, expected));
        }
        Ok(())
    }

    fn check_settings(&self, model: &LoopedTransformer<B>, settings: &Value) -> Result<()> {
        check_model_settings(model.config(), settings)
    }

    fn writes_steps(&self, model: &LoopedTransformer<B::InnerBackend>) -> bool {
        model.head_step.is_some()
    }

    fn collate(&self, examples: &[Example]) -> Result<Vec<LoopedMicroBatch>> {
        check_task_weights(&self.task_weights, self.codec.tasks.len())?;
        self.limits.validate()?;
        if !(self.lambda.is_finite() && self.lambda >= 0.0) {
            return Err(TrainError::setting(
                "lambda",
                self.lambda,
                "a number of at least 0",
            ));
        }
        let samples = count_by_task(examples, &self.codec, |_| Ok(1))?;
        let batch = |group: Vec<usize>| {
            let members: Vec<&Example> = group.iter().map(|&index| &examples[index]).collect();
            let task = members[0].task;
            let weight = task_weight(&self.task_weights, task);
            let host = LoopedBatch::new(&members, weight / samples[task] as f32)?;
            Ok(LoopedMicroBatch { host, weight })
        };
        group_looped(examples, &self.limits)
            .into_iter()
            .map(batch)
            .collect()
    }

    fn widen(&self, batch: LoopedMicroBatch, columns: usize) -> LoopedMicroBatch {
        let width = batch.host.width.next_multiple_of(columns.max(1));
        LoopedMicroBatch {
            host: batch.host.widened(width),
            ..batch
        }
    }

    fn share(&self, batch: LoopedMicroBatch, workers: usize) -> Vec<Option<LoopedMicroBatch>> {
        let part = |rows| LoopedMicroBatch {
            host: batch.host.rows(rows),
            weight: batch.weight,
        };
        shares(batch.host.size, workers)
            .map(|rows| rows.map(part))
            .collect()
    }

    /// # Panics
    /// When it is the aligned objective and the model has no step head: see [`check_model`](Objective::check_model).
    fn loss(
        &self,
        model: &LoopedTransformer<B>,
        batch: &LoopedMicroBatch,
        key: DropoutKey,
        device: &B::Device,
    ) -> LossParts<B> {
        let LoopedMicroBatch { host, weight } = batch;
        let mut losses = LoopedLosses::default();
        let input = input(host, key, device);
        model.forward(input, host.iterations, |iteration, state| {
            self.add_iteration(model, host, iteration, state, &mut losses);
        });
        let zero = || Tensor::zeros([1], device);
        LossParts {
            total: self.total(&losses).unwrap_or_else(zero),
            answer: losses.answer.unwrap_or_else(zero).inner(),
            steps: losses.steps.map(Tensor::inner),
            guesses: losses.guesses,
            task: host.task,
            weight: *weight,
        }
    }

    fn backward(
        &self,
        model: &LoopedTransformer<B>,
        batch: &LoopedMicroBatch,
        key: DropoutKey,
        device: &B::Device,
        gradients: &mut GradientSet<B::InnerBackend>,
    ) -> LossReport<B::InnerBackend> {
        if recompute::iterations_again(batch.host.iterations, self.checkpoint_iterations) > 0 {
            return recompute::backward(self, model, batch, key, device, gradients);
        }
        keep_all(self.loss(model, batch, key, device), model, gradients)
    }

    /// All samples pass the block as often as the longest one. The step head reads the columns that any mask holds.
    fn effort(&self, batch: &LoopedMicroBatch) -> Effort {
        let host = &batch.host;
        let (size, width, iterations) = (host.size, host.width, host.iterations);
        let ends = |t: &usize| host.sample_iterations.contains(t);
        let answers = (1..=iterations).filter(ends).count();
        let columns: usize = host.columns.iter().filter(|_| self.aligned).sum();
        let again = recompute::iterations_again(iterations, self.checkpoint_iterations);
        Effort {
            tokens: (size * width) as u64,
            learnt: Work {
                readouts: (size * (answers + columns)) as u64,
                ..Work::windows(size, width, iterations)
            },
            forward: Work::windows(size, width, again),
        }
    }

    fn write_chains(
        &self,
        model: &InnerModel<B, Self>,
        examples: &[Example],
        device: &B::Device,
    ) -> Result<Vec<Chain>> {
        write_looped_chains(model, examples, device)
    }
}

/// What the model reads of a micro-batch.
pub(crate) fn input<B: Backend>(
    host: &LoopedBatch,
    key: DropoutKey,
    device: &B::Device,
) -> LoopedInput<B> {
    LoopedInput {
        tokens: tokens(&host.tokens, host.size, host.width, device),
        pads: host.pads.clone(),
        dropout: Some(key),
    }
}

/// Equation 8 at iteration `t`, counted from 0, on the columns that any mask holds.
fn step_loss<B: AutodiffBackend>(
    model: &LoopedTransformer<B>,
    host: &LoopedBatch,
    t: usize,
    state: &Tensor<B, 3>,
) -> Tensor<B, 1> {
    let rows = t * host.size * host.width..(t + 1) * host.size * host.width;
    let Some(head) = &model.head_step else {
        panic!("the aligned objective needs a model with a step head (`step_head: true`)");
    };
    let (targets, weights) = (&host.targets[rows.clone()], &host.step_weights[rows]);
    let (norm, columns) = (model.norm_of_heads(), host.columns[t]);
    readout_of_last(head, norm, state, (targets, weights), columns)
}

pub(crate) fn add<B: Backend, const D: usize>(sum: &mut Option<Tensor<B, D>>, part: Tensor<B, D>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + part,
        None => part,
    });
}
