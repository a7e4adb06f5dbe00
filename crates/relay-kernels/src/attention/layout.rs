//! How queries, keys and values of one head are copied out of the rows of all heads, and their gradients rotated back.

use pulp::{Simd, WithSimd};

use super::Attention;
use crate::rope::{rotate, rotate_back};

/// Copies one head's columns out of rows of `3 d`, rotated if wanted.
pub(super) struct Gather<'a> {
    pub from: &'a [f32],
    pub columns: (usize, usize),
    pub scale: f32,
    pub rotated: bool,
    pub to: &'a mut [f32],
    pub at: &'a Attention,
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
pub(super) struct GatherRows<'a> {
    pub from: &'a [f32],
    pub stride: usize,
    pub count: usize,
    pub to: &'a mut [f32],
    pub to_stride: usize,
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
pub(super) struct Across<'a> {
    pub from: &'a [f32],
    pub pads: usize,
    pub rotated: bool,
    pub across: usize,
    pub row: &'a mut [f32],
    pub to: &'a mut [f32],
    pub at: &'a Attention,
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
pub(super) struct RotateBack<'a> {
    pub pads: usize,
    pub grad_qkv: &'a mut [f32],
    pub at: &'a Attention,
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
