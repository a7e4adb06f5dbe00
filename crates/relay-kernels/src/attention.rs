//! Attention of one sample, head by head.

use std::sync::Arc;

use crate::dropout::{DropProbabilities, DropoutMask};
use crate::isa::Isa;
use crate::prefetch::{fetch, part};
use crate::product::{Left, left, times_rows};
use crate::rope::Rope;
use crate::rows::{Softmax, SoftmaxBackward};

mod layout;

use layout::{Across, GatherRows, Rotate};

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
        if keys == 0 {
            out.fill(0.0);
            probabilities.fill(0.0);
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
        let across = keys.next_multiple_of(self.isa.lanes());
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
            times_rows(
                self.isa,
                [n, hd, across],
                left(&qkv[at..], 3 * d),
                keys_across,
                across,
                p,
                stride,
                false,
            );
            let causal = self.causal;
            let valid = |i: usize| {
                if causal {
                    (i + 1).saturating_sub(pads)
                } else {
                    keys
                }
            };
            self.isa.run(Softmax {
                rows: p,
                stride,
                width: across,
                valid,
            });
            let p = self.drop(sample, head, p, dropped, None);
            let (values, row) = self.rows(&qkv[first + 2 * d + at..], 3 * d, values);
            times_rows(
                self.isa,
                [n, keys, hd],
                left(p, stride),
                values,
                row,
                &mut out[at..],
                d,
                false,
            );
        }
    }

    /// Gradient of the queries, keys and values from that of the output.
    ///
    /// `next` is what is kept of the following sample; it is fetched meanwhile.
    pub fn backward(
        &self,
        sample: Sample,
        kept: Kept<'_>,
        next: Kept<'_>,
        grad: &[f32],
        grad_qkv: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Kept { qkv, probabilities } = kept;
        let (n, d, hd, stride, padded) = self.dims();
        let pads = sample.pads;
        let keys = n - pads;
        if keys == 0 {
            grad_qkv.fill(0.0);
            return;
        }
        for row in grad_qkv.chunks_exact_mut(3 * d).take(pads) {
            row[d..].fill(0.0);
        }
        let first = pads * 3 * d;
        let across = keys.next_multiple_of(self.isa.lanes());
        let (rows, rest) = scratch.split_at_mut(n * padded);
        let (values_across, rest) = rest.split_at_mut(hd * stride);
        let values_across = &mut values_across[..hd * across];
        let (ds, dropped) = rest.split_at_mut(n * stride);
        for (head, p) in probabilities.chunks_exact(n * stride).enumerate() {
            let at = head * hd;
            fetch(part(next.qkv, head, self.heads));
            fetch(part(next.probabilities, head, self.heads));
            self.isa.run(Across {
                from: &qkv[first + 2 * d + at..],
                stride: 3 * d,
                columns: keys,
                across,
                to: values_across,
            });
            times_rows(
                self.isa,
                [n, hd, across],
                left(&grad[at..], d),
                values_across,
                across,
                ds,
                stride,
                false,
            );
            let after = self.drop(sample, head, p, dropped, Some(ds));
            self.isa.run(SoftmaxBackward {
                p,
                grad: ds,
                stride,
                width: across,
            });

            let (right, row) = self.rows(&grad[at..], d, rows);
            let to = &mut grad_qkv[first + 2 * d + at..];
            let sizes = [keys, n, hd];
            times_rows(
                self.isa,
                sizes,
                across_left(after, stride),
                right,
                row,
                to,
                3 * d,
                false,
            );
            let (right, row) = self.rows(&qkv[first + d + at..], 3 * d, rows);
            let to = &mut grad_qkv[at..];
            times_rows(
                self.isa,
                [n, keys, hd],
                left(ds, stride),
                right,
                row,
                to,
                3 * d,
                false,
            );
            let (right, row) = self.rows(&qkv[at..], 3 * d, rows);
            let to = &mut grad_qkv[first + d + at..];
            times_rows(
                self.isa,
                sizes,
                across_left(ds, stride),
                right,
                row,
                to,
                3 * d,
                false,
            );
        }
        self.isa.run(Rotate {
            rope: self.rope.as_deref(),
            scale: self.scale(),
            back: true,
            rows: grad_qkv,
            d,
            head_dim: hd,
        });
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
        self.isa.run(GatherRows {
            from,
            stride,
            count: self.head_dim,
            to,
            to_stride: self.padded(),
        });
        (to, self.padded())
    }

    /// One head's probabilities after dropout, in `dropped` if there is any; drops from their gradient, too.
    fn drop<'a>(
        &self,
        sample: Sample,
        head: usize,
        p: &'a [f32],
        dropped: &'a mut [f32],
        grad: Option<&mut [f32]>,
    ) -> &'a [f32] {
        let Some(mask) = self.dropout else {
            return p;
        };
        let row = (sample.index * self.heads + head) * self.width;
        self.isa.run(DropProbabilities {
            mask,
            index: (row * self.width + sample.pads, self.width),
            keys: self.width - sample.pads,
            stride: self.stride(),
            p,
            dropped,
            grad,
        });
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

/// The transpose of a matrix with `stride` floats from one row to the next.
fn across_left(data: &[f32], stride: usize) -> Left<'_> {
    Left {
        data,
        row: 1,
        col: stride,
    }
}
