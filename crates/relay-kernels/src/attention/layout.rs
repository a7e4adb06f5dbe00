//! How queries, keys and values of one head are turned and copied.

use pulp::{Simd, WithSimd};

use crate::rope::{Rope, turn};

/// Turns the queries and keys of all heads by their positions and scales the queries, in rows of `3 d`.
///
/// `back` gives the gradient of that instead.
pub(super) struct Rotate<'a> {
    pub rope: Option<&'a Rope>,
    pub scale: f32,
    pub back: bool,
    pub rows: &'a mut [f32],
    pub d: usize,
    pub head_dim: usize,
}

impl WithSimd for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (d, hd, scale) = (self.d, self.head_dim, self.scale);
        for (column, row) in self.rows.chunks_exact_mut(3 * d).enumerate() {
            let (q, rest) = row.split_at_mut(d);
            let Some(rope) = self.rope else {
                q.iter_mut().for_each(|x| *x *= scale);
                continue;
            };
            for q in q.chunks_exact_mut(hd) {
                turn(s, rope, column, self.back, scale, q);
            }
            for k in rest[..d].chunks_exact_mut(hd) {
                turn(s, rope, column, self.back, 1.0, k);
            }
        }
    }
}

/// Columns that are transposed at once.
const BLOCK: usize = 8;

/// Copies one head's columns transposed: `to [head_dim, across]`, zero beyond the last column.
pub(super) struct Across<'a> {
    pub from: &'a [f32],
    /// Floats from one column to the next.
    pub stride: usize,
    pub columns: usize,
    pub across: usize,
    pub to: &'a mut [f32],
}

impl WithSimd for Across<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (hd, across) = (self.to.len() / self.across, self.across);
        let row = |column: usize| &self.from[column * self.stride..][..hd];
        let whole = self.columns / BLOCK * BLOCK;
        for column in (0..whole).step_by(BLOCK) {
            let rows: [&[f32]; BLOCK] = core::array::from_fn(|i| row(column + i));
            for (i, to) in self.to.chunks_exact_mut(across).enumerate() {
                let values: [f32; BLOCK] = core::array::from_fn(|j| rows[j][i]);
                to[column..column + BLOCK].copy_from_slice(&values);
            }
        }
        for column in whole..self.columns {
            for (x, to) in row(column).iter().zip(self.to.chunks_exact_mut(across)) {
                to[column] = *x;
            }
        }
        if self.columns < across {
            for to in self.to.chunks_exact_mut(across) {
                to[self.columns..].fill(0.0);
            }
        }
    }
}
