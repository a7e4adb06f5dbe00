//! The norm of rows as an operation on the tensors of burn's CUDA backend.

use burn::tensor::DType;

use super::op::{Lazy, Operation, Saved, exactly, submit};
use super::rows::{Norm, NormBackward};
use crate::switch::Precision;

/// Most columns: a row stays in the registers of a warp.
const MOST: usize = 1024;

/// A norm of some rows.
#[derive(Debug)]
pub(super) struct Call {
    x: Lazy,
    gamma: Lazy,
    beta: Lazy,
    epsilon: f32,
}

impl Call {
    /// None if a tensor is not of `f32`, or if there are no kernels for such sizes.
    pub fn new(tensors: [Lazy; 3], epsilon: f32) -> Option<Self> {
        let (rows, d) = (tensors[0].shape[0], tensors[0].shape[1]);
        let floats = tensors.iter().all(|tensor| tensor.dtype == DType::F32);
        let fits = rows > 0 && (1..=MOST).contains(&d) && d.is_multiple_of(64);
        let [x, gamma, beta] = tensors;
        (floats && fits).then_some(Self {
            x,
            gamma,
            beta,
            epsilon,
        })
    }
}

impl Operation<3> for Call {
    type Saved = ForBackward;

    fn forward(self) -> (Lazy, ForBackward) {
        let (sizes, epsilon) = ([self.x.shape[0], self.x.shape[1]], self.epsilon);
        let outputs = [
            (DType::F32, sizes.to_vec()),
            (DType::F32, vec![sizes[0], 2]),
        ];
        let inputs = vec![self.x.clone(), self.gamma.clone(), self.beta];
        let [out, stats] = submit(
            ("relay_norm", Precision::F32),
            inputs,
            outputs,
            move |queue, inputs| {
                let [x, gamma, beta] = exactly(inputs);
                let norm = Norm {
                    sizes,
                    epsilon,
                    x: &x,
                    vectors: [&gamma, &beta],
                    chosen: None,
                };
                let (out, stats) = (
                    queue.floats(sizes[0] * sizes[1]),
                    queue.floats(2 * sizes[0]),
                );
                norm.wide(queue, &out, &stats);
                vec![out, stats]
            },
        );
        let left = ForBackward {
            x: self.x,
            gamma: self.gamma,
            stats,
        };
        (out, left)
    }
}

/// What the forward pass leaves.
#[derive(Debug, Clone)]
pub(super) struct ForBackward {
    x: Lazy,
    gamma: Lazy,
    stats: Lazy,
}

impl Saved<3> for ForBackward {
    fn backward(self, grad: Lazy) -> [Option<Lazy>; 3] {
        let sizes = [self.x.shape[0], self.x.shape[1]];
        let outputs = [sizes.to_vec(), vec![sizes[1]], vec![sizes[1]]];
        let outputs = outputs.map(|shape| (DType::F32, shape));
        let inputs = vec![grad, self.x, self.stats, self.gamma];
        let gradients = submit(
            ("relay_norm_backward", Precision::F32),
            inputs,
            outputs,
            move |queue, inputs| {
                let [grad, x, stats, gamma] = exactly(inputs);
                let out = queue.floats(sizes[0] * sizes[1]);
                let [grad_gamma, grad_beta] = queue.zeros([sizes[1]; 2]);
                let norm = NormBackward {
                    sizes,
                    grad: &grad,
                    wide: true,
                    x: &x,
                    stats: &stats,
                    gamma: &gamma,
                    skip: None,
                    chosen: None,
                    scale: None,
                    sums: [&grad_gamma, &grad_beta],
                };
                norm.run(queue, &out);
                vec![out, grad_gamma, grad_beta]
            },
        );
        gradients.map(Some)
    }
}
