//! Readout and masked cross-entropy as one op, which on a CPU does nothing for rows without a weight.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::blend::gradient_of_weight;
use crate::cross_entropy::{CrossEntropy, Judged, Labels, ROWS};
use crate::floats::{Floats, tensor};
use crate::greedy::{ReadoutParams, check};
use crate::isa::Isa;
use crate::node::{Operation, apply, float_tensor};
use crate::norm::norm;
use crate::pack::{Matrix, Packed};
use crate::pool::{Buffer, with_scratch};
use crate::product::{left, times_packed, times_rows};
use crate::rows::ColumnSums;

/// [`cross_entropy`](crate::cross_entropy) of the logits `norm(states) * weight + bias`, or `None` where there is no kernel.
///
/// Rows of weight 0 are skipped, whatever their target: on a CPU, and on a GPU with a norm, nothing is read out of them.
///
/// On `burn::backend::Cuda` there is a kernel with the feature `cuda`, recorded or not: for rows of up to 1024 that are a
/// multiple of 64, and up to 1024 tokens. It rounds logits, too, as [`Precision`](crate::Precision) says. Without a norm it
/// reads out all rows. One of weight 0 adds nothing to the loss, but a number in it that is not finite spoils the gradient
/// of the matrix.
///
/// # Shapes
/// - `states`: `[rows, d]`; `targets` and `weights`: `rows` entries; the result: `[1]`.
///
/// # Panics
/// If the shapes do not fit, if there is not one target and one weight for each row, or if the target of a row with a
/// weight is not in the vocabulary.
pub fn readout_cross_entropy<B: Backend>(
    states: &Tensor<B, 2>,
    readout: ReadoutParams<'_, B>,
    targets: &[i32],
    weights: &[f32],
) -> Option<Tensor<B, 1>> {
    let [rows, d] = states.dims();
    let vocab = check(d, &readout);
    // Made where there is a kernel only: they are copies.
    let labels = || Labels::new(targets, weights, rows, vocab);
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        return on_gpu(states, readout, labels, None);
    }
    judged(states, readout, labels).map(|(loss, _)| loss)
}

/// [`readout_cross_entropy`], and how many of the rows with a weight have their target as the most probable token, the first
/// among equals: a whole number, exact up to 16 million, which is recorded in no graph and for which nobody waits here.
///
/// # Shapes
/// As for [`readout_cross_entropy`]; the number: `[1]`.
///
/// # Panics
/// As [`readout_cross_entropy`].
pub fn readout_judged<B: Backend>(
    states: &Tensor<B, 2>,
    readout: ReadoutParams<'_, B>,
    targets: &[i32],
    weights: &[f32],
) -> Option<(Tensor<B, 1>, Tensor<B, 1>)> {
    let [rows, d] = states.dims();
    let vocab = check(d, &readout);
    let labels = || Labels::new(targets, weights, rows, vocab);
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        let right = crate::cuda::Shared::default();
        let loss = on_gpu(states, readout, labels, Some(right.clone()))?;
        return Some((loss, crate::cuda::known_right(&right)?));
    }
    let (loss, right) = judged(states, readout, labels)?;
    Some((loss, Tensor::from_floats([right as f32], &states.device())))
}

#[cfg(feature = "cuda")]
fn on_gpu<B: Backend>(
    states: &Tensor<B, 2>,
    readout: ReadoutParams<'_, B>,
    labels: impl FnOnce() -> Labels,
    right: Option<crate::cuda::Shared>,
) -> Option<Tensor<B, 1>> {
    let (states, weight) = (float_tensor(states), float_tensor(readout.weight));
    let (bias, epsilon) = (float_tensor(readout.bias), readout.epsilon);
    match readout.norm {
        None => {
            let tensors = [states, weight, bias];
            crate::cuda::readout_cross_entropy::<B, 3>(tensors, None, labels, right)
        }
        Some(norm) => {
            let [gamma, beta] = norm.map(float_tensor);
            let tensors = [states, weight, bias, gamma, beta];
            crate::cuda::readout_cross_entropy::<B, 5>(tensors, Some(epsilon), labels, right)
        }
    }
}

/// Loss and right guesses on a CPU.
fn judged<B: Backend>(
    states: &Tensor<B, 2>,
    readout: ReadoutParams<'_, B>,
    labels: impl FnOnce() -> Labels,
) -> Option<(Tensor<B, 1>, u64)> {
    let ([rows, d], [vocab]) = (states.dims(), readout.bias.dims());
    let normal = match readout.norm {
        Some([gamma, beta]) => norm(states, gamma, beta, readout.epsilon)?,
        None => states.clone(),
    };
    let primitives = [
        float_tensor(&normal),
        float_tensor(readout.weight),
        float_tensor(readout.bias),
    ];
    let right = Arc::new(AtomicU64::new(0));
    let loss = apply(primitives, |[states, weight, bias]| {
        if d == 0 || vocab == 0 {
            return None;
        }
        let (chosen, labels) = labels().chosen();
        Some(Call {
            states: Floats::new(states)?,
            weight: Floats::new(weight)?,
            bias: Floats::new(bias)?,
            chosen,
            labels,
            rows,
            d,
            right: Arc::clone(&right),
        })
    })?;
    // Written by then: what is computed on a CPU is computed at once.
    Some((loss, right.load(Ordering::Relaxed)))
}

