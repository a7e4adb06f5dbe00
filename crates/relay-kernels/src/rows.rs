//! Row-wise passes: norms, GELU, sums of columns.

use pulp::{Simd, WithSimd};

use crate::math::normal;

/// The vector at `at`, filled up with zeros at the end of the slice.
#[inline(always)]
pub(crate) fn get<S: Simd>(s: S, x: &[f32], at: usize) -> S::f32s {
    let x = &x[at..];
    match S::as_simd_f32s(x).0.first() {
        Some(vector) => *vector,
        None => s.partial_load_f32s(x),
    }
}

/// Writes a vector at `at`, or as much of it as the slice has room for.
#[inline(always)]
pub(crate) fn put<S: Simd>(s: S, x: &mut [f32], at: usize, value: S::f32s) {
    let x = &mut x[at..];
    if x.len() >= S::F32_LANES {
        S::as_mut_simd_f32s(x).0[0] = value;
    } else {
        s.partial_store_f32s(x, value);
    }
}

/// Layer norm of rows, keeping each row's mean and reciprocal deviation.
pub(crate) struct Norm<'a> {
    pub x: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub epsilon: f32,
    pub out: &'a mut [f32],
    /// `[rows, 2]`.
    pub moments: &'a mut [f32],
}

impl WithSimd for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let d = self.gamma.len();
        let rows = self
            .x
            .chunks_exact(d)
            .zip(self.out.chunks_exact_mut(d))
            .zip(self.moments.chunks_exact_mut(2));
        for ((x, out), moments) in rows {
            let (vectors, rest) = S::as_simd_f32s(x);
            let mut sum = s.splat_f32s(0.0);
            for x in vectors {
                sum = s.add_f32s(sum, *x);
            }
            let mean = (s.reduce_sum_f32s(sum) + rest.iter().sum::<f32>()) / d as f32;
            let means = s.splat_f32s(mean);
            let mut sum = s.splat_f32s(0.0);
            for x in vectors {
                let x = s.sub_f32s(*x, means);
                sum = s.mul_add_e_f32s(x, x, sum);
            }
            let rest: f32 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
            let variance = (s.reduce_sum_f32s(sum) + rest) / d as f32;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            moments.copy_from_slice(&[mean, scale]);
            let scales = s.splat_f32s(scale);
            for at in (0..d).step_by(S::F32_LANES) {
                let x = s.mul_f32s(s.sub_f32s(get(s, x, at), means), scales);
                put(
                    s,
                    out,
                    at,
                    s.mul_add_e_f32s(x, get(s, self.gamma, at), get(s, self.beta, at)),
                );
            }
        }
    }
}

/// Backward of [`Norm`]: adds to the gradients of the parameters, and gives the forward's output again.
pub(crate) struct NormBackward<'a> {
    pub x: &'a [f32],
    pub moments: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    /// Gradient of the norm's output.
    pub grad: &'a [f32],
    /// What the gradient of the input is added to, if anything.
    pub base: Option<&'a [f32]>,
    pub grad_x: &'a mut [f32],
    pub grad_gamma: &'a mut [f32],
    pub grad_beta: &'a mut [f32],
    pub out: &'a mut [f32],
}

