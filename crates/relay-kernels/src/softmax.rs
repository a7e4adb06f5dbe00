//! Passes over rows of scores: distances, softmax, its gradient.

use pulp::{Simd, WithSimd};

use crate::math::exp;

/// Lowers scores by the distance of query and key (ALiBi).
pub(crate) struct Slope<'a> {
    pub rows: &'a mut [f32],
    /// Floats from one row to the next.
    pub stride: usize,
    /// Floats of a row that are used.
    pub width: usize,
    pub slope: f32,
    /// The place of the first row's query, counted from the first key.
    pub query: f32,
}

impl WithSimd for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (index, row) in self.rows.chunks_exact_mut(self.stride).enumerate() {
            let query = self.query + index as f32;
            for (key, score) in row[..self.width].iter_mut().enumerate() {
                *score -= self.slope * (query - key as f32).abs();
            }
        }
    }
}

/// Softmax in place over the first `valid(row)` entries of each row; the rest becomes zero. If one of them is no number or
/// positive infinity, or all are negative infinity, none of them is a number afterwards: so it is seen that something went wrong.
pub(crate) struct Softmax<'a, F: Fn(usize) -> usize> {
    pub rows: &'a mut [f32],
    /// Floats from one row to the next.
    pub stride: usize,
    /// Floats of a row that are used, a whole number of vectors.
    pub width: usize,
    pub valid: F,
}

impl<F: Fn(usize) -> usize> WithSimd for Softmax<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for (index, row) in self.rows.chunks_exact_mut(self.stride).enumerate() {
            let row = &mut row[..self.width];
            let valid = (self.valid)(index);
            if valid == 0 {
                row.fill(0.0);
                continue;
            }
            row[valid..].fill(f32::NEG_INFINITY);
            let (vectors, _) = S::as_mut_simd_f32s(row);
            let mut most = vectors[0];
            for x in &vectors[1..] {
                most = s.max_f32s(most, *x);
            }
            let most = s.splat_f32s(s.reduce_max_f32s(most));
            let mut sum = s.splat_f32s(0.0);
            for x in vectors.iter_mut() {
                *x = exp(s, s.sub_f32s(*x, most));
                sum = s.add_f32s(sum, *x);
            }
            // What is masked adds at most e^-87 each to the sum, which is at least 1: nothing in f32.
            let scale = s.splat_f32s(1.0 / s.reduce_sum_f32s(sum));
            for x in vectors.iter_mut() {
                *x = s.mul_f32s(*x, scale);
            }
            row[valid..].fill(0.0);
        }
    }
}

/// Backward of [`Softmax`] in place: `grad = p * (grad - sum(p * grad))` on each row.
pub(crate) struct SoftmaxBackward<'a> {
    pub p: &'a [f32],
    pub grad: &'a mut [f32],
    pub stride: usize,
    pub width: usize,
}

impl WithSimd for SoftmaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for (p, grad) in self
            .p
            .chunks_exact(self.stride)
            .zip(self.grad.chunks_exact_mut(self.stride))
        {
            let (p, _) = S::as_simd_f32s(&p[..self.width]);
            let (grad, _) = S::as_mut_simd_f32s(&mut grad[..self.width]);
            let mut dot = s.splat_f32s(0.0);
            for (p, g) in p.iter().zip(&*grad) {
                dot = s.mul_add_e_f32s(*p, *g, dot);
            }
            let dot = s.splat_f32s(s.reduce_sum_f32s(dot));
            for (p, g) in p.iter().zip(grad) {
                *g = s.mul_f32s(*p, s.sub_f32s(*g, dot));
            }
        }
    }
}
