//! A layer's backward pass on plain floats.
//!
//! First the chunks' gradients along the stream, leaving both sides of each weight gradient; then the weight gradients,
//! cut by their own rows, each summed over these chunks in order: there are no partial sums to keep or add. A large
//! batch goes in rounds, so that what is left stays in cache.

use core::ops::Range;

use rayon::prelude::*;

use crate::attention::{Kept, Sample};
use crate::block::{Block, Saved, Vectors};
use crate::dropout::{DropoutMask, Dropped, LayerDropout};
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
    /// In the order of [`Vectors::of`].
    pub vectors: [Vec<f32>; 6],
    /// Query, key, value, output, up, down.
    pub matrices: [Vec<f32>; 6],
}

impl Block {
    /// The gradients from that of the output.
    pub fn backward<E: Form>(
        &self,
        x: &[f32],
        grad: &[f32],
        vectors: Vectors<&[f32]>,
        weights: &Four<E>,
        saved: &[f32],
    ) -> Gradients {
        let (d, m) = (self.d, self.m);
        let mut gradients = Gradients {
            x: vec![0.0; x.len()],
            vectors: self.vectors().map(|len| vec![0.0; len]),
            matrices: [[d, d], [d, d], [d, d], [d, d], [d, m], [m, d]]
                .map(|[rows, cols]| vec![0.0; rows * cols]),
        };
        let pass = Pass {
            block: self,
            x,
            grad,
            vectors,
            weights,
            saved,
        };
        let chunk = self.chunk();
        let round = (ROUND_ELEMENTS / self.layout::<E>(chunk).elements()).max(1) * chunk;
        let most = self.layout::<E>(round.min(self.batch)).elements();
        let mut sides = Buffer::take(most);
        for start in (0..self.batch).step_by(round) {
            let samples = start..self.batch.min(start + round);
            pass.round(samples, &mut sides, &mut gradients);
        }
        gradients
    }

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

    /// Lengths of the vectors, in the order of [`Vectors::of`].
    fn vectors(&self) -> [usize; 6] {
        let (d, m) = (self.d, self.m);
        [d, d, d, d, m, d]
    }
}

/// What a backward pass reads.
struct Pass<'a, E> {
    block: &'a Block,
    x: &'a [f32],
    /// Gradient of the output.
    grad: &'a [f32],
    vectors: Vectors<&'a [f32]>,
    weights: &'a Four<E>,
    saved: &'a [f32],
}

impl<E: Form> Pass<'_, E> {
    /// Adds the gradients of some samples, whole chunks of them but for the last.
    fn round(&self, samples: Range<usize>, sides: &mut [E], gradients: &mut Gradients) {
        let (block, isa) = (self.block, self.block.isa());
        let (chunk, sample) = (block.chunk(), block.sample());
        let of = |floats| samples.start * floats..samples.end * floats;
        let pads = block.pads[of(1)].par_chunks(chunk).enumerate();
        let inputs = pads
            .zip(self.x[of(sample)].par_chunks(chunk * sample))
            .zip(self.grad[of(sample)].par_chunks(chunk * sample))
            .zip(self.saved[of(block.saved())].par_chunks(chunk * block.saved()));
        let layout = block.layout::<E>(samples.len());
        let sides = &mut sides[..layout.elements()];
        let slots = layout.slots(sides);
        let vectors = block.vectors().iter().sum();
        let mut sums = Buffer::take(slots.len() * vectors);
        let outputs = gradients.x[of(sample)]
            .par_chunks_mut(chunk * sample)
            .zip_eq(slots)
            .zip_eq(sums.par_chunks_exact_mut(vectors));
        inputs.zip_eq(outputs).for_each(
            |(((((index, pads), x), grad), saved), ((grad_x, mut sides), mut sums))| {
                let chunk = Chunk {
                    block,
                    first: samples.start + index * chunk,
                    pads,
                    x,
                    grad,
                    vectors: self.vectors,
                    weights: self.weights,
                    saved: block.split_saved(pads.len(), saved),
                };
                sums.fill(0.0);
                let sums = Vectors::of(block.vectors().map(|len| cut_mut(&mut sums, len)));
                chunk.backward(&mut sides, sums, grad_x);
            },
        );

        for mut sums in sums.chunks_exact(vectors) {
            for gradient in &mut gradients.vectors {
                isa.run(ColumnSums {
                    x: cut(&mut sums, gradient.len()),
                    sums: gradient,
                });
            }
        }
        let (sides, more) = (layout.sides(sides), samples.start > 0);
        weight_gradients(isa, &sides, more, &mut gradients.matrices);
    }
}

