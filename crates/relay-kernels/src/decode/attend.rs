//! Attention of one column to those before it and itself, out of the pages of its text.
//!
//! What a row gives depends on its own text alone, and on nothing of how rows are grouped.

use pulp::{Simd, WithSimd};

use super::cache::{Layout, PAGE};
use crate::pool::Buffer;
use crate::prefetch::prefetch;
use crate::rope::{Rope, rotate};
use crate::softmax::Softmax;

/// Floats by which reading is prepared: caches of many texts do not fit the second-level cache.
const AHEAD: usize = 512;
/// Vectors that are read side by side: of eight floats each they are a whole row of a page, so that memory is read from one
/// end to the other.
const GROUP: usize = 8;

/// Writes the keys and values of a column to its page.
pub(super) struct Append<'a> {
    pub layout: Layout,
    pub layer: usize,
    pub column: usize,
    pub rope: Option<&'a Rope>,
    /// Queries, keys and values, `[3, d]`.
    pub qkv: &'a [f32],
    pub page: &'a mut [f32],
    /// Scratch, `[padded]`.
    pub row: &'a mut [f32],
}

impl WithSimd for Append<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (d, head_dim) = (self.layout.d(), self.layout.head_dim);
        let row = &mut self.row[..head_dim];
        let keys = self.qkv[d..2 * d].chunks_exact(head_dim);
        let values = self.qkv[2 * d..].chunks_exact(head_dim);
        for (head, (key, value)) in keys.zip(values).enumerate() {
            rotate(s, self.rope, self.column, 1.0, key, row);
            let place = [self.layer, head, self.column];
            self.layout.write(self.page, place, row, value);
        }
    }
}

/// Attention of a column; its own keys and values are in the pages already.
pub(super) struct Attend<'a> {
    pub layout: Layout,
    pub layer: usize,
    pub column: usize,
    pub rope: Option<&'a Rope>,
    /// Queries, `[d]`.
    pub queries: &'a [f32],
    pub pages: &'a [Buffer],
    /// Scratch, `[padded]`.
    pub row: &'a mut [f32],
    /// Scratch, as long as all pages.
    pub scores: &'a mut [f32],
    /// `[d]`.
    pub out: &'a mut [f32],
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let head_dim = self.layout.head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let seen = self.column + 1;
        let width = seen.next_multiple_of(S::F32_LANES);
        let query = &mut self.row[..head_dim];
        let heads = self.queries.chunks_exact(head_dim);
        let heads = heads.zip(self.out.chunks_exact_mut(head_dim));
        for (head, (q, out)) in heads.enumerate() {
            rotate(s, self.rope, self.column, scale, q, query);
            let keys = self.layout.keys(self.layer, head);
            for (index, scores) in self.scores[..width].chunks_mut(PAGE).enumerate() {
                begin(self.pages.get(index + 1), keys.start);
                dots(s, query, &self.pages[index][keys.clone()], scores);
            }
            Softmax {
                rows: &mut self.scores[..width],
                stride: width,
                width,
                valid: |_| seen,
            }
            .with_simd(s);
            let values = self.layout.values(self.layer, head);
            let padded = self.layout.padded;
            for (start, out) in out.chunks_mut(GROUP * S::F32_LANES).enumerate() {
                let parts = self.scores[..seen].chunks(PAGE).zip(self.pages);
                let next = self.pages[1..].iter().map(Some).chain([None]);
                let parts = parts.zip(next).map(|((p, page), next)| {
                    begin(next, values.start);
                    (p, &page[values.clone()])
                });
                let start = start * GROUP * S::F32_LANES;
                // Eight sums at a time, as many as it takes to keep both multipliers busy.
                match out.len().div_ceil(S::F32_LANES) {
                    8 => weigh::<S, 8, 1>(s, parts, padded, start, out),
                    7 => weigh::<S, 7, 1>(s, parts, padded, start, out),
                    6 => weigh::<S, 6, 1>(s, parts, padded, start, out),
                    5 => weigh::<S, 5, 1>(s, parts, padded, start, out),
                    4 => weigh::<S, 4, 2>(s, parts, padded, start, out),
                    3 => weigh::<S, 3, 2>(s, parts, padded, start, out),
                    2 => weigh::<S, 2, 4>(s, parts, padded, start, out),
                    _ => weigh::<S, 1, 8>(s, parts, padded, start, out),
                }
            }
        }
    }
}

