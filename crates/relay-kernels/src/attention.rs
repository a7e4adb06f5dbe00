//! Attention of one sample, head by head.

use std::sync::Arc;

use crate::dropout::{DropProbabilities, DropoutMask};
use crate::isa::Isa;
use crate::pack::copy_rows;
use crate::product::{left, times_rows};
use crate::rope::Rope;
use crate::softmax::{Slope, Softmax};

mod backward;
mod bands;
mod layout;

use bands::Band;
use layout::{Across, Rotate};

/// Most floats of a head's rows that products read where they stand, among those of other heads.
const DIRECT_FLOATS: usize = 2048;

/// What attention has to know; the same for all samples.
#[derive(Debug)]
pub(crate) struct Attention {
    pub isa: Isa,
    pub width: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub causal: bool,
    pub rope: Option<Arc<Rope>>,
    /// Of each head, what a score loses with every column between query and key; empty if that is nothing.
    pub slopes: Vec<f32>,
    /// What is dropped of the probabilities.
    pub dropout: Option<DropoutMask>,
}

/// One sample: its place in the batch, and its columns at the left that are not attended to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub index: usize,
    pub pads: usize,
}

/// What the forward pass has kept of a sample.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept<'a> {
    pub qkv: &'a [f32],
    pub probabilities: &'a [f32],
}

impl Attention {
    /// Floats from one row of probabilities to the next.
    pub fn stride(&self) -> usize {
        self.width.next_multiple_of(self.isa.lanes())
    }

    /// Floats of a sample's probabilities, `[heads, width, stride]`.
    pub fn probabilities(&self) -> usize {
        self.heads * self.width * self.stride()
    }

    /// Floats of scratch memory that both directions need.
    pub fn scratch(&self) -> usize {
        let squares = if self.dropout.is_some() { 2 } else { 1 };
        squares * self.width * self.stride()
            + self.head_dim * self.stride()
            + self.width * self.padded()
    }

    fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(self.isa.lanes())
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Queries, keys and values `[width, 3 d]` to `out [width, d]` and `probabilities [heads, width, stride]`.
    ///
    /// Turns queries and keys by their positions in place, and scales the queries: so the backward pass wants them.
    /// In `probabilities`, which come before dropout, column 0 stands for the first that is attended to.
    /// Of what causality hides, no more is written there than a band has.
    pub fn forward(
        &self,
        sample: Sample,
        qkv: &mut [f32],
        out: &mut [f32],
        probabilities: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (n, d, hd, stride, padded) = self.dims();
        let pads = sample.pads;
        let keys = n - pads;
        out[..self.idle_rows(pads) * d].fill(0.0);
        if keys == 0 {
            return;
        }
        self.isa.run(Rotate {
            rope: self.rope.as_deref(),
            scale: self.scale(),
            back: false,
            rows: qkv,
            d,
            head_dim: hd,
        });
        let qkv = &*qkv;
        let first = pads * 3 * d;
        let across = self.across(pads);
        let (values, rest) = scratch.split_at_mut(n * padded);
        let (keys_across, dropped) = rest.split_at_mut(hd * stride);
        let keys_across = &mut keys_across[..hd * across];
        for (head, p) in probabilities.chunks_exact_mut(n * stride).enumerate() {
            let at = head * hd;
            self.isa.run(Across {
                from: &qkv[first + d + at..],
                stride: 3 * d,
                columns: keys,
                across,
                to: keys_across,
            });
            self.attend(pads, head, &qkv[at..], keys_across, p);
            let p = self.drop(sample, head, p, dropped, None);
            let values = self.rows(&qkv[first + 2 * d + at..], 3 * d, values);
            self.times_bands(pads, p, values, (&mut out[at..], d));
        }
    }

