//! A layer on plain floats: how the work is cut, and the forward pass.
//!
//! Samples are cut into chunks by shape alone, never by the number of threads, and what chunks add up is added in their
//! order: results do not depend on the threads. A chunk's rows pass through the whole layer while they are in cache.

use rayon::prelude::*;

use crate::attention::{Attention, Sample};
use crate::dropout::{AddDropped, DropoutMask, LayerDropout};
use crate::form::Form;
use crate::isa::Isa;
use crate::pack::Packed;
use crate::pool::{Buffer, cut, cut_mut, with_scratch};
use crate::rows::{AddBias, Gelu, Norm};
use crate::weights::Four;

/// Floats of a chunk's stream: with what a layer's forward pass makes of them they fit the second-level cache.
const CHUNK_FLOATS: usize = 16_384;
/// Chunks that there should be at least, for the sake of many cores.
const CHUNKS: usize = 8;

/// The shape of a layer's work.
#[derive(Debug)]
pub(crate) struct Block {
    pub attention: Attention,
    pub batch: usize,
    /// Width of the model.
    pub d: usize,
    /// Width of the MLP.
    pub m: usize,
    pub epsilon: f32,
    pub dropout: Option<LayerDropout>,
    /// Columns at the left of each sample that are not attended to, at most the width.
    pub pads: Vec<usize>,
}

/// The vectors among the parameters, or one thing for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors<T> {
    /// Scale and shift.
    pub norm_attention: [T; 2],
    /// Scale and shift.
    pub norm_mlp: [T; 2],
    pub up_bias: T,
    pub down_bias: T,
}

impl<T> Vectors<T> {
    /// From scale and shift of the first norm, of the second, and both biases.
    pub fn of([gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias]: [T; 6]) -> Self {
        Self {
            norm_attention: [gamma, beta],
            norm_mlp: [gamma_mlp, beta_mlp],
            up_bias,
            down_bias,
        }
    }
}

/// What the backward pass needs of a chunk's forward pass.
pub(crate) struct Saved<T> {
    /// Mean and scale of each row in the first and in the second norm.
    pub moments: [T; 2],
    /// Queries and keys as attention has turned them.
    pub qkv: T,
    pub probabilities: T,
    /// Attention before the output product.
    pub attended: T,
    /// The stream between attention and MLP.
    pub middle: T,
    /// The MLP before GELU.
    pub hidden: T,
}

impl Block {
    pub fn isa(&self) -> Isa {
        self.attention.isa
    }

    /// Samples of a chunk; the last chunk may have fewer.
    pub fn chunk(&self) -> usize {
        let rows = CHUNK_FLOATS / self.d;
        (rows / self.attention.width)
            .min(self.batch.div_ceil(CHUNKS))
            .max(1)
    }

    /// The batch in chunks: the index of each chunk's first sample, and its part of `pads`.
    fn samples(&self, chunk: usize) -> impl IndexedParallelIterator<Item = (usize, &[usize])> {
        let chunks = self.pads.par_chunks(chunk).enumerate();
        chunks.map(move |(index, pads)| (index * chunk, pads))
    }

    /// Floats of the stream of one sample.
    pub fn sample(&self) -> usize {
        self.attention.width * self.d
    }

    /// The parts of so many samples' saved floats in their order in memory, each by what `next` makes of its length.
    fn saved_parts<T>(&self, samples: usize, mut next: impl FnMut(usize) -> T) -> Saved<T> {
        let rows = samples * self.attention.width;
        Saved {
            moments: [next(2 * rows), next(2 * rows)],
            qkv: next(3 * rows * self.d),
            probabilities: next(samples * self.attention.probabilities()),
            attended: next(rows * self.d),
            middle: next(rows * self.d),
            hidden: next(rows * self.m),
        }
    }

    /// Floats that one sample needs in [`Saved`].
    pub fn saved(&self) -> usize {
        let mut floats = 0;
        self.saved_parts(1, |len| floats += len);
        floats
    }

