//! Attention's backward pass.

use super::bands::Band;
use super::layout::{Across, Rotate};
use super::{Attention, Kept, Sample};
use crate::prefetch::{fetch, part};
use crate::product::{Left, times_rows};
use crate::softmax::SoftmaxBackward;

impl Attention {
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
        let (first, idle) = (pads * 3 * d, self.idle_rows(pads) * 3 * d);
        grad_qkv[..idle].fill(0.0);
        if keys == 0 {
            return;
        }
        for row in grad_qkv[idle..first].chunks_exact_mut(3 * d) {
            row[d..].fill(0.0);
        }
        let across = self.across(pads);
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
            for band in self.bands(pads) {
                self.band_across(&band, (&grad[at..], d), (values_across, across), ds);
            }
            let after = self.drop(sample, head, p, dropped, Some(ds));
            for Band { rows, columns } in self.bands(pads) {
                let rows = rows.start * stride..rows.end * stride;
                self.isa.run(SoftmaxBackward {
                    p: &p[rows.clone()],
                    grad: &mut ds[rows],
                    stride,
                    width: columns,
                });
            }

            let right = self.rows(&grad[at..], d, rows);
            let to = &mut grad_qkv[first + 2 * d + at..];
            self.times_columns(pads, after, right, to);
            let keys_rows = self.rows(&qkv[first + d + at..], 3 * d, rows);
            self.times_bands(pads, ds, keys_rows, (&mut grad_qkv[at..], 3 * d));
            let right = self.rows(&qkv[at..], 3 * d, rows);
            let to = &mut grad_qkv[first + d + at..];
            self.times_columns(pads, ds, right, to);
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

    /// The transpose of a square times `right`, with the floats from one of its rows to the next: `to [keys, 3 d]`.
    fn times_columns(
        &self,
        pads: usize,
        square: &[f32],
        (right, row): (&[f32], usize),
        to: &mut [f32],
    ) {
        let (n, d, hd, stride, _) = self.dims();
        for (columns, first) in self.columns(pads) {
            times_rows(
                self.isa,
                [columns.len(), n - first, hd],
                across_left(&square[first * stride + columns.start..], stride),
                &right[first * row..],
                row,
                &mut to[columns.start * 3 * d..],
                3 * d,
            );
        }
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