impl WithSimd for NormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let d = self.gamma.len();
        let inputs = self
            .x
            .chunks_exact(d)
            .zip(self.moments.chunks_exact(2))
            .zip(self.grad.chunks_exact(d));
        let outputs = self
            .grad_x
            .chunks_exact_mut(d)
            .zip(self.out.chunks_exact_mut(d));
        for (row, (((x, moments), grad), (grad_x, out))) in inputs.zip(outputs).enumerate() {
            let base = self.base.map(|base| &base[row * d..][..d]);
            let (mean, scale) = (s.splat_f32s(moments[0]), s.splat_f32s(moments[1]));
            let (mut sum, mut dot) = (s.splat_f32s(0.0), s.splat_f32s(0.0));
            for at in (0..d).step_by(S::F32_LANES) {
                let normal = s.mul_f32s(s.sub_f32s(get(s, x, at), mean), scale);
                let (gamma, dy) = (get(s, self.gamma, at), get(s, grad, at));
                put(
                    s,
                    out,
                    at,
                    s.mul_add_e_f32s(normal, gamma, get(s, self.beta, at)),
                );
                let g = s.mul_f32s(dy, gamma);
                sum = s.add_f32s(sum, g);
                dot = s.mul_add_e_f32s(g, normal, dot);
                let old = get(s, self.grad_gamma, at);
                put(s, self.grad_gamma, at, s.mul_add_e_f32s(dy, normal, old));
                let old = get(s, self.grad_beta, at);
                put(s, self.grad_beta, at, s.add_f32s(old, dy));
            }
            let sum = s.splat_f32s(s.reduce_sum_f32s(sum) / d as f32);
            let dot = s.splat_f32s(s.reduce_sum_f32s(dot) / d as f32);
            for at in (0..d).step_by(S::F32_LANES) {
                let normal = s.mul_f32s(s.sub_f32s(get(s, x, at), mean), scale);
                let g = s.mul_f32s(get(s, grad, at), get(s, self.gamma, at));
                let g = s.sub_f32s(s.sub_f32s(g, sum), s.mul_f32s(normal, dot));
                let base = base.map_or(s.splat_f32s(0.0), |base| get(s, base, at));
                put(s, grad_x, at, s.mul_add_e_f32s(g, scale, base));
            }
        }
    }
}

/// Adds the bias to the rows of `u` and takes GELU of them.
pub(crate) struct Gelu<'a> {
    pub u: &'a mut [f32],
    pub bias: &'a [f32],
    pub out: &'a mut [f32],
}

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let m = self.bias.len();
        for (u, out) in self.u.chunks_exact_mut(m).zip(self.out.chunks_exact_mut(m)) {
            for at in (0..m).step_by(S::F32_LANES) {
                let x = s.add_f32s(get(s, u, at), get(s, self.bias, at));
                put(s, u, at, x);
                put(s, out, at, s.mul_f32s(x, normal(s, x).0));
            }
        }
    }
}

/// Backward of [`Gelu`]: turns `grad` into the gradient of `u`, adds it to the bias' and gives GELU again.
pub(crate) struct GeluBackward<'a> {
    pub u: &'a [f32],
    pub grad: &'a mut [f32],
    pub grad_bias: &'a mut [f32],
    pub out: &'a mut [f32],
}

impl WithSimd for GeluBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let m = self.grad_bias.len();
        let rows = self
            .u
            .chunks_exact(m)
            .zip(self.grad.chunks_exact_mut(m))
            .zip(self.out.chunks_exact_mut(m));
        for ((u, grad), out) in rows {
            for at in (0..m).step_by(S::F32_LANES) {
                let x = get(s, u, at);
                let (phi, density) = normal(s, x);
                put(s, out, at, s.mul_f32s(x, phi));
                let g = s.mul_f32s(get(s, grad, at), s.add_f32s(phi, density));
                put(s, grad, at, g);
                let old = get(s, self.grad_bias, at);
                put(s, self.grad_bias, at, s.add_f32s(old, g));
            }
        }
    }
}

/// Adds each row of `x` to `sums`.
pub(crate) struct ColumnSums<'a> {
    pub x: &'a [f32],
    pub sums: &'a mut [f32],
}

impl WithSimd for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.x.chunks_exact(self.sums.len()) {
            for (sum, x) in self.sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

/// `out = x + bias` on rows.
pub(crate) struct AddBias<'a> {
    pub x: &'a [f32],
    pub bias: &'a [f32],
    pub out: &'a mut [f32],
}

impl WithSimd for AddBias<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.bias.len();
        for (x, out) in self.x.chunks_exact(d).zip(self.out.chunks_exact_mut(d)) {
            for ((out, x), bias) in out.iter_mut().zip(x).zip(self.bias) {
                *out = x + bias;
            }
        }
    }
}
