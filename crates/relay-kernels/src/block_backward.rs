//! A layer's backward pass on plain floats.
//!
//! First every chunk's gradients along the stream, keeping both sides of each weight gradient; then the weight
//! gradients, cut by their own rows, each summed over all chunks in order: there are no partial sums to keep or add.

use rayon::prelude::*;

use crate::attention::Sample;
use crate::block::{Block, Saved, Vectors, left};
use crate::dropout::Dropped;
use crate::pool::{Buffer, cut, cut_mut, with_scratch};
use crate::product::times_packed;
use crate::product::{Left, times_panel};
use crate::rows::{ColumnSums, GeluBackward, NormBackward};
use crate::weights::Four;

/// Rows of a weight gradient that one task computes.
const GRADIENT_ROWS: usize = 128;

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
struct Sides<T> {
    /// Output of the first norm.
    normal_attention: T,
    grad_qkv: T,
    /// Gradient of the stream between attention and MLP.
    grad_middle: T,
    /// Output of the second norm.
    normal_mlp: T,
    grad_hidden: T,
    /// The MLP after GELU.
    active: T,
    /// With dropout the gradients of what attention and MLP added to the stream; else they are the stream's own.
    dropped: [T; 2],
    /// Gradients of the vectors: both norms' scales and shifts, both biases.
    vectors: T,
}

/// What the forward pass of a chunk saved, what its backward pass left, and the gradient of its output.
type Chunk<'a> = (Saved<&'a [f32]>, Sides<&'a [f32]>, &'a [f32]);

impl Block {
    /// Floats of each of [`Sides::dropped`].
    fn dropped(&self, samples: usize) -> usize {
        self.dropout.map_or(0, |_| samples * self.sample())
    }

    fn sides(&self, samples: usize) -> usize {
        let rows = samples * self.attention.width;
        rows * (6 * self.d + 2 * self.m) + 2 * self.dropped(samples) + 5 * self.d + self.m
    }

