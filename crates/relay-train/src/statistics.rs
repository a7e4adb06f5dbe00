//! What the updates since the last line of metrics had in common.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use crate::{GradientSet, Guesses, LossReport};

/// Sums over the updates since the last line of metrics; part of a checkpoint, so that the lines of a resumed run are
/// those of one that was never stopped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Updates that were made.
    pub updates: u64,
    /// Updates that were skipped because loss or gradient was not finite.
    pub skipped: u64,
    /// Sum of the updates' losses, task weights included.
    pub loss: f64,
    /// Sum of the gradients' norms before clipping.
    pub gradient_norm: f64,
    /// Per task, by its index.
    pub tasks: BTreeMap<usize, TaskWindow>,
}

/// Sums of one task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskWindow {
    /// Updates with samples of the task.
    pub updates: u64,
    /// Sum of the answer losses (equation 9), or of the next-token losses, without the task's weight.
    pub answer_loss: f64,
    /// Sum of the step losses (equation 8), without the task's weight and lambda.
    pub step_loss: f64,
    /// Right greedy guesses of answers, or of tokens.
    pub right: u64,
    /// All guesses.
    pub guesses: u64,
}

impl Window {
    /// Adds an update that was made.
    pub(crate) fn add(&mut self, update: &UpdateNumbers, gradient_norm: f64) {
        self.updates += 1;
        self.loss += update.loss;
        self.gradient_norm += gradient_norm;
        for (&task, numbers) in &update.tasks {
            let sums = self.tasks.entry(task).or_default();
            sums.updates += 1;
            sums.answer_loss += finite(numbers.answer_loss);
            sums.step_loss += finite(numbers.step_loss);
            sums.right += numbers.right;
            sums.guesses += numbers.guesses;
        }
    }

    /// Mean loss of the updates.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.updates.max(1) as f64
    }

    /// Share of right guesses over all tasks.
    pub fn accuracy(&self) -> f64 {
        let (right, all) = self
            .tasks
            .values()
            .fold((0, 0), |(right, all), t| (right + t.right, all + t.guesses));
        right as f64 / all.max(1) as f64
    }
}

/// A part of a loss, which may be no number where the whole is one; a checkpoint could not be read again with it.
fn finite(part: f64) -> f64 {
    if part.is_finite() { part } else { 0.0 }
}

/// The numbers of one update, gathered over its micro-batches.
#[derive(Debug, Default)]
pub(crate) struct UpdateNumbers {
    pub loss: f64,
    pub tasks: BTreeMap<usize, TaskWindow>,
}

/// What the micro-batches of an update reported, left on their device so that nobody waits for it between them.
#[derive(Debug)]
pub(crate) struct Reports<I: Backend> {
    reports: Vec<LossReport<I>>,
}

impl<I: Backend> Reports<I> {
    /// None yet.
    pub fn new() -> Self {
        Self {
            reports: Vec::new(),
        }
    }

    /// Adds a micro-batch, after its backward pass.
    pub fn add(&mut self, report: LossReport<I>) {
        self.reports.push(report);
    }

    /// A task that is none of the first `tasks`, if there is one among those of the micro-batches.
    pub fn task_beyond(&self, tasks: usize) -> Option<usize> {
        let mut named = self.reports.iter().map(|report| report.task);
        named.find(|task| *task >= tasks)
    }

    /// Waits for the device and gives all numbers, and the norm of `gradients`: one copy from it for everything.
    pub fn read(self, gradients: &GradientSet<I>) -> (UpdateNumbers, f64) {
        let known = gradients.known_squares();
        let mut scalars = match known {
            Some(_) => Vec::new(),
            None => gradients.squares(),
        };
        let squares = scalars.iter().map(|squares| squares.dims()[0]).sum();
        let mut shapes = Vec::new();
        for report in self.reports {
            scalars.extend([report.total, report.answer]);
            scalars.extend(report.steps.clone());
            let (right, all): (Vec<_>, Vec<u64>) =
                report.guesses.into_iter().map(Guesses::into_parts).unzip();
            scalars.extend(right);
            shapes.push(Shape {
                task: report.task,
                weight: report.weight,
                steps: report.steps.is_some(),
                guesses: all,
            });
        }
        let mut numbers = UpdateNumbers::default();
        if scalars.is_empty() {
            return (numbers, known.unwrap_or(0.0).sqrt());
        }
        let read = Tensor::cat(scalars, 0).into_data();
        let mut read = read.iter::<f64>();
        let sum = known.unwrap_or_else(|| read.by_ref().take(squares).sum());
        for shape in shapes {
            numbers.add(&shape, &mut read);
        }
        (numbers, sum.sqrt())
    }
}

/// Which numbers a report has, besides the loss and that of the answers.
#[derive(Debug)]
struct Shape {
    task: usize,
    weight: f32,
    steps: bool,
    /// All guesses of each count of right ones.
    guesses: Vec<u64>,
}

impl UpdateNumbers {
    /// All numbers one after the other, for this many tasks.
    pub fn flat(&self, tasks: usize) -> Vec<f32> {
        let mut flat = vec![self.loss as f32];
        for task in 0..tasks {
            let sums = self.tasks.get(&task).copied().unwrap_or_default();
            flat.extend([
                sums.updates as f32,
                sums.answer_loss as f32,
                sums.step_loss as f32,
                sums.right as f32,
                sums.guesses as f32,
            ]);
        }
        flat
    }

    /// From such numbers, those of several workers added up.
    pub fn from_flat(flat: &[f64]) -> Self {
        let (loss, tasks) = flat.split_first().unwrap_or((&f64::NAN, &[]));
        let task = |(task, numbers): (usize, &[f64])| {
            let [updates, answer_loss, step_loss, right, guesses] = *numbers else {
                return None;
            };
            let sums = TaskWindow {
                updates: 1,
                answer_loss,
                step_loss,
                right: right as u64,
                guesses: guesses as u64,
            };
            (updates > 0.0).then_some((task, sums))
        };
        Self {
            loss: *loss,
            tasks: tasks.chunks_exact(5).enumerate().filter_map(task).collect(),
        }
    }

    /// Adds the numbers of a micro-batch, which stand in `read` in the order of its report.
    fn add(&mut self, shape: &Shape, read: &mut impl Iterator<Item = f64>) {
        let mut next = || read.next().unwrap_or(f64::NAN);
        self.loss += next();
        let sums = self.tasks.entry(shape.task).or_default();
        sums.updates = 1;
        // Without a weight there is no loss to tell.
        let unweighted = if shape.weight > 0.0 {
            f64::from(shape.weight).recip()
        } else {
            0.0
        };
        sums.answer_loss += next() * unweighted;
        sums.step_loss += if shape.steps { next() } else { 0.0 } * unweighted;
        for all in &shape.guesses {
            sums.right += next() as u64;
            sums.guesses += all;
        }
    }
}