/// Has the begin of what will be read of a page brought closer: what comes before it is in another place.
#[inline(always)]
fn begin(page: Option<&Buffer>, at: usize) {
    if let Some(page) = page {
        prefetch(&page[at..], 0, AHEAD);
    }
}

/// Products of the query with the keys of one page, as many as `scores` has room for: a whole number of vectors.
#[inline(always)]
fn dots<S: Simd>(s: S, query: &[f32], keys: &[f32], scores: &mut [f32]) {
    for (group, scores) in scores.chunks_mut(GROUP * S::F32_LANES).enumerate() {
        let keys = &keys[group * GROUP * S::F32_LANES..];
        match scores.len() / S::F32_LANES {
            8 => dot::<S, 8>(s, query, keys, scores),
            7 => dot::<S, 7>(s, query, keys, scores),
            6 => dot::<S, 6>(s, query, keys, scores),
            5 => dot::<S, 5>(s, query, keys, scores),
            4 => dot::<S, 4>(s, query, keys, scores),
            3 => dot::<S, 3>(s, query, keys, scores),
            2 => dot::<S, 2>(s, query, keys, scores),
            _ => dot::<S, 1>(s, query, keys, scores),
        }
    }
}

/// `NV` vectors of [`dots`].
#[inline(always)]
fn dot<S: Simd, const NV: usize>(s: S, query: &[f32], keys: &[f32], scores: &mut [f32]) {
    let mut sums = [s.splat_f32s(0.0); NV];
    for (q, keys) in query.iter().zip(keys.chunks(PAGE)) {
        let q = s.splat_f32s(*q);
        prefetch(keys, AHEAD, NV * S::F32_LANES);
        let keys = &S::as_simd_f32s(keys).0[..NV];
        for (sum, key) in sums.iter_mut().zip(keys) {
            *sum = s.mul_add_e_f32s(q, *key, *sum);
        }
    }
    S::as_mut_simd_f32s(scores).0[..NV].copy_from_slice(&sums);
}

/// Values weighted by probabilities and summed, from `start` on as many as `out` has room for: `NV` vectors.
///
/// Each part is some probabilities and the values of a page. Every `U`-th column goes to the same sum.
#[inline(always)]
fn weigh<'a, S: Simd, const NV: usize, const U: usize>(
    s: S,
    parts: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    padded: usize,
    start: usize,
    out: &mut [f32],
) {
    let mut sums = [[s.splat_f32s(0.0); NV]; U];
    let add = |sums: &mut [S::f32s; NV], p: f32, values: &[f32]| {
        let p = s.splat_f32s(p);
        let values = &values[start..];
        prefetch(values, AHEAD, NV * S::F32_LANES);
        let values = &S::as_simd_f32s(values).0[..NV];
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = s.mul_add_e_f32s(p, *value, *sum);
        }
    };
    for (p, values) in parts {
        let groups = p.chunks(U).zip(values.chunks(U * padded));
        for (p, values) in groups {
            if p.len() == U {
                for (u, sums) in sums.iter_mut().enumerate() {
                    add(sums, p[u], &values[u * padded..]);
                }
            } else {
                for ((sums, p), values) in sums.iter_mut().zip(p).zip(values.chunks(padded)) {
                    add(sums, *p, values);
                }
            }
        }
    }
    let (first, rest) = sums.split_at_mut(1);
    let total = &mut first[0];
    for sums in rest {
        for (total, sum) in total.iter_mut().zip(sums) {
            *total = s.add_f32s(*total, *sum);
        }
    }
    for (out, total) in out.chunks_mut(S::F32_LANES).zip(total) {
        s.partial_store_f32s(out, *total);
    }
}
