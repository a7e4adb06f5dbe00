//! Masked cross-entropy as one op.

use core::any::TypeId;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, backend::Backend};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use crate::floats::{Floats, primitive, tensor, wrap};
use crate::isa::Isa;
use crate::pool::Buffer;
use crate::rows::CrossEntropy;
use crate::switch::enabled;

/// Rows that one task computes.
pub(crate) const ROWS: usize = 64;

/// Sum over the rows of `weights[row] * -log softmax(logits[row])[targets[row]]`, or `None` where there is no kernel.
///
/// Rows of weight 0 are skipped, whatever their target.
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
    if !enabled() {
        return None;
    }
    let [rows, vocab] = logits.dims();
    let labels = || Labels::new(targets, weights, rows, vocab);
    let kind = TypeId::of::<B>();
    if kind == TypeId::of::<Flex>() {
        wrap(labels().sum(&Floats::new(&primitive(logits)?)?, None))
    } else if kind == TypeId::of::<Autodiff<Flex, NoCheckpointing>>() {
        wrap(record::<NoCheckpointing>(primitive(logits)?, labels())?)
    } else if kind == TypeId::of::<Autodiff<Flex, BalancedCheckpointing>>() {
        wrap(record::<BalancedCheckpointing>(
            primitive(logits)?,
            labels(),
        )?)
    } else {
        None
    }
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
        let sums: Vec<f64> = match gradient {
            Some(gradient) => rows
                .zip(gradient.par_chunks_mut(ROWS * self.vocab))
                .map(|(((logits, targets), weights), gradient)| {
                    isa.run(CrossEntropy {
                        logits,
                        targets,
                        weights,
                        gradient: Some(gradient),
                    })
                })
                .collect(),
            None => rows
                .map(|((logits, targets), weights)| {
                    isa.run(CrossEntropy {
                        logits,
                        targets,
                        weights,
                        gradient: None,
                    })
                })
                .collect(),
        };
        tensor(vec![sums.iter().sum::<f64>() as f32], [1])
    }
}

/// The op's node in the graph. The forward pass has computed the gradient on the way.
#[derive(Debug)]
struct CrossEntropyBackward;

impl Backward<Flex, 1> for CrossEntropyBackward {
    type State = Arc<(Buffer, [usize; 2])>;

    fn backward(self, ops: Ops<Self::State, 1>, graph: &mut Gradients, _: &mut Checkpointer) {
        let grad = graph.consume::<Flex>(&ops.node);
        let scale = Floats::new(&grad).and_then(|grad| grad.get().first().copied());
        let ([Some(parent)], Some(scale)) = (ops.parents, scale) else {
            return;
        };
        let (gradient, dims) = &*ops.state;
        let scaled = gradient.iter().map(|g| g * scale).collect();
        graph.register::<Flex>(parent.id, tensor(scaled, *dims));
    }
}

fn record<C: CheckpointStrategy>(
    logits: FloatTensor<Autodiff<Flex, C>>,
    labels: Labels,
) -> Option<FloatTensor<Autodiff<Flex, C>>> {
    let floats = Floats::new(&logits.primitive)?;
    Some(
        match CrossEntropyBackward
            .prepare::<C>([logits.node.clone()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let mut gradient = Buffer::take(floats.get().len());
                let sum = labels.sum(&floats, Some(&mut gradient));
                prep.finish(
                    Arc::new((gradient, [labels.targets.len(), labels.vocab])),
                    sum,
                )
            }
            OpsKind::UnTracked(prep) => prep.finish(labels.sum(&floats, None)),
        },
    )
}