#[derive(Debug)]
struct Call {
    states: Floats,
    weight: Floats,
    bias: Floats,
    /// Rows with a weight, and their labels.
    chosen: Vec<usize>,
    labels: Labels,
    rows: usize,
    d: usize,
    /// Right guesses of the last forward pass.
    right: Arc<AtomicU64>,
}

/// What the chosen rows leave.
#[derive(Debug)]
struct Saved {
    /// `[chosen, d]`.
    states: Buffer,
    /// Gradient of the logits, `[chosen, stride]`.
    logits: Buffer,
    /// Gradient of the bias.
    bias: Vec<f32>,
}

impl Call {
    fn matrix(&self) -> Matrix<'_> {
        Matrix {
            data: self.weight.get(),
            rows: self.d,
            cols: self.labels.vocab,
        }
    }

    /// Floats from one row of logits to the next: whole vectors, and an odd number of them, so that a panel's rows do not
    /// fall into few sets of the first-level cache.
    fn stride(&self, isa: Isa) -> usize {
        (self.labels.vocab.div_ceil(isa.lanes()) | 1) * isa.lanes()
    }

    /// The states of the chosen rows.
    fn states(&self) -> Buffer {
        let mut states = Buffer::take(self.chosen.len() * self.d);
        let all = self.states.get();
        for (row, out) in self.chosen.iter().zip(states.chunks_exact_mut(self.d)) {
            out.copy_from_slice(&all[row * self.d..][..self.d]);
        }
        states
    }
}

impl Operation<3> for Call {
    type Saved = Saved;

    fn forward(&self) -> (FlexTensor, Saved) {
        let (isa, d, vocab) = (Isa::best(), self.d, self.labels.vocab);
        let stride = self.stride(isa);
        let packed = Packed::beside(isa, &[self.matrix()]);
        let states = self.states();
        let rows = self.chosen.len();
        let mut gradient = Buffer::take(rows * stride);
        let mut sums = vec![0.0; rows.div_ceil(ROWS) * stride];
        let labels = self
            .labels
            .targets
            .par_chunks(ROWS)
            .zip(self.labels.weights.par_chunks(ROWS));
        let pieces = states
            .par_chunks(ROWS * d)
            .zip(gradient.par_chunks_mut(ROWS * stride))
            .zip(sums.par_chunks_mut(stride));
        let judged = pieces
            .zip(labels)
            .map(|(((states, gradient), sums), (targets, weights))| {
                with_scratch(gradient.len(), |logits| {
                    for row in logits.chunks_exact_mut(stride) {
                        row[..vocab].copy_from_slice(self.bias.get());
                    }
                    let states = left(states, d);
                    times_packed(isa, targets.len(), states, &packed, logits, stride, true);
                    let judged = isa.run(CrossEntropy {
                        logits,
                        vocab,
                        stride,
                        targets,
                        weights,
                        gradient: Some(gradient),
                    });
                    isa.run(ColumnSums { x: gradient, sums });
                    judged
                })
            });
        let judged: Vec<Judged> = judged.collect();
        let judged: Judged = judged.into_iter().sum();
        self.right.store(judged.right, Ordering::Relaxed);
        let mut bias = vec![0.0; stride];
        isa.run(ColumnSums {
            x: &sums,
            sums: &mut bias,
        });
        bias.truncate(vocab);
        let saved = Saved {
            states,
            logits: gradient,
            bias,
        };
        (tensor(vec![judged.loss as f32], [1]), saved)
    }

    /// What is scaled by the gradient of the sum are the results, which are fewer than the logits.
    fn backward(&self, saved: &Saved, grad: &[f32]) -> [FlexTensor; 3] {
        let (isa, d, vocab) = (Isa::best(), self.d, self.labels.vocab);
        let stride = self.stride(isa);
        let scale = grad.first().copied().unwrap_or_default();
        let scaled = |floats: &mut [f32]| floats.iter_mut().for_each(|x| *x *= scale);
        let mut packed = Packed::transposes_below(isa, &[self.matrix()]);
        scaled(&mut packed.data);
        let mut chosen = Buffer::take(self.chosen.len() * d);
        let pieces = saved
            .logits
            .par_chunks(ROWS * stride)
            .zip(chosen.par_chunks_mut(ROWS * d));
        pieces.for_each(|(logits, out)| {
            let logits = left(logits, stride);
            times_packed(isa, out.len() / d, logits, &packed, out, d, false);
        });
        let mut states = vec![0.0; self.rows * d];
        for (row, chosen) in self.chosen.iter().zip(chosen.chunks_exact(d)) {
            states[row * d..][..d].copy_from_slice(chosen);
        }
        let mut weight = vec![0.0; d * vocab];
        gradient_of_weight(&saved.states, d, vocab, &mut weight, |left, out| {
            let sizes = [out.len() / vocab, self.chosen.len(), vocab];
            times_rows(isa, sizes, left, &saved.logits, stride, out, vocab);
            scaled(out);
        });
        let mut bias = saved.bias.clone();
        scaled(&mut bias);
        [
            tensor(states, [self.rows, d]),
            tensor(weight, [d, vocab]),
            tensor(bias, [vocab]),
        ]
    }
}
