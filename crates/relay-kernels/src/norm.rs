//! Layer norm of rows as one op.

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::floats::{Floats, tensor};
use crate::isa::Isa;
use crate::node::{Operation, apply, float_tensor};
use crate::pool::{Buffer, with_scratch};
use crate::rows::{Norm, NormBackward};

/// Floats that one task normalises: less is not worth waking a thread.
const PIECE: usize = 1 << 15;

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` on every row, or `None` where there is no kernel.
///
/// On `burn::backend::Cuda` there is a kernel with the feature `cuda`, for rows of up to 1024 that are a multiple of 64. It
/// computes in f32 in any [`Precision`](crate::Precision).
///
/// # Shapes
/// - `x` and the result: `[rows, d]`; `gamma` and `beta`: `[d]`.
///
/// # Panics
/// If `gamma` or `beta` has not one entry for each column of `x`.
pub fn norm<B: Backend>(
    x: &Tensor<B, 2>,
    gamma: &Tensor<B, 1>,
    beta: &Tensor<B, 1>,
    epsilon: f32,
) -> Option<Tensor<B, 2>> {
    let [rows, d] = x.dims();
    assert_eq!(
        [gamma.dims(), beta.dims()],
        [[d]; 2],
        "scale and shift of rows of {d}"
    );
    let primitives = [float_tensor(x), float_tensor(gamma), float_tensor(beta)];
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        return crate::cuda::norm::<B>(primitives, epsilon);
    }
    apply(primitives, |[x, gamma, beta]| {
        (rows > 0 && d > 0).then_some(Call {
            x: Floats::new(x)?,
            gamma: Floats::new(gamma)?,
            beta: Floats::new(beta)?,
            epsilon,
            shape: [rows, d],
        })
    })
}

#[derive(Debug)]
struct Call {
    x: Floats,
    gamma: Floats,
    beta: Floats,
    epsilon: f32,
    shape: [usize; 2],
}

impl Call {
    /// Rows of a task.
    fn piece(&self) -> usize {
        (PIECE / self.shape[1]).max(1)
    }
}

impl Operation<3> for Call {
    /// Mean and reciprocal deviation of each row.
    type Saved = Buffer;

    fn forward(&self) -> (FlexTensor, Buffer) {
        let [rows, d] = self.shape;
        let (mut out, mut moments) = (vec![0.0; rows * d], Buffer::take(2 * rows));
        let piece = self.piece();
        let pieces = self
            .x
            .get()
            .par_chunks(piece * d)
            .zip(out.par_chunks_mut(piece * d))
            .zip(moments.par_chunks_mut(piece * 2));
        pieces.for_each(|((x, out), moments)| {
            Isa::best().run(Norm {
                x,
                gamma: self.gamma.get(),
                beta: self.beta.get(),
                epsilon: self.epsilon,
                out,
                moments,
            });
        });
        (tensor(out, self.shape), moments)
    }

    fn backward(&self, moments: &Buffer, grad: &[f32]) -> [FlexTensor; 3] {
        let [rows, d] = self.shape;
        let piece = self.piece();
        let mut grad_x = vec![0.0; rows * d];
        let mut sides = vec![0.0; rows.div_ceil(piece) * 2 * d];
        let inputs = self
            .x
            .get()
            .par_chunks(piece * d)
            .zip(moments.par_chunks(piece * 2))
            .zip(grad.par_chunks(piece * d));
        let outputs = grad_x
            .par_chunks_mut(piece * d)
            .zip(sides.par_chunks_mut(2 * d));
        inputs
            .zip(outputs)
            .for_each(|(((x, moments), grad), (grad_x, sides))| {
                let (grad_gamma, grad_beta) = sides.split_at_mut(d);
                with_scratch(x.len(), |out| {
                    Isa::best().run(NormBackward {
                        x,
                        moments,
                        gamma: self.gamma.get(),
                        beta: self.beta.get(),
                        grad,
                        base: None,
                        grad_x,
                        grad_gamma,
                        grad_beta,
                        out,
                    });
                });
            });
        let mut sums = vec![0.0; 2 * d];
        for side in sides.chunks_exact(2 * d) {
            for (sum, side) in sums.iter_mut().zip(side) {
                *sum += side;
            }
        }
        let grad_beta = sums.split_off(d);
        [
            tensor(grad_x, self.shape),
            tensor(sums, [d]),
            tensor(grad_beta, [d]),
        ]
    }
}