    /// The parts of a chunk's saved floats; `samples` is the number of its samples.
    pub fn split_saved<'a>(&self, samples: usize, mut floats: &'a [f32]) -> Saved<&'a [f32]> {
        self.saved_parts(samples, |len| cut(&mut floats, len))
    }

    fn split_saved_mut<'a>(
        &self,
        samples: usize,
        mut floats: &'a mut [f32],
    ) -> Saved<&'a mut [f32]> {
        self.saved_parts(samples, |len| cut_mut(&mut floats, len))
    }

    /// The layer's output; fills `saved` if the backward pass will be wanted.
    pub fn forward<E: Form>(
        &self,
        x: &[f32],
        vectors: Vectors<&[f32]>,
        weights: &Four<E>,
        saved: Option<&mut Buffer>,
    ) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        let chunk = self.chunk();
        let inputs = x
            .par_chunks(chunk * self.sample())
            .zip(out.par_chunks_mut(chunk * self.sample()));
        let inputs = inputs.zip(self.samples(chunk));
        match saved {
            Some(saved) => inputs
                .zip(saved.par_chunks_mut(chunk * self.saved()))
                .for_each(|(((x, out), samples), saved)| {
                    self.forward_chunk(samples, x, vectors, weights, saved, out)
                }),
            None => inputs.for_each(|((x, out), samples)| {
                let mut saved = Buffer::take(chunk * self.saved());
                self.forward_chunk(samples, x, vectors, weights, &mut saved, out);
            }),
        }
        out
    }

    fn forward_chunk<E: Form>(
        &self,
        (start, pads): (usize, &[usize]),
        x: &[f32],
        vectors: Vectors<&[f32]>,
        weights: &Four<E>,
        saved: &mut [f32],
        out: &mut [f32],
    ) {
        let (isa, d, m) = (self.isa(), self.d, self.m);
        let (rows, first) = (pads.len() * self.attention.width, start * self.sample());
        let Saved {
            moments,
            qkv,
            probabilities,
            attended,
            middle,
            hidden,
        } = self.split_saved_mut(pads.len(), saved);
        let [moments_attention, moments_mlp] = moments;
        let len = (rows * m).max(rows * d + self.attention.scratch());
        with_scratch(len, |scratch| {
            let (normal, rest) = scratch.split_at_mut(rows * d);
            self.normalise(x, vectors.norm_attention, normal, moments_attention);
            E::times(isa, rows, normal, &weights.qkv, qkv, 3 * d, false);
            self.attend((start, pads), qkv, attended, probabilities, rest);
            let stream = Residual {
                x,
                bias: None,
                mask: self.dropout.map(|dropout| dropout.attention),
                first,
            };
            self.add_product(stream, attended, &weights.output, middle);

            self.normalise(middle, vectors.norm_mlp, normal, moments_mlp);
            E::times(isa, rows, normal, &weights.up, hidden, m, false);
            let active = &mut scratch[..rows * m];
            isa.run(Gelu {
                u: hidden,
                bias: vectors.up_bias,
                out: active,
            });
            let stream = Residual {
                x: middle,
                bias: Some(vectors.down_bias),
                mask: self.dropout.map(|dropout| dropout.mlp),
                first,
            };
            self.add_product(stream, active, &weights.down, out);
        });
    }

    fn normalise(
        &self,
        x: &[f32],
        [gamma, beta]: [&[f32]; 2],
        out: &mut [f32],
        moments: &mut [f32],
    ) {
        self.isa().run(Norm {
            x,
            gamma,
            beta,
            epsilon: self.epsilon,
            out,
            moments,
        });
    }

    /// Attention of a chunk's samples, one after the other.
    fn attend(
        &self,
        (start, pads): (usize, &[usize]),
        qkv: &mut [f32],
        attended: &mut [f32],
        probabilities: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (attention, sample) = (&self.attention, self.sample());
        let samples = pads.iter().zip(qkv.chunks_exact_mut(3 * sample));
        let samples = samples.zip(attended.chunks_exact_mut(sample));
        let samples = samples.zip(probabilities.chunks_exact_mut(attention.probabilities()));
        for (index, (((pads, qkv), attended), probabilities)) in samples.enumerate() {
            let sample = Sample {
                index: start + index,
                pads: *pads,
            };
            attention.forward(sample, qkv, attended, probabilities, scratch);
        }
    }

    /// `out` becomes the stream and, after bias and dropout, the product of `left` and `weights`.
    fn add_product<E: Form>(
        &self,
        stream: Residual<'_>,
        left: &[f32],
        weights: &Packed<E>,
        out: &mut [f32],
    ) {
        let (isa, width) = (self.isa(), self.d);
        let Residual {
            x,
            bias,
            mask,
            first,
        } = stream;
        // Without dropout the product is added to what is there already.
        match (mask, bias) {
            (None, None) => out.copy_from_slice(x),
            (None, Some(bias)) => isa.run(AddBias { x, bias, out }),
            (Some(_), _) => {}
        }
        E::times(
            isa,
            out.len() / width,
            left,
            weights,
            out,
            width,
            mask.is_none(),
        );
        if let Some(mask) = mask {
            isa.run(AddDropped {
                mask,
                first,
                x,
                bias,
                width,
                out,
            });
        }
    }
}

/// What a product is added to.
struct Residual<'a> {
    /// The stream.
    x: &'a [f32],
    /// Of the product.
    bias: Option<&'a [f32]>,
    /// Dropout of the product and its bias.
    mask: Option<DropoutMask>,
    /// Place of the stream's first float in the whole batch, by which the mask finds it.
    first: usize,
}
