//! Attention of one sample, head by head.

use crate::dropout::{DropProbabilities, DropoutMask};
use crate::isa::Isa;
use crate::product::{Left, times_rows};
use crate::rope::Rope;
use crate::rows::{Softmax, SoftmaxBackward};

mod layout;

use layout::{Across, Gather, GatherRows, RotateBack};

/// What attention has to know; the same for all samples.
#[derive(Debug)]
pub(crate) struct Attention {
    pub isa: Isa,
    pub width: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub causal: bool,
    pub rope: Option<Rope>,
    /// What is dropped of the probabilities.
    pub dropout: Option<DropoutMask>,
}

/// One sample: its place in the batch, and its columns at the left that are not attended to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub index: usize,
    pub pads: usize,
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
            + 3 * self.width * self.padded()
    }

    fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(self.isa.lanes())
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Queries, keys and values `[width, 3 d]` to `out [width, d]` and `probabilities [heads, width, stride]`.
    ///
    /// In `probabilities`, which come before dropout, column 0 stands for the first that is attended to.
    pub fn forward(
        &self,
        sample: Sample,
        qkv: &[f32],
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
        let across = keys.next_multiple_of(self.isa.lanes());
        let (q, rest) = scratch.split_at_mut(n * padded);
        let (v, rest) = rest.split_at_mut(n * padded);
        let (row, rest) = rest.split_at_mut(padded);
        let (keys_across, dropped) = rest.split_at_mut(hd * stride);
        for (head, p) in probabilities.chunks_exact_mut(n * stride).enumerate() {
            let at = head * hd;
            self.isa.run(Gather {
                from: &qkv[at..],
                columns: (0, n),
                scale: self.scale(),
                rotated: true,
                to: q,
                at: self,
            });
            self.isa.run(Gather {
                from: &qkv[2 * d + at..],
                columns: (pads, n),
                scale: 1.0,
                rotated: false,
                to: v,
                at: self,
            });
            self.isa.run(Across {
                from: &qkv[d + at..],
                pads,
                rotated: true,
                across,
                row,
                to: keys_across,
                at: self,
            });
            let left = Left {
                data: q,
                row: padded,
                col: 1,
            };
            times_rows(
                self.isa,
                [n, hd, across],
                left,
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
            if let Some(mask) = self.dropout {
                self.isa.run(DropProbabilities {
                    mask,
                    index: self.mask_index(sample, head),
                    keys,
                    stride,
                    p,
                    dropped,
                    grad: None,
                });
            }
            let left = Left {
                data: if self.dropout.is_some() { dropped } else { p },
                row: stride,
                col: 1,
            };
            times_rows(
                self.isa,
                [n, keys, hd],
                left,
                v,
                padded,
                &mut out[at..],
                d,
                false,
            );
        }
    }

    /// Gradient of the queries, keys and values from that of the output.
    pub fn backward(
        &self,
        sample: Sample,
        qkv: &[f32],
        probabilities: &[f32],
        grad: &[f32],
        grad_qkv: &mut [f32],
        scratch: &mut [f32],
    ) {
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
        let across = keys.next_multiple_of(self.isa.lanes());
        let (q, rest) = scratch.split_at_mut(n * padded);
        let (k, rest) = rest.split_at_mut(n * padded);
        let (dout, rest) = rest.split_at_mut(n * padded);
        let (values_across, rest) = rest.split_at_mut(hd * stride);
        let (ds, dropped) = rest.split_at_mut(n * stride);
        for (head, p) in probabilities.chunks_exact(n * stride).enumerate() {
            let at = head * hd;
            self.isa.run(Gather {
                from: &qkv[at..],
                columns: (0, n),
                scale: self.scale(),
                rotated: true,
                to: q,
                at: self,
            });
            self.isa.run(Gather {
                from: &qkv[d + at..],
                columns: (pads, n),
                scale: 1.0,
                rotated: true,
                to: k,
                at: self,
            });
            self.isa.run(Across {
                from: &qkv[2 * d + at..],
                pads,
                rotated: false,
                across,
                row: &mut [],
                to: values_across,
                at: self,
            });
            self.isa.run(GatherRows {
                from: &grad[at..],
                stride: d,
                count: hd,
                to: dout,
                to_stride: padded,
            });
            let left = Left {
                data: dout,
                row: padded,
                col: 1,
            };
            times_rows(
                self.isa,
                [n, hd, across],
                left,
                values_across,
                across,
                ds,
                stride,
                false,
            );
            if let Some(mask) = self.dropout {
                self.isa.run(DropProbabilities {
                    mask,
                    index: self.mask_index(sample, head),
                    keys,
                    stride,
                    p,
                    dropped,
                    grad: Some(ds),
                });
            }
            self.isa.run(SoftmaxBackward {
                p,
                grad: ds,
                stride,
                width: across,
            });

            let first = pads * 3 * d + at;
            let left = Left {
                data: if self.dropout.is_some() { dropped } else { p },
                row: 1,
                col: stride,
            };
            times_rows(
                self.isa,
                [keys, n, hd],
                left,
                dout,
                padded,
                &mut grad_qkv[first + 2 * d..],
                3 * d,
                false,
            );
            let left = Left {
                data: ds,
                row: stride,
                col: 1,
            };
            times_rows(
                self.isa,
                [n, keys, hd],
                left,
                k,
                padded,
                &mut grad_qkv[at..],
                3 * d,
                false,
            );
            let left = Left {
                data: ds,
                row: 1,
                col: stride,
            };
            times_rows(
                self.isa,
                [keys, n, hd],
                left,
                q,
                padded,
                &mut grad_qkv[first + d..],
                3 * d,
                false,
            );
        }
        self.isa.run(RotateBack {
            pads,
            grad_qkv,
            at: self,
        });
    }

    /// The mask's index of a head's first probability, and how much further that of the next row is.
    fn mask_index(&self, sample: Sample, head: usize) -> (usize, usize) {
        let row = (sample.index * self.heads + head) * self.width;
        (row * self.width + sample.pads, self.width)
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
