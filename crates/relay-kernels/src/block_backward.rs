//! A layer's backward pass on plain floats.
//!
//! First the chunks' gradients along the stream, keeping both sides of each weight gradient; then the weight gradients,
//! cut by their own rows, each summed over these chunks in order: there are no partial sums to keep or add. A large
//! batch goes in rounds, so that what is kept stays in cache.

use core::ops::Range;

use rayon::prelude::*;

use crate::attention::{Kept, Sample};
use crate::block::{Block, Saved, Vectors};
use crate::dropout::Dropped;
use crate::form::Form;
use crate::pool::{Buffer, cut, cut_mut, with_scratch};
use crate::prefetch::fetch;
use crate::rows::{ColumnSums, GeluBackward, NormBackward};
use crate::weights::Four;

/// Floats that chunks' backward passes leave before the weight gradients take them up: they stay in the last cache.
/// Few in tests, so that batches go in several rounds.
const ROUND_FLOATS: usize = if cfg!(test) { 1 << 17 } else { 1 << 22 };

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

/// What the weight gradients of a chunk are made of, besides what the forward pass saved.
pub(crate) struct Sides<T> {
    /// Output of the first norm.
    pub normal_attention: T,
    pub grad_qkv: T,
    /// Gradient of the stream between attention and MLP.
    pub grad_middle: T,
    /// Output of the second norm.
    pub normal_mlp: T,
    pub grad_hidden: T,
    /// The MLP after GELU.
    pub active: T,
    /// With dropout the gradients of what attention and MLP added to the stream; else they are the stream's own.
    pub dropped: [T; 2],
    /// Gradients of the vectors: both norms' scales and shifts, both biases.
    pub vectors: T,
}

/// What the forward pass of a chunk saved, what its backward pass left, and the gradient of its output.
pub(crate) type Chunk<'a> = (Saved<&'a [f32]>, Sides<&'a [f32]>, &'a [f32]);

impl Block {
    /// Floats of each of [`Sides::dropped`].
    fn dropped(&self, samples: usize) -> usize {
        self.dropout.map_or(0, |_| samples * self.sample())
    }

    /// The parts of so many samples' sides in their order in memory, each by what `next` makes of its length.
    fn sides_parts<T>(&self, samples: usize, mut next: impl FnMut(usize) -> T) -> Sides<T> {
        let rows = samples * self.attention.width;
        Sides {
            normal_attention: next(rows * self.d),
            grad_qkv: next(3 * rows * self.d),
            grad_middle: next(rows * self.d),
            normal_mlp: next(rows * self.d),
            grad_hidden: next(rows * self.m),
            active: next(rows * self.m),
            dropped: [next(self.dropped(samples)), next(self.dropped(samples))],
            vectors: next(5 * self.d + self.m),
        }
    }

    fn sides(&self, samples: usize) -> usize {
        let mut floats = 0;
        self.sides_parts(samples, |len| floats += len);
        floats
    }

