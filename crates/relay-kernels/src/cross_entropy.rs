//! Masked cross-entropy as one op.

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::floats::{Floats, tensor};
use crate::isa::Isa;
use crate::node::{Operation, apply, float_tensor};
use crate::pool::Buffer;

mod rows;

pub(crate) use rows::{CrossEntropy, Judged};

/// Rows that one task computes.
pub(crate) const ROWS: usize = 64;

/// Sum over the rows of `weights[row] * -log softmax(logits[row])[targets[row]]`, or `None` where there is no kernel.
///
/// Rows of weight 0 are skipped, whatever their target. There is no kernel for an empty vocabulary.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`; `targets` and `weights`: `rows` entries; the result: `[1]`.
///
/// # Panics
/// If there is not one target and one weight for each row, or if the target of a row with a weight is not in the
/// vocabulary.
pub fn cross_entropy<B: Backend>(
    logits: &Tensor<B, 2>,
    targets: &[i32],
    weights: &[f32],
) -> Option<Tensor<B, 1>> {
    let [rows, vocab] = logits.dims();
    if vocab == 0 {
        return None;
    }
    apply([float_tensor(logits)], |[logits]| {
        Some(Call {
            labels: Labels::new(targets, weights, rows, vocab),
            logits: Floats::new(logits)?,
        })
    })
}

/// What is wanted of each row.
#[derive(Debug)]
pub(crate) struct Labels {
    pub targets: Vec<i32>,
    pub weights: Vec<f32>,
    pub vocab: usize,
}

impl Labels {
    /// Asserts that there is one target and one weight for each row, and that targets with a weight exist.
    pub fn new(targets: &[i32], weights: &[f32], rows: usize, vocab: usize) -> Self {
        assert_eq!(
            (targets.len(), weights.len()),
            (rows, rows),
            "a target and a weight for each of {rows} rows"
        );
        for (row, (target, weight)) in targets.iter().zip(weights).enumerate() {
            let fits = usize::try_from(*target).is_ok_and(|target| target < vocab);
            assert!(
                fits || *weight == 0.0,
                "target {target} of row {row} is not below the vocabulary's {vocab}"
            );
        }
        Self {
            targets: targets.to_vec(),
            weights: weights.to_vec(),
            vocab,
        }
    }

    /// The rows with a weight, and their labels.
    pub fn chosen(self) -> (Vec<usize>, Self) {
        let rows: Vec<usize> = (0..self.weights.len())
            .filter(|row| self.weights[*row] != 0.0)
            .collect();
        let labels = Self {
            targets: rows.iter().map(|row| self.targets[*row]).collect(),
            weights: rows.iter().map(|row| self.weights[*row]).collect(),
            vocab: self.vocab,
        };
        (rows, labels)
    }

    /// The sum; fills `gradient` with its gradient if it is wanted.
    fn sum(&self, logits: &Floats, gradient: Option<&mut [f32]>) -> FlexTensor {
        let isa = Isa::best();
        let rows = logits
            .get()
            .par_chunks(ROWS * self.vocab)
            .zip(self.targets.par_chunks(ROWS));
        let rows = rows.zip(self.weights.par_chunks(ROWS));
        let judged: Vec<Judged> = match gradient {
            Some(gradient) => rows
                .zip(gradient.par_chunks_mut(ROWS * self.vocab))
                .map(|(rows, gradient)| self.judge(isa, rows, Some(gradient)))
                .collect(),
            None => rows.map(|rows| self.judge(isa, rows, None)).collect(),
        };
        let judged: Judged = judged.into_iter().sum();
        tensor(vec![judged.loss as f32], [1])
    }

    /// What some rows amount to, which are given with their targets and weights.
    fn judge(
        &self,
        isa: Isa,
        ((logits, targets), weights): ((&[f32], &[i32]), &[f32]),
        gradient: Option<&mut [f32]>,
    ) -> Judged {
        isa.run(CrossEntropy {
            logits,
            vocab: self.vocab,
            stride: self.vocab,
            targets,
            weights,
            gradient,
        })
    }
}

#[derive(Debug)]
struct Call {
    logits: Floats,
    labels: Labels,
}

impl Operation<1> for Call {
    /// The gradient of the logits, which the forward pass computes on the way.
    type Saved = Buffer;

    fn infer(&self) -> FlexTensor {
        self.labels.sum(&self.logits, None)
    }

    fn forward(&self) -> (FlexTensor, Buffer) {
        let mut gradient = Buffer::take(self.logits.get().len());
        let sum = self.labels.sum(&self.logits, Some(&mut gradient));
        (sum, gradient)
    }

    fn backward(&self, gradient: &Buffer, grad: &[f32]) -> [FlexTensor; 1] {
        let scale = grad.first().copied().unwrap_or_default();
        let scaled = gradient.iter().map(|g| g * scale).collect();
        [tensor(
            scaled,
            [self.labels.targets.len(), self.labels.vocab],
        )]
    }
}