    /// The softmax of one head's scores, band by band: of its queries, which stand in rows of queries, keys and values, with its keys,
    /// of which each column is a row of `keys_across`.
    fn attend(
        &self,
        pads: usize,
        head: usize,
        queries: &[f32],
        keys_across: &[f32],
        p: &mut [f32],
    ) {
        let (n, d, _, stride, _) = self.dims();
        let keys = n - pads;
        // Each band at once, while it is in the cache.
        for band in self.bands(pads) {
            self.band_across(&band, (queries, 3 * d), (keys_across, self.across(pads)), p);
            let Band { rows, columns } = band;
            let first_row = rows.start;
            let of_band = rows.start * stride..rows.end * stride;
            if let Some(slope) = self.slopes.get(head) {
                self.isa.run(Slope {
                    rows: &mut p[of_band.clone()],
                    stride,
                    width: columns,
                    slope: *slope,
                    query: first_row as f32 - pads as f32,
                });
            }
            let valid = |i: usize| {
                if self.causal {
                    (first_row + i + 1).saturating_sub(pads)
                } else {
                    keys
                }
            };
            self.isa.run(Softmax {
                rows: &mut p[of_band],
                stride,
                width: columns,
                valid,
            });
        }
    }

    /// A band of a square: one head's rows times what is transposed, both with the floats from one row to the next.
    fn band_across(
        &self,
        Band { rows, columns }: &Band,
        (from, row): (&[f32], usize),
        (right, across): (&[f32], usize),
        square: &mut [f32],
    ) {
        let stride = self.stride();
        times_rows(
            self.isa,
            [rows.len(), self.head_dim, *columns],
            left(&from[rows.start * row..], row),
            right,
            across,
            &mut square[rows.start * stride..],
            stride,
        );
    }

    /// Each band of a square times one head's rows, both with the floats from one row to the next.
    fn times_bands(
        &self,
        pads: usize,
        square: &[f32],
        (right, row): (&[f32], usize),
        (out, out_row): (&mut [f32], usize),
    ) {
        let stride = self.stride();
        for Band { rows, columns } in self.bands(pads) {
            times_rows(
                self.isa,
                [rows.len(), columns.min(self.width - pads), self.head_dim],
                left(&square[rows.start * stride..], stride),
                right,
                row,
                &mut out[rows.start * out_row..],
                out_row,
            );
        }
    }

    /// Floats from one row to the next of what is transposed.
    fn across(&self, pads: usize) -> usize {
        (self.width - pads).next_multiple_of(self.isa.lanes())
    }

    /// One head's rows as the right side of a product, with the floats from one row to the next.
    ///
    /// They are copied to `to` unless they are whole vectors, and few: rows that lie far apart evict each other.
    fn rows<'a>(&self, from: &'a [f32], stride: usize, to: &'a mut [f32]) -> (&'a [f32], usize) {
        if self.head_dim.is_multiple_of(self.isa.lanes())
            && self.width * self.head_dim <= DIRECT_FLOATS
        {
            return (from, stride);
        }
        let rows = to.chunks_exact_mut(self.padded()).zip(from.chunks(stride));
        copy_rows(self.head_dim, rows);
        (to, self.padded())
    }

    /// One head's probabilities after dropout, in `dropped` if there is any; drops from their gradient, too.
    fn drop<'a>(
        &self,
        sample: Sample,
        head: usize,
        p: &'a [f32],
        dropped: &'a mut [f32],
        mut grad: Option<&mut [f32]>,
    ) -> &'a [f32] {
        let Some(mask) = self.dropout else {
            return p;
        };
        let (n, _, _, stride, _) = self.dims();
        let first = (sample.index * self.heads + head) * n;
        for Band { rows, columns } in self.bands(sample.pads) {
            let floats = rows.start * stride..rows.end * stride;
            self.isa.run(DropProbabilities {
                mask,
                index: ((first + rows.start) * n + sample.pads, n),
                keys: columns.min(n - sample.pads),
                stride,
                p: &p[floats.clone()],
                dropped: &mut dropped[floats.clone()],
                grad: grad.as_deref_mut().map(|grad| &mut grad[floats]),
            });
        }
        dropped
    }

    fn dims(&self) -> (usize, usize, usize, usize, usize) {
        (
            self.width,
            self.heads * self.head_dim,
            self.head_dim,
            self.stride(),
            self.padded(),
        )
    }
}