    fn split_sides<'a>(&self, samples: usize, mut floats: &'a [f32]) -> Sides<&'a [f32]> {
        self.sides_parts(samples, |len| cut(&mut floats, len))
    }

    fn split_sides_mut<'a>(
        &self,
        samples: usize,
        mut floats: &'a mut [f32],
    ) -> Sides<&'a mut [f32]> {
        self.sides_parts(samples, |len| cut_mut(&mut floats, len))
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
        let round = (ROUND_FLOATS / self.sides(chunk)).max(1) * chunk;
        let mut sides = Buffer::take(round.min(self.batch).div_ceil(chunk) * self.sides(chunk));
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
        sides: &mut [f32],
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
        let outputs = gradients.x[of(sample)]
            .par_chunks_mut(chunk * sample)
            .zip(sides.par_chunks_exact_mut(self.sides(chunk)));
        inputs
            .zip(outputs)
            .for_each(|((((x, grad), samples), saved), (grad_x, sides))| {
                let saved = self.split_saved(samples.1.len(), saved);
                let sides = self.split_sides_mut(samples.1.len(), sides);
                self.backward_chunk(samples, x, grad, vectors, weights, saved, sides, grad_x);
            });

        let chunks: Vec<_> = grad
            .chunks(chunk * sample)
            .zip(saved.chunks(chunk * self.saved()))
            .zip(sides.chunks_exact(self.sides(chunk)))
            .map(|((grad, saved), sides)| {
                let samples = grad.len() / sample;
                let saved = self.split_saved(samples, saved);
                (saved, self.split_sides(samples, sides), grad)
            })
            .collect();
        for (_, sides, _) in &chunks {
            let mut rest = sides.vectors;
            let [gamma, beta] = &mut gradients.norm_attention;
            let [gamma_mlp, beta_mlp] = &mut gradients.norm_mlp;
            let (up_bias, down_bias) = (&mut gradients.up_bias, &mut gradients.down_bias);
            for sums in [gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias] {
                let x = cut(&mut rest, sums.len());
                self.isa().run(ColumnSums { x, sums });
            }
        }
        self.weight_gradients::<E>(&chunks, samples.start > 0, &mut gradients.matrices);
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
        sides: Sides<&mut [f32]>,
        grad_x: &mut [f32],
    ) {
        let (isa, d, m) = (self.isa(), self.d, self.m);
        let rows = pads.len() * self.attention.width;
        let mut rest = sides.vectors;
        rest.fill(0.0);
        let mut next = |len| cut_mut(&mut rest, len);
        let (gamma_attention, beta_attention, gamma_mlp, beta_mlp) =
            (next(d), next(d), next(d), next(d));
        let (up_bias, down_bias) = (next(m), next(d));
        with_scratch(rows * d + self.attention.scratch(), |scratch| {
            let (grad_normal, scratch) = scratch.split_at_mut(rows * d);
            let [dropped_attention, dropped_mlp] = sides.dropped;
            let first = start * self.sample();
            let grad_mlp = match self.dropout {
                Some(dropout) => {
                    isa.run(Dropped {
                        mask: dropout.mlp,
                        first,
                        x: grad,
                        out: dropped_mlp,
                    });
                    &*dropped_mlp
                }
                None => grad,
            };
            isa.run(ColumnSums {
                x: grad_mlp,
                sums: down_bias,
            });
            E::times(
                isa,
                rows,
                grad_mlp,
                &weights.down,
                sides.grad_hidden,
                m,
                false,
            );
            isa.run(GeluBackward {
                u: saved.hidden,
                grad: sides.grad_hidden,
                grad_bias: up_bias,
                out: sides.active,
            });
            E::times(
                isa,
                rows,
                sides.grad_hidden,
                &weights.up,
                grad_normal,
                d,
                false,
            );
            isa.run(NormBackward {
                x: saved.middle,
                moments: saved.moments[1],
                gamma: vectors.norm_mlp[0],
                beta: vectors.norm_mlp[1],
                grad: grad_normal,
                base: Some(grad),
                grad_x: sides.grad_middle,
                grad_gamma: gamma_mlp,
                grad_beta: beta_mlp,
                out: sides.normal_mlp,
            });

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
                        x: sides.grad_middle,
                        out: dropped_attention,
                    });
                    &*dropped_attention
                }
                None => &*sides.grad_middle,
            };
            E::times(
                isa,
                rows,
                grad_attention,
                &weights.output,
                grad_normal,
                d,
                false,
            );
            let samples = pads.iter().zip(grad_normal.chunks_exact(self.sample()));
            let samples = samples.zip(sides.grad_qkv.chunks_exact_mut(3 * self.sample()));
            for (index, ((pads, grad), grad_qkv)) in samples.enumerate() {
                let sample = Sample {
                    index: start + index,
                    pads: *pads,
                };
                let (kept, next) = (kept(index), kept(index + 1));
                self.attention
                    .backward(sample, kept, next, grad, grad_qkv, scratch);
            }
            E::times(
                isa,
                rows,
                sides.grad_qkv,
                &weights.qkv,
                grad_normal,
                d,
                false,
            );
            isa.run(NormBackward {
                x,
                moments: saved.moments[0],
                gamma: vectors.norm_attention[0],
                beta: vectors.norm_attention[1],
                grad: grad_normal,
                base: Some(sides.grad_middle),
                grad_x,
                grad_gamma: gamma_attention,
                grad_beta: beta_attention,
                out: sides.normal_attention,
            });
        });
    }
}
