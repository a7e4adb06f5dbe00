//! AdamW in one pass over value, gradient and moments.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::isa::Isa;

/// Floats that one task moves.
const PIECE: usize = 1 << 14;

/// The numbers of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Decay of the means of gradients and of their squares.
    pub betas: [f64; 2],
    pub epsilon: f64,
    /// This step's number, from 1.
    pub time: i64,
    /// What the gradient is multiplied with before anything else.
    pub clip: f64,
    pub learning_rate: f64,
    /// What is left of the value before the step.
    pub keep: f64,
}

/// Moves the moments on and gives the new value.
pub(crate) fn step(
    isa: Isa,
    step: Step,
    value: &[f32],
    gradient: &[f32],
    [moment_1, moment_2]: [&mut [f32]; 2],
) -> Vec<f32> {
    let mut out = vec![0.0; value.len()];
    let pieces = value
        .par_chunks(PIECE)
        .zip(gradient.par_chunks(PIECE))
        .zip(moment_1.par_chunks_mut(PIECE))
        .zip(moment_2.par_chunks_mut(PIECE))
        .zip(out.par_chunks_mut(PIECE));
    pieces.for_each(|((((value, gradient), moment_1), moment_2), out)| {
        isa.run(Piece {
            step,
            value,
            gradient,
            moment_1,
            moment_2,
            out,
        });
    });
    out
}

struct Piece<'a> {
    step: Step,
    value: &'a [f32],
    gradient: &'a [f32],
    moment_1: &'a mut [f32],
    moment_2: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Step {
            betas,
            epsilon,
            time,
            clip,
            learning_rate,
            keep,
        } = self.step;
        let single = |x: f64| x as f32;
        let [old, fresh] = [betas.map(single), betas.map(|beta| single(1.0 - beta))];
        let unbiased = betas.map(|beta| single(1.0 - beta.powf(time as f64)));
        let [epsilon, clip, rate, keep] = [epsilon, clip, learning_rate, keep].map(single);
        // Plain loops: the compiler makes vectors of them, square root and division included.
        let moments = self.moment_1.iter_mut().zip(self.moment_2);
        let inputs = self.value.iter().zip(self.gradient);
        for (((value, gradient), (moment_1, moment_2)), out) in inputs.zip(moments).zip(self.out) {
            let gradient = gradient * clip;
            *moment_1 = *moment_1 * old[0] + gradient * fresh[0];
            *moment_2 = *moment_2 * old[1] + gradient * gradient * fresh[1];
            let root = (*moment_2 / unbiased[1]).sqrt();
            let direction = *moment_1 / unbiased[0] / (root + epsilon);
            *out = value * keep - direction * rate;
        }
    }
}
