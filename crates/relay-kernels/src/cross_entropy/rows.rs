//! Cross-entropy of rows of logits.

use pulp::{Simd, WithSimd};

use crate::math::exp;
use crate::rows::{get, put};

/// What rows of logits amount to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Judged {
    /// Sum of the weighted cross-entropies.
    pub loss: f64,
    /// Rows with a weight whose target is the most probable token, the first among equals.
    pub right: u64,
}

impl core::iter::Sum for Judged {
    fn sum<I: Iterator<Item = Self>>(rows: I) -> Self {
        rows.fold(Self::default(), |sum, rows| Self {
            loss: sum.loss + rows.loss,
            right: sum.right + rows.right,
        })
    }
}

/// Weighted cross-entropy of rows of logits, and the gradient of the logits if wanted. What is no number or positive infinity in a
/// row with a weight makes the sum and the row's gradient no numbers.
pub(crate) struct CrossEntropy<'a> {
    pub logits: &'a [f32],
    pub vocab: usize,
    /// Floats from one row to the next, of logits and gradient; what the gradient has beyond the vocabulary becomes zero.
    pub stride: usize,
    pub targets: &'a [i32],
    pub weights: &'a [f32],
    pub gradient: Option<&'a mut [f32]>,
}

impl WithSimd for CrossEntropy<'_> {
    type Output = Judged;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) -> Judged {
        let (vocab, stride) = (self.vocab, self.stride);
        let mut judged = Judged::default();
        let rows = self
            .logits
            .chunks_exact(stride)
            .zip(self.targets)
            .zip(self.weights);
        for (row, ((logits, target), weight)) in rows.enumerate() {
            let logits = &logits[..vocab];
            let gradient = self.gradient.as_deref_mut().map(|gradient| {
                let (gradient, rest) = gradient[row * stride..][..stride].split_at_mut(vocab);
                rest.fill(0.0);
                gradient
            });
            if *weight == 0.0 {
                if let Some(gradient) = gradient {
                    gradient.fill(0.0);
                }
                continue;
            }
            let (vectors, rest) = S::as_simd_f32s(logits);
            let mut most = s.splat_f32s(f32::NEG_INFINITY);
            for x in vectors {
                most = s.max_f32s(most, *x);
            }
            let most = rest
                .iter()
                .fold(s.reduce_max_f32s(most), |most, x| most.max(*x));
            let shift = s.splat_f32s(most);
            let mut sum = s.splat_f32s(0.0);
            for x in vectors {
                sum = s.add_f32s(sum, exp(s, s.sub_f32s(*x, shift)));
            }
            let rest: f32 = rest.iter().map(|x| (x - most).exp()).sum();
            let sum = s.reduce_sum_f32s(sum) + rest;
            // In range: whoever made the labels has checked the targets of rows with a weight.
            let target = *target as usize;
            judged.loss +=
                f64::from(*weight) * (f64::from(sum.ln()) - f64::from(logits[target] - most));
            let first = || logits[..target].iter().all(|x| *x != most);
            judged.right += u64::from(logits[target] == most && first());
            if let Some(gradient) = gradient {
                let scale = s.splat_f32s(weight / sum);
                for at in (0..vocab).step_by(S::F32_LANES) {
                    put(
                        s,
                        gradient,
                        at,
                        s.mul_f32s(exp(s, s.sub_f32s(get(s, logits, at), shift)), scale),
                    );
                }
                gradient[target] -= weight;
            }
        }
        judged
    }
}
