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

impl Step {
    /// As the passes use them, in single precision: decay of both moments, one minus it, what removes their bias, and
    /// epsilon, clip, learning rate and what is kept.
    pub fn numbers(&self) -> [f32; 10] {
        let [old_1, old_2] = self.betas;
        let [unbiased_1, unbiased_2] = self.betas.map(|beta| 1.0 - beta.powf(self.time as f64));
        [
            old_1,
            old_2,
            1.0 - old_1,
            1.0 - old_2,
            unbiased_1,
            unbiased_2,
            self.epsilon,
            self.clip,
            self.learning_rate,
            self.keep,
        ]
        .map(|x| x as f32)
    }
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
        let [
            old_1,
            old_2,
            fresh_1,
            fresh_2,
            unbiased_1,
            unbiased_2,
            epsilon,
            clip,
            rate,
            keep,
        ] = self.step.numbers();
        // Plain loops: the compiler makes vectors of them, square root and division included.
        let moments = self.moment_1.iter_mut().zip(self.moment_2);
        let inputs = self.value.iter().zip(self.gradient);
        for (((value, gradient), (moment_1, moment_2)), out) in inputs.zip(moments).zip(self.out) {
            let gradient = gradient * clip;
            *moment_1 = *moment_1 * old_1 + gradient * fresh_1;
            *moment_2 = *moment_2 * old_2 + gradient * gradient * fresh_2;
            let root = (*moment_2 / unbiased_2).sqrt();
            let direction = *moment_1 / unbiased_1 / (root + epsilon);
            *out = value * keep - direction * rate;
        }
    }
}
