//! A layer's backward pass on plain floats.
//!
//! First the chunks' gradients along the stream, leaving both sides of each weight gradient; then the weight gradients,
//! cut by their own rows, each summed over these chunks in order: there are no partial sums to keep or add. A large
//! batch goes in rounds, so that what is left stays in cache.

use core::ops::Range;

use rayon::prelude::*;

use crate::attention::{Kept, Sample};
use crate::block::{Block, Saved, Vectors};
use crate::dropout::Dropped;
use crate::form::Form;
use crate::pool::{Buffer, cut, cut_mut, with_scratch};
use crate::prefetch::fetch;
use crate::rows::{ColumnSums, GeluBackward, NormBackward};
use crate::sides::{Layout, Sides, Slot};
use crate::weight_gradients::weight_gradients;
use crate::weights::Four;

/// Elements that chunks' backward passes leave before the weight gradients take them up: they stay in the last cache.
/// Few in tests, so that batches go in several rounds.
const ROUND_ELEMENTS: usize = if cfg!(test) { 1 << 17 } else { 1 << 22 };

/// Gradients of everything that goes into a layer.
#[derive(Debug)]
pub(crate) struct Gradients {
    pub x: Vec<f32>,
    pub norm_attention: [Vec<f32>; 2],
    /// Query, key, value, output, up, down.
    pub matrices: [Vec<f32>; 6],
    pub norm_mlp: [Vec<f32>; 2],
    pub up_bias: Vec<f32>,
    pub down_bias: Vec<f32>,
}

impl Block {
    /// The sides that so many samples leave.
    fn layout<E: Form>(&self, samples: usize) -> Layout {
        let chunk = self.chunk();
        let rows = |samples: usize| (samples * self.attention.width).div_ceil(E::NUMBERS);
        Layout {
            isa: self.isa(),
            widths: [self.d, self.m],
            chunk: rows(chunk),
            depth: samples / chunk * rows(chunk) + rows(samples % chunk),
        }
    }

    /// Floats of the gradients of all vectors.
    fn vectors(&self) -> usize {
        5 * self.d + self.m
    }

    /// The gradients from that of the output.
    pub fn backward<E: Form>(
        &self,
        x: &[f32],
        grad: &[f32],
        vectors: Vectors<'_>,
        weights: &Four<E>,
        saved: &[f32],
    ) -> Gradients {
        let (d, m) = (self.d, self.m);
        let mut gradients = Gradients {
            x: vec![0.0; x.len()],
            norm_attention: [vec![0.0; d], vec![0.0; d]],
            matrices: [[d, d], [d, d], [d, d], [d, d], [d, m], [m, d]]
                .map(|[rows, cols]| vec![0.0; rows * cols]),
            norm_mlp: [vec![0.0; d], vec![0.0; d]],
            up_bias: vec![0.0; m],
            down_bias: vec![0.0; d],
        };
        let chunk = self.chunk();
        let round = (ROUND_ELEMENTS / self.layout::<E>(chunk).elements()).max(1) * chunk;
        let most = self.layout::<E>(round.min(self.batch)).elements();
        let mut sides = Buffer::take(most);
        for start in (0..self.batch).step_by(round) {
            let samples = start..self.batch.min(start + round);
            self.backward_round(
                samples,
                x,
                grad,
                vectors,
                weights,
                saved,
                &mut sides,
                &mut gradients,
            );
        }
        gradients
    }

    /// Adds the gradients of some samples, whole chunks of them.
    #[allow(clippy::too_many_arguments)]
    fn backward_round<E: Form>(
        &self,
        samples: Range<usize>,
        x: &[f32],
        grad: &[f32],
        vectors: Vectors<'_>,
        weights: &Four<E>,
        saved: &[f32],
        sides: &mut [E],
        gradients: &mut Gradients,
    ) {
        let (chunk, sample) = (self.chunk(), self.sample());
        let of = |floats| samples.start * floats..samples.end * floats;
        let (x, grad, saved) = (&x[of(sample)], &grad[of(sample)], &saved[of(self.saved())]);
        let inputs = x
            .par_chunks(chunk * sample)
            .zip(grad.par_chunks(chunk * sample))
            .zip(self.samples(chunk).skip(samples.start / chunk));
        let inputs = inputs.zip(saved.par_chunks(chunk * self.saved()));
        let layout = self.layout::<E>(samples.len());
        let sides = &mut sides[..layout.elements()];
        let slots = layout.slots(sides);
        let mut sums = Buffer::take(slots.len() * self.vectors());
        let outputs = gradients.x[of(sample)]
            .par_chunks_mut(chunk * sample)
            .zip(slots)
            .zip(sums.par_chunks_exact_mut(self.vectors()));
        inputs
            .zip(outputs)
            .for_each(|((((x, grad), samples), saved), ((grad_x, slots), sums))| {
                let saved = self.split_saved(samples.1.len(), saved);
                self.backward_chunk(
                    samples, x, grad, vectors, weights, saved, slots, sums, grad_x,
                );
            });

        for sums in sums.chunks_exact(self.vectors()) {
            let mut rest = sums;
            let [gamma, beta] = &mut gradients.norm_attention;
            let [gamma_mlp, beta_mlp] = &mut gradients.norm_mlp;
            let (up_bias, down_bias) = (&mut gradients.up_bias, &mut gradients.down_bias);
            for sums in [gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias] {
                let x = cut(&mut rest, sums.len());
                self.isa().run(ColumnSums { x, sums });
            }
        }
        let (sides, more) = (layout.sides(sides), samples.start > 0);
        weight_gradients(self.isa(), &sides, more, &mut gradients.matrices);
    }

