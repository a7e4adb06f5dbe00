//! Attention of one sample, head by head.

use pulp::{Simd, WithSimd};

use crate::isa::Isa;
use crate::product::{Left, times_rows};
use crate::rope::{Rope, rotate, rotate_back};
use crate::rows::{Softmax, SoftmaxBackward};

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

/// Copies one head's columns out of rows of `3 d`, rotated if wanted.
struct Gather<'a> {
    from: &'a [f32],
    columns: (usize, usize),
    scale: f32,
    rotated: bool,
    to: &'a mut [f32],
    at: &'a Attention,
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (_, d, hd, _, padded) = self.at.dims();
        let rope = self.at.rope.as_ref().filter(|_| self.rotated);
        for (column, to) in (self.columns.0..self.columns.1).zip(self.to.chunks_exact_mut(padded)) {
            rotate(
                rope,
                column,
                self.scale,
                &self.from[column * 3 * d..][..hd],
                &mut to[..hd],
            );
        }
    }
}

/// Copies the first `count` of every `stride` floats.
struct GatherRows<'a> {
    from: &'a [f32],
    stride: usize,
    count: usize,
    to: &'a mut [f32],
    to_stride: usize,
}

impl WithSimd for GatherRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (from, to) in self
            .from
            .chunks(self.stride)
            .zip(self.to.chunks_exact_mut(self.to_stride))
        {
            to[..self.count].copy_from_slice(&from[..self.count]);
        }
    }
}

/// Copies one head's columns transposed: `to [head_dim, across]`, zero beyond the last column.
struct Across<'a> {
    from: &'a [f32],
    pads: usize,
    rotated: bool,
    across: usize,
    row: &'a mut [f32],
    to: &'a mut [f32],
    at: &'a Attention,
}

impl WithSimd for Across<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (n, d, hd, _, _) = self.at.dims();
        let rope = self.at.rope.as_ref().filter(|_| self.rotated);
        let to = &mut self.to[..hd * self.across];
        for column in self.pads..n {
            let from = &self.from[column * 3 * d..][..hd];
            let from = if rope.is_some() {
                rotate(rope, column, 1.0, from, &mut self.row[..hd]);
                &self.row[..hd]
            } else {
                from
            };
            for (x, to) in from.iter().zip(to.chunks_exact_mut(self.across)) {
                to[column - self.pads] = *x;
            }
        }
        for to in to.chunks_exact_mut(self.across) {
            to[n - self.pads..].fill(0.0);
        }
    }
}

/// Turns the gradients of rotated queries and keys into those of the unrotated.
struct RotateBack<'a> {
    pads: usize,
    grad_qkv: &'a mut [f32],
    at: &'a Attention,
}

impl WithSimd for RotateBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (_, d, hd, _, _) = self.at.dims();
        let rope = self.at.rope.as_ref();
        for (column, row) in self.grad_qkv.chunks_exact_mut(3 * d).enumerate() {
            let (q, rest) = row.split_at_mut(d);
            q.chunks_exact_mut(hd)
                .for_each(|q| rotate_back(rope, column, self.at.scale(), q));
            if rope.is_some() && column >= self.pads {
                rest[..d]
                    .chunks_exact_mut(hd)
                    .for_each(|k| rotate_back(rope, column, 1.0, k));
            }
        }
    }
}
