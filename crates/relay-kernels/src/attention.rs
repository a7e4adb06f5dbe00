//! Attention of one sample, head by head.

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
        self.width * self.stride() + self.head_dim * self.stride() + 3 * self.width * self.padded()
    }

    fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(self.isa.lanes())
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Queries, keys and values `[width, 3 d]` to `out [width, d]` and `probabilities [heads, width, stride]`.
    ///
    /// The first `pads` columns are not attended to. In `probabilities` column 0 stands for the first other one.
    pub fn forward(
        &self,
        pads: usize,
        qkv: &[f32],
        out: &mut [f32],
        probabilities: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (n, d, hd, stride, padded) = self.dims();
        let keys = n - pads;
        if keys == 0 {
            out.fill(0.0);
            probabilities.fill(0.0);
            return;
        }
        let across = keys.next_multiple_of(self.isa.lanes());
        let (q, rest) = scratch.split_at_mut(n * padded);
        let (v, rest) = rest.split_at_mut(n * padded);
        let (row, keys_across) = rest.split_at_mut(padded);
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
            let left = Left {
                data: p,
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
        pads: usize,
        qkv: &[f32],
        probabilities: &[f32],
        grad: &[f32],
        grad_qkv: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (n, d, hd, stride, padded) = self.dims();
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
        let (values_across, ds) = rest.split_at_mut(hd * stride);
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
            self.isa.run(SoftmaxBackward {
                p,
                grad: &mut ds[..n * stride],
                stride,
                width: across,
            });

            let first = pads * 3 * d + at;
            let left = Left {
                data: p,
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
