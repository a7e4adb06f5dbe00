//! The sum of two products as one op: the linear input injection of a looped model.

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::floats::{Floats, tensor};
use crate::isa::Isa;
use crate::node::{Operation, apply, float_tensor};
use crate::pack::{Matrix, Packed};
use crate::product::{Left, left, times_packed, times_rows};

/// Floats of the result that one task computes.
const PIECE: usize = 1 << 14;

/// Rows of a weight's gradient that one task computes.
const WEIGHT_ROWS: usize = 32;

/// Floats of a row up to which a product reads rows where they lie; longer ones, far apart, evict each other.
const SHORT: usize = 64;

/// `x * a + y * b`, or `None` where there is no kernel.
///
/// On `burn::backend::Cuda` there is a kernel with the feature `cuda`, for rows of up to 1024 that are a multiple of 64. It
/// rounds what it multiplies as [`Precision`](crate::Precision) says.
///
/// # Shapes
/// - `x`, `y` and the result: `[rows, d]`; `a` and `b`: `[d, d]`.
///
/// # Panics
/// If the shapes do not fit.
pub fn blend<B: Backend>(
    [x, y]: [&Tensor<B, 2>; 2],
    [a, b]: [&Tensor<B, 2>; 2],
) -> Option<Tensor<B, 2>> {
    let [rows, d] = x.dims();
    assert_eq!(
        [y.dims(), a.dims(), b.dims()],
        [[rows, d], [d, d], [d, d]],
        "shapes beside a [{rows}, {d}]"
    );
    let primitives = [x, y, a, b].map(float_tensor);
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        return crate::cuda::blend::<B>(primitives);
    }
    apply(primitives, |[x, y, a, b]| {
        (rows > 0 && d > 0).then_some(Call {
            inputs: [Floats::new(x)?, Floats::new(y)?],
            weights: [Floats::new(a)?, Floats::new(b)?],
            shape: [rows, d],
        })
    })
}

#[derive(Debug)]
struct Call {
    inputs: [Floats; 2],
    weights: [Floats; 2],
    shape: [usize; 2],
}

impl Call {
    fn matrices(&self) -> [Matrix<'_>; 2] {
        let [_, d] = self.shape;
        self.weights.each_ref().map(|weight| Matrix {
            data: weight.get(),
            rows: d,
            cols: d,
        })
    }

    /// Floats of a task of whole rows.
    fn piece(&self) -> usize {
        (PIECE / self.shape[1]).max(1) * self.shape[1]
    }
}

impl Operation<4> for Call {
    type Saved = ();

    fn infer(&self) -> FlexTensor {
        let (isa, [rows, d]) = (Isa::best(), self.shape);
        let packed = self.matrices().map(|matrix| Packed::beside(isa, &[matrix]));
        let mut out = vec![0.0; rows * d];
        let [x, y] = self.inputs.each_ref().map(Floats::get);
        let inputs = x.par_chunks(self.piece()).zip(y.par_chunks(self.piece()));
        inputs
            .zip(out.par_chunks_mut(self.piece()))
            .for_each(|((x, y), out)| {
                for ((data, packed), more) in [x, y].into_iter().zip(&packed).zip([false, true]) {
                    times_packed(isa, data.len() / d, left(data, d), packed, out, d, more);
                }
            });
        tensor(out, self.shape)
    }

    fn forward(&self) -> (FlexTensor, ()) {
        (self.infer(), ())
    }

    fn backward(&self, (): &(), grad: &[f32]) -> [FlexTensor; 4] {
        let (isa, [rows, d]) = (Isa::best(), self.shape);
        let [mut grad_x, mut grad_y] = [(); 2].map(|()| vec![0.0; rows * d]);
        let mut grad_weights = vec![0.0; 2 * d * d];
        let inputs = || {
            let packed = self
                .matrices()
                .map(|matrix| Packed::transposes_below(isa, &[matrix]));
            let outputs = grad_x
                .par_chunks_mut(self.piece())
                .zip(grad_y.par_chunks_mut(self.piece()));
            grad.par_chunks(self.piece())
                .zip(outputs)
                .for_each(|(grad, (x, y))| {
                    for (out, packed) in [x, y].into_iter().zip(&packed) {
                        times_packed(isa, grad.len() / d, left(grad, d), packed, out, d, false);
                    }
                });
        };
        let weights = || {
            let lie_well = d <= SHORT && d.is_multiple_of(isa.lanes());
            let packed = (!lie_well).then(|| {
                let (data, cols) = (grad, d);
                Packed::beside(isa, &[Matrix { data, rows, cols }])
            });
            let each = self.inputs.each_ref().map(Floats::get);
            each.into_par_iter()
                .zip(grad_weights.par_chunks_mut(d * d))
                .for_each(|(input, out)| {
                    gradient_of_weight(input, d, d, out, |left, out| match &packed {
                        Some(packed) => {
                            times_packed(isa, out.len() / d, left, packed, out, d, false);
                        }
                        None => times_rows(isa, [out.len() / d, rows, d], left, grad, d, out, d),
                    });
                });
        };
        rayon::join(inputs, weights);
        let grad_b = grad_weights.split_off(d * d);
        [
            tensor(grad_x, self.shape),
            tensor(grad_y, self.shape),
            tensor(grad_weights, [d, d]),
            tensor(grad_b, [d, d]),
        ]
    }
}

/// `out = transpose(input) * grad [.., cols]`, some of its rows at a time, each summed over all rows of `input` in their
/// order. `times_grad` multiplies the left side that it is given with `grad`.
pub(crate) fn gradient_of_weight(
    input: &[f32],
    d: usize,
    cols: usize,
    out: &mut [f32],
    times_grad: impl Fn(Left<'_>, &mut [f32]) + Sync,
) {
    let pieces = out.par_chunks_mut(WEIGHT_ROWS * cols).enumerate();
    pieces.for_each(|(index, out)| {
        let left = Left {
            data: input.get(index * WEIGHT_ROWS..).unwrap_or_default(),
            row: 1,
            col: d,
        };
        times_grad(left, out);
    });
}