    #[allow(clippy::too_many_arguments)]
    fn backward_chunk<E: Form>(
        &self,
        (start, pads): (usize, &[usize]),
        x: &[f32],
        grad: &[f32],
        vectors: Vectors<'_>,
        weights: &Four<E>,
        saved: Saved<&[f32]>,
        mut sides: Sides<Slot<'_, E>>,
        sums: &mut [f32],
        grad_x: &mut [f32],
    ) {
        let (isa, d, m) = (self.isa(), self.d, self.m);
        let rows = pads.len() * self.attention.width;
        sums.fill(0.0);
        let mut rest = sums;
        let mut next = |len| cut_mut(&mut rest, len);
        let (gamma_attention, beta_attention, gamma_mlp, beta_mlp) =
            (next(d), next(d), next(d), next(d));
        let (up_bias, down_bias) = (next(m), next(d));
        // The MLP's part, and then attention's in the same place.
        let wide = (2 * rows * m).max(3 * rows * d + self.attention.scratch());
        with_scratch(4 * rows * d + wide, |mut scratch| {
            let mut next = || cut_mut(&mut scratch, rows * d);
            let (grad_normal, grad_middle, normal, dropped) = (next(), next(), next(), next());
            let first = start * self.sample();
            let grad_mlp = match self.dropout {
                Some(dropout) => {
                    isa.run(Dropped {
                        mask: dropout.mlp,
                        first,
                        x: grad,
                        out: dropped,
                    });
                    &*dropped
                }
                None => grad,
            };
            sides.grad_mlp.fill(isa, grad_mlp, d, 0);
            isa.run(ColumnSums {
                x: grad_mlp,
                sums: down_bias,
            });
            let (grad_hidden, active) = scratch[..2 * rows * m].split_at_mut(rows * m);
            E::times(isa, rows, grad_mlp, &weights.down, grad_hidden, m, false);
            isa.run(GeluBackward {
                u: saved.hidden,
                grad: grad_hidden,
                grad_bias: up_bias,
                out: active,
            });
            sides.active.fill(isa, active, m, 0);
            sides.grad_hidden.fill(isa, grad_hidden, m, 0);
            E::times(isa, rows, grad_hidden, &weights.up, grad_normal, d, false);
            isa.run(NormBackward {
                x: saved.middle,
                moments: saved.moments[1],
                gamma: vectors.norm_mlp[0],
                beta: vectors.norm_mlp[1],
                grad: grad_normal,
                base: Some(grad),
                grad_x: grad_middle,
                grad_gamma: gamma_mlp,
                grad_beta: beta_mlp,
                out: normal,
            });
            sides.normal_mlp.fill(isa, normal, d, 0);

            // What attention has saved of a sample; the first is fetched while the product runs.
            let kept = |sample: usize| {
                let mut qkv = saved.qkv.chunks_exact(3 * self.sample());
                let mut probabilities = saved
                    .probabilities
                    .chunks_exact(self.attention.probabilities());
                Kept {
                    qkv: qkv.nth(sample).unwrap_or_default(),
                    probabilities: probabilities.nth(sample).unwrap_or_default(),
                }
            };
            fetch(kept(0).qkv);
            fetch(kept(0).probabilities);
            let grad_attention = match self.dropout {
                Some(dropout) => {
                    isa.run(Dropped {
                        mask: dropout.attention,
                        first,
                        x: grad_middle,
                        out: dropped,
                    });
                    &*dropped
                }
                None => &*grad_middle,
            };
            sides.attended.fill(isa, saved.attended, d, 0);
            sides.grad_attention.fill(isa, grad_attention, d, 0);
            E::times(
                isa,
                rows,
                grad_attention,
                &weights.output,
                grad_normal,
                d,
                false,
            );
            let (grad_qkv, scratch) = scratch.split_at_mut(3 * rows * d);
            let samples = pads.iter().zip(grad_normal.chunks_exact(self.sample()));
            let samples = samples.zip(grad_qkv.chunks_exact_mut(3 * self.sample()));
            for (index, ((pads, grad), grad_qkv)) in samples.enumerate() {
                let sample = Sample {
                    index: start + index,
                    pads: *pads,
                };
                let (kept, next) = (kept(index), kept(index + 1));
                self.attention
                    .backward(sample, kept, next, grad, grad_qkv, scratch);
            }
            for (index, side) in sides.grad_qkv.iter_mut().enumerate() {
                side.fill(isa, grad_qkv, 3 * d, index * d);
            }
            E::times(isa, rows, grad_qkv, &weights.qkv, grad_normal, d, false);
            isa.run(NormBackward {
                x,
                moments: saved.moments[0],
                gamma: vectors.norm_attention[0],
                beta: vectors.norm_attention[1],
                grad: grad_normal,
                base: Some(grad_middle),
                grad_x,
                grad_gamma: gamma_attention,
                grad_beta: beta_attention,
                out: normal,
            });
            sides.normal_attention.fill(isa, normal, d, 0);
        });
    }
}