/// What the backward pass of a chunk reads.
struct Chunk<'a, E> {
    block: &'a Block,
    /// Index of its first sample.
    first: usize,
    /// Of each of its samples.
    pads: &'a [usize],
    x: &'a [f32],
    grad: &'a [f32],
    vectors: Vectors<&'a [f32]>,
    weights: &'a Four<E>,
    saved: Saved<&'a [f32]>,
}

/// What a chunk's backward pass writes to on its way.
struct Room<'a> {
    /// The output of a norm.
    normal: &'a mut [f32],
    /// Its gradient.
    grad_normal: &'a mut [f32],
    /// The gradient of the stream between attention and MLP.
    grad_middle: &'a mut [f32],
    /// A gradient with what was dropped left out.
    dropped: &'a mut [f32],
    /// The MLP's part, and then attention's.
    wide: &'a mut [f32],
}

impl<E: Form> Chunk<'_, E> {
    fn rows(&self) -> usize {
        self.pads.len() * self.block.attention.width
    }

    /// Leaves the sides, adds to `sums` and gives the gradient of the input.
    fn backward(
        &self,
        sides: &mut Sides<Slot<'_, E>>,
        mut sums: Vectors<&mut [f32]>,
        grad_x: &mut [f32],
    ) {
        let (narrow, mlp) = (self.rows() * self.block.d, 2 * self.rows() * self.block.m);
        let attention = 3 * narrow + self.block.attention.scratch();
        with_scratch(4 * narrow + mlp.max(attention), |mut scratch| {
            let mut next = || cut_mut(&mut scratch, narrow);
            let mut room = Room {
                normal: next(),
                grad_normal: next(),
                grad_middle: next(),
                dropped: next(),
                wide: scratch,
            };
            self.mlp(&mut room, sides, &mut sums);
            self.attention(&mut room, sides, &mut sums, grad_x);
        });
    }

    /// From the gradient of the output to that of the stream before the MLP.
    fn mlp(
        &self,
        room: &mut Room<'_>,
        sides: &mut Sides<Slot<'_, E>>,
        sums: &mut Vectors<&mut [f32]>,
    ) {
        let (isa, rows) = (self.block.isa(), self.rows());
        let (d, m) = (self.block.d, self.block.m);
        let grad_mlp = self.dropped(|dropout| dropout.mlp, self.grad, room.dropped);
        sides.grad_mlp.fill(isa, grad_mlp, d, 0);
        isa.run(ColumnSums {
            x: grad_mlp,
            sums: sums.down_bias,
        });
        let (grad_hidden, active) = room.wide[..2 * rows * m].split_at_mut(rows * m);
        let down = &self.weights.down;
        E::times(isa, rows, grad_mlp, down, grad_hidden, m, false);
        isa.run(GeluBackward {
            u: self.saved.hidden,
            grad: grad_hidden,
            grad_bias: sums.up_bias,
            out: active,
        });
        sides.active.fill(isa, active, m, 0);
        sides.grad_hidden.fill(isa, grad_hidden, m, 0);
        let up = &self.weights.up;
        E::times(isa, rows, grad_hidden, up, room.grad_normal, d, false);
        let [gamma, beta] = self.vectors.norm_mlp;
        let [grad_gamma, grad_beta] = &mut sums.norm_mlp;
        isa.run(NormBackward {
            x: self.saved.middle,
            moments: self.saved.moments[1],
            gamma,
            beta,
            grad: room.grad_normal,
            base: Some(self.grad),
            grad_x: room.grad_middle,
            grad_gamma,
            grad_beta,
            out: room.normal,
        });
        sides.normal_mlp.fill(isa, room.normal, d, 0);
    }

    /// From the gradient of the stream behind attention to that of the input.
    fn attention(
        &self,
        room: &mut Room<'_>,
        sides: &mut Sides<Slot<'_, E>>,
        sums: &mut Vectors<&mut [f32]>,
        grad_x: &mut [f32],
    ) {
        let (block, isa, d, rows) = (self.block, self.block.isa(), self.block.d, self.rows());
        // The first sample's is fetched while the product runs.
        let kept = self.kept(0);
        fetch(kept.qkv);
        fetch(kept.probabilities);
        let grad = self.dropped(|dropout| dropout.attention, room.grad_middle, room.dropped);
        sides.attended.fill(isa, self.saved.attended, d, 0);
        sides.grad_attention.fill(isa, grad, d, 0);
        let output = &self.weights.output;
        E::times(isa, rows, grad, output, room.grad_normal, d, false);
        let (grad_qkv, scratch) = room.wide.split_at_mut(3 * rows * d);
        let samples = self.pads.iter().enumerate();
        let samples = samples.zip(room.grad_normal.chunks_exact(block.sample()));
        let samples = samples.zip(grad_qkv.chunks_exact_mut(3 * block.sample()));
        for (((index, pads), grad), grad_qkv) in samples {
            let sample = Sample {
                index: self.first + index,
                pads: *pads,
            };
            let (kept, next) = (self.kept(index), self.kept(index + 1));
            block
                .attention
                .backward(sample, kept, next, grad, grad_qkv, scratch);
        }
        for (index, side) in sides.grad_qkv.iter_mut().enumerate() {
            side.fill(isa, grad_qkv, 3 * d, index * d);
        }
        let qkv = &self.weights.qkv;
        E::times(isa, rows, grad_qkv, qkv, room.grad_normal, d, false);
        let [gamma, beta] = self.vectors.norm_attention;
        let [grad_gamma, grad_beta] = &mut sums.norm_attention;
        isa.run(NormBackward {
            x: self.x,
            moments: self.saved.moments[0],
            gamma,
            beta,
            grad: room.grad_normal,
            base: Some(room.grad_middle),
            grad_x,
            grad_gamma,
            grad_beta,
            out: room.normal,
        });
        sides.normal_attention.fill(isa, room.normal, d, 0);
    }

    /// A gradient with what a mask has dropped left out, if anything is dropped.
    fn dropped<'b>(
        &self,
        mask: impl Fn(LayerDropout) -> DropoutMask,
        x: &'b [f32],
        out: &'b mut [f32],
    ) -> &'b [f32] {
        let Some(dropout) = self.block.dropout else {
            return x;
        };
        self.block.isa().run(Dropped {
            mask: mask(dropout),
            first: self.first * self.block.sample(),
            x,
            out,
        });
        out
    }

    /// What attention has saved of one of the chunk's samples; nothing for those behind the last.
    fn kept(&self, sample: usize) -> Kept<'_> {
        fn part(floats: &[f32], len: usize, sample: usize) -> &[f32] {
            floats.chunks_exact(len).nth(sample).unwrap_or_default()
        }
        let Saved {
            qkv, probabilities, ..
        } = &self.saved;
        let attention = &self.block.attention;
        Kept {
            qkv: part(qkv, 3 * self.block.sample(), sample),
            probabilities: part(probabilities, attention.probabilities(), sample),
        }
    }
}
