//! The backward pass of a long loop in the memory of a short one.
//!
//! A first pass without a graph keeps the state between segments of the loop only. Then, from the last segment to the
//! first, each is computed again with its graph, the gradient of the state it ended in flows back through it, and its
//! graph is dropped. One forward pass more buys activations that do not grow with T.
//!
//! On a CPU with products in bf16 the first pass has them in f32, as all that is computed without a graph there: a segment then
//! starts from a state that differs from where the one before it ends, by what bf16 rounds.

use burn::module::AutodiffModule;
use burn::tensor::{Tensor, backend::AutodiffBackend};
use relay_models::{DropoutKey, LoopedTransformer};

use crate::looped_objective::{LoopedLosses, LoopedMicroBatch, LoopedObjective, add, input};
use crate::{GradientSet, LossReport};

/// Adds the gradients of a micro-batch, with the graph of `checkpoint_iterations` iterations at a time.
///
/// Every dropout mask is a function of its iteration, so both passes drop the same.
pub(crate) fn backward<B: AutodiffBackend>(
    objective: &LoopedObjective,
    model: &LoopedTransformer<B>,
    batch: &LoopedMicroBatch,
    key: DropoutKey,
    device: &B::Device,
    gradients: &mut GradientSet<B::InnerBackend>,
) -> LossReport<B::InnerBackend> {
    let (host, length) = (&batch.host, objective.checkpoint_iterations);
    let input = input::<B>(host, key, device);
    let context = model.context(&input);
    let embedded = model.embed(input.tokens, &context);
    let start = embedded.clone().inner();
    let states = states_between(model, batch, length, key, device, &start);

    let mut report = LossReport {
        total: Tensor::zeros([1], device),
        answer: Tensor::zeros([1], device),
        steps: None,
        guesses: Vec::new(),
        task: host.task,
        weight: batch.weight,
    };
    let (mut grad_state, mut grad_embedded) = (None, None);
    for (segment, state) in states.into_iter().enumerate().rev() {
        let first = segment * length + 1;
        let context = context.renewed();
        let state = Tensor::<B, 3>::from_inner(state).require_grad();
        let embedded = Tensor::<B, 3>::from_inner(start.clone()).require_grad();
        let (mut losses, mut end) = (LoopedLosses::default(), state.clone());
        for iteration in first..(first + length).min(host.iterations + 1) {
            end = model.iterate(end, &embedded, iteration, &context);
            objective.add_iteration(model, host, iteration, &end, &mut losses);
        }
        let own = objective.total(&losses);
        let mut target = own.clone();
        if let Some(grad) = grad_state.take() {
            add(&mut target, flowing_back(end, grad));
        }
        if let Some(target) = target {
            let mut graph = target.backward();
            grad_state = state.grad_remove(&mut graph);
            if let Some(grad) = embedded.grad_remove(&mut graph) {
                add(&mut grad_embedded, grad);
            }
            gradients.add(model, graph);
        }
        tell(&mut report, own, losses);
    }
    // The problem is the first state, and may be injected into every iteration.
    let mut grad = grad_state;
    if let Some(injected) = grad_embedded {
        add(&mut grad, injected);
    }
    if let Some(grad) = grad {
        gradients.add(model, flowing_back(embedded, grad).backward());
    }
    // The segments came last first; the guesses are told in the order of the iterations.
    report.guesses.reverse();
    report
}

/// How many of the iterations are computed twice when the activations of `length` are kept at a time: those of all
/// segments but the last. None when all are kept, or there is one segment only.
pub(crate) fn iterations_again(iterations: usize, length: usize) -> usize {
    match length {
        0 => 0,
        length => iterations.saturating_sub(1) / length * length,
    }
}

/// The states that the segments of `length` iterations start from.
fn states_between<B: AutodiffBackend>(
    model: &LoopedTransformer<B>,
    batch: &LoopedMicroBatch,
    length: usize,
    key: DropoutKey,
    device: &B::Device,
    start: &Tensor<B::InnerBackend, 3>,
) -> Vec<Tensor<B::InnerBackend, 3>> {
    let model = model.valid();
    let context = model.context(&input(&batch.host, key, device));
    let mut states = vec![start.clone()];
    let mut state = start.clone();
    for iteration in 1..=iterations_again(batch.host.iterations, length) {
        state = model.iterate(state, start, iteration, &context);
        if iteration.is_multiple_of(length) {
            states.push(state.clone());
        }
    }
    states
}

/// A scalar whose gradient with respect to `state` is `grad`.
fn flowing_back<B: AutodiffBackend>(
    state: Tensor<B, 3>,
    grad: Tensor<B::InnerBackend, 3>,
) -> Tensor<B, 1> {
    (state * Tensor::from_inner(grad)).sum()
}

fn tell<B: AutodiffBackend>(
    report: &mut LossReport<B::InnerBackend>,
    total: Option<Tensor<B, 1>>,
    losses: LoopedLosses<B>,
) {
    if let Some(total) = total {
        report.total = report.total.clone() + total.inner();
    }
    if let Some(answer) = losses.answer {
        report.answer = report.answer.clone() + answer.inner();
    }
    if let Some(steps) = losses.steps {
        add(&mut report.steps, steps.inner());
    }
    report.guesses.extend(losses.guesses.into_iter().rev());
}