    fn split_sides<'a>(&self, samples: usize, mut floats: &'a [f32]) -> Sides<&'a [f32]> {
        let rows = samples * self.attention.width;
        let mut next = |len| cut(&mut floats, len);
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

    fn split_sides_mut<'a>(
        &self,
        samples: usize,
        mut floats: &'a mut [f32],
    ) -> Sides<&'a mut [f32]> {
        let rows = samples * self.attention.width;
        let mut next = |len| cut_mut(&mut floats, len);
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

    /// The gradients from that of the output.
    pub fn backward(
        &self,
        x: &[f32],
        grad: &[f32],
        vectors: Vectors<'_>,
        weights: &Four,
        saved: &[f32],
    ) -> Gradients {
        let chunk = self.chunk();
        let (d, m, sample) = (self.d, self.m, self.sample());
        let mut grad_x = vec![0.0; x.len()];
        let mut sides = Buffer::take(self.batch.div_ceil(chunk) * self.sides(chunk));
        let inputs = x
            .par_chunks(chunk * sample)
            .zip(grad.par_chunks(chunk * sample))
            .zip(self.samples(chunk));
        let inputs = inputs.zip(saved.par_chunks(chunk * self.saved()));
        let outputs = grad_x
            .par_chunks_mut(chunk * sample)
            .zip(sides.par_chunks_exact_mut(self.sides(chunk)));
        inputs
            .zip(outputs)
            .for_each(|((((x, grad), samples), saved), (grad_x, sides))| {
                let saved = self.split_saved(samples.1.len(), saved);
                let sides = self.split_sides_mut(samples.1.len(), sides);
                self.backward_chunk(samples, x, grad, vectors, weights, saved, sides, grad_x);
            });

        let chunks: Vec<_> = (0..self.batch.div_ceil(chunk))
            .map(|index| {
                let samples = chunk.min(self.batch - index * chunk);
                let saved = self.split_saved(samples, &saved[index * chunk * self.saved()..]);
                let sides = self.split_sides(samples, &sides[index * self.sides(chunk)..]);
                let grad = &grad[index * chunk * sample..][..samples * sample];
                (saved, sides, grad)
            })
            .collect();
        let mut sums = vec![0.0; 5 * d + m];
        for (_, sides, _) in &chunks {
            self.isa().run(ColumnSums {
                x: sides.vectors,
                sums: &mut sums,
            });
        }
        let mut rest = sums.as_slice();
        let mut next = |len| cut(&mut rest, len).to_vec();
        Gradients {
            x: grad_x,
            norm_attention: [next(d), next(d)],
            norm_mlp: [next(d), next(d)],
            up_bias: next(m),
            down_bias: next(d),
            matrices: self.weight_gradients(&chunks),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn backward_chunk(
        &self,
        (start, pads): (usize, &[usize]),
        x: &[f32],
        grad: &[f32],
        vectors: Vectors<'_>,
        weights: &Four,
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
            times_packed(
                isa,
                rows,
                left(grad_mlp, d),
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
            times_packed(
                isa,
                rows,
                left(sides.grad_hidden, m),
                &weights.up,
                grad_normal,
                d,
                false,
            );
            sides.grad_middle.copy_from_slice(grad);
            isa.run(NormBackward {
                x: saved.middle,
                moments: saved.moments[1],
                gamma: vectors.norm_mlp[0],
                beta: vectors.norm_mlp[1],
                grad: grad_normal,
                grad_x: sides.grad_middle,
                grad_gamma: gamma_mlp,
                grad_beta: beta_mlp,
                out: sides.normal_mlp,
            });

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
            times_packed(
                isa,
                rows,
                left(grad_attention, d),
                &weights.output,
                grad_normal,
                d,
                false,
            );
            let samples = pads.iter().zip(saved.qkv.chunks_exact(3 * self.sample()));
            let samples = samples.zip(
                saved
                    .probabilities
                    .chunks_exact(self.attention.probabilities()),
            );
            let samples = samples.zip(grad_normal.chunks_exact(self.sample()));
            let samples = samples.zip(sides.grad_qkv.chunks_exact_mut(3 * self.sample()));
            for (index, ((((pads, qkv), probabilities), grad), grad_qkv)) in samples.enumerate() {
                let sample = Sample {
                    index: start + index,
                    pads: *pads,
                };
                self.attention
                    .backward(sample, qkv, probabilities, grad, grad_qkv, scratch);
            }
            times_packed(
                isa,
                rows,
                left(sides.grad_qkv, 3 * d),
                &weights.qkv,
                grad_normal,
                d,
                false,
            );
            grad_x.copy_from_slice(sides.grad_middle);
            isa.run(NormBackward {
                x,
                moments: saved.moments[0],
                gamma: vectors.norm_attention[0],
                beta: vectors.norm_attention[1],
                grad: grad_normal,
                grad_x,
                grad_gamma: gamma_attention,
                grad_beta: beta_attention,
                out: sides.normal_attention,
            });
        });
    }

    fn weight_gradients(&self, chunks: &[Chunk<'_>]) -> [Vec<f32>; 6] {
        let (d, m, dropout) = (self.d, self.m, self.dropout.is_some());
        // Left side with its columns, right side with its floats a row and first column, columns of the result.
        let pairs: [Pair<'_>; 6] = [
            self.pair(chunks, d, (3 * d, 0), d, |(_, sides, _)| {
                (sides.normal_attention, sides.grad_qkv)
            }),
            self.pair(chunks, d, (3 * d, d), d, |(_, sides, _)| {
                (sides.normal_attention, sides.grad_qkv)
            }),
            self.pair(chunks, d, (3 * d, 2 * d), d, |(_, sides, _)| {
                (sides.normal_attention, sides.grad_qkv)
            }),
            self.pair(chunks, d, (d, 0), d, |(saved, sides, _)| {
                let grad = if dropout {
                    sides.dropped[0]
                } else {
                    sides.grad_middle
                };
                (saved.attended, grad)
            }),
            self.pair(chunks, d, (m, 0), m, |(_, sides, _)| {
                (sides.normal_mlp, sides.grad_hidden)
            }),
            self.pair(chunks, m, (d, 0), d, |(_, sides, grad)| {
                (sides.active, if dropout { sides.dropped[1] } else { grad })
            }),
        ];
        let mut gradients = pairs
            .each_ref()
            .map(|pair| vec![0.0; pair.rows * pair.cols]);
        let tasks: Vec<_> = pairs
            .iter()
            .zip(&mut gradients)
            .flat_map(|(pair, out)| {
                let blocks = out.chunks_mut(GRADIENT_ROWS * pair.cols).enumerate();
                blocks.map(move |(index, out)| (pair, index * GRADIENT_ROWS, out))
            })
            .collect();
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(pair, first, out)| pair.compute(self, first, out));
        gradients
    }

    fn pair<'a, C>(
        &self,
        chunks: &'a [C],
        rows: usize,
        (stride, first): (usize, usize),
        cols: usize,
        sides: impl Fn(&'a C) -> (&'a [f32], &'a [f32]),
    ) -> Pair<'a> {
        Pair {
            rows,
            cols,
            stride,
            first,
            sides: chunks.iter().map(sides).collect(),
        }
    }
}

/// A weight gradient: the sum over chunks of the transposed left side times the right side.
struct Pair<'a> {
    rows: usize,
    cols: usize,
    /// Floats of a row of the right side.
    stride: usize,
    /// First column of the right side.
    first: usize,
    sides: Vec<(&'a [f32], &'a [f32])>,
}

impl Pair<'_> {
    /// The rows from `row` on that `out` has room for.
    fn compute(&self, block: &Block, row: usize, out: &mut [f32]) {
        let isa = block.isa();
        let panel = isa.panel();
        let rows = out.len() / self.cols;
        let most = block.chunk() * block.attention.width;
        with_scratch(most * panel, |packed| {
            for start in (0..self.cols).step_by(panel) {
                let cols = panel.min(self.cols - start);
                for (index, (lhs, rhs)) in self.sides.iter().enumerate() {
                    let depth = lhs.len() / self.rows;
                    // A right side of just one panel already stands as it would be packed.
                    let right = if (self.stride, cols) == (panel, panel) {
                        rhs
                    } else {
                        let from = rhs
                            .chunks_exact(self.stride)
                            .map(|row| &row[self.first + start..][..cols]);
                        for (to, from) in packed.chunks_exact_mut(panel).zip(from) {
                            to[..cols].copy_from_slice(from);
                        }
                        &*packed
                    };
                    let left = Left {
                        data: &lhs[row..],
                        row: 1,
                        col: self.rows,
                    };
                    times_panel(
                        isa,
                        [rows, depth, cols],
                        left,
                        right,
                        &mut out[start..],
                        self.cols,
                        index > 0,
                    );
                }
            }
        });
    }
}
