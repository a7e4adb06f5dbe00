//! The gradients of a layer's matrices: sums over all rows of the stream, cut into tasks by their own rows.

use rayon::prelude::*;

use crate::block::Block;
use crate::block_backward::Chunk;
use crate::form::Form;
use crate::isa::Isa;
use crate::product::Left;

/// Floats of a weight gradient that one task computes, about.
const TASK_FLOATS: usize = 1 << 16;
/// How much of the inner index a weight gradient takes at a time, from as many chunks as that needs: both sides stay in
/// the second-level cache, and sums are not stored too often.
const GRADIENT_DEPTH: usize = 256;

impl Block {
    /// The gradients of query, key, value, output, up and down over some chunks, or adds to them.
    pub fn weight_gradients<E: Form>(
        &self,
        chunks: &[Chunk<'_>],
        accumulate: bool,
        gradients: &mut [Vec<f32>; 6],
    ) {
        let (d, m, dropout) = (self.d, self.m, self.dropout.is_some());
        // Left side with its columns, right side with its floats a row and first column, columns of the result.
        let pairs: [Pair<'_>; 6] = [
            self.pair(chunks, d, (3 * d, 0), d, |(_, sides, _)| {
                (sides.normal_attention, sides.grad_qkv)
            }),
            self.pair(chunks, d, (3 * d, d), d, |(_, sides, _)| {
                (sides.normal_attention, sides.grad_qkv)
            }),
            self.pair(chunks, d, (3 * d, 2 * d), d, |(_, sides, _)| {
                (sides.normal_attention, sides.grad_qkv)
            }),
            self.pair(chunks, d, (d, 0), d, |(saved, sides, _)| {
                let grad = if dropout {
                    sides.dropped[0]
                } else {
                    sides.grad_middle
                };
                (saved.attended, grad)
            }),
            self.pair(chunks, d, (m, 0), m, |(_, sides, _)| {
                (sides.normal_mlp, sides.grad_hidden)
            }),
            self.pair(chunks, m, (d, 0), d, |(_, sides, grad)| {
                (sides.active, if dropout { sides.dropped[1] } else { grad })
            }),
        ];
        let tasks: Vec<_> = pairs
            .iter()
            .zip(gradients)
            .flat_map(|(pair, out)| {
                let rows = pair.task_rows();
                let blocks = out.chunks_mut(rows * pair.cols).enumerate();
                blocks.map(move |(index, out)| (pair, index * rows, out))
            })
            .collect();
        let isa = self.isa();
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(pair, first, out)| pair.compute::<E>(isa, first, out, accumulate));
    }

    fn pair<'a, C>(
        &self,
        chunks: &'a [C],
        rows: usize,
        (stride, first): (usize, usize),
        cols: usize,
        sides: impl Fn(&'a C) -> (&'a [f32], &'a [f32]),
    ) -> Pair<'a> {
        Pair {
            rows,
            cols,
            stride,
            first,
            sides: chunks.iter().map(sides).collect(),
        }
    }
}

/// A weight gradient: the sum over chunks of the transposed left side times the right side.
struct Pair<'a> {
    rows: usize,
    cols: usize,
    /// Floats of a row of the right side.
    stride: usize,
    /// First column of the right side.
    first: usize,
    sides: Vec<(&'a [f32], &'a [f32])>,
}

impl Pair<'_> {
    /// Rows that one task computes: with many the right side is copied seldom, with few there are tasks for many cores.
    fn task_rows(&self) -> usize {
        (TASK_FLOATS / self.cols).clamp(128, 256)
    }

    /// The rows from `row` on that `out` has room for.
    fn compute<E: Form>(&self, isa: Isa, row: usize, out: &mut [f32], accumulate: bool) {
        let panel = isa.panel();
        let rows = out.len() / self.cols;
        // The last chunk may be shorter than the first.
        let chunk = self.sides[0].0.len() / self.rows;
        let together = (GRADIENT_DEPTH / chunk).max(1);
        let most = (chunk * together).div_ceil(E::NUMBERS);
        E::with_scratch(most * (rows + panel), |scratch| {
            let (left, right) = scratch.split_at_mut(most * rows);
            for (index, group) in self.sides.chunks(together).enumerate() {
                let depth: usize = group.iter().map(|(left, _)| left.len() / self.rows).sum();
                let depth = depth.div_ceil(E::NUMBERS);
                let sides = group.iter().map(|(left, _)| *left);
                let left = Left {
                    data: E::columns(isa, sides, self.rows, row..row + rows, rows, left),
                    row: 1,
                    col: rows,
                };
                for start in (0..self.cols).step_by(panel) {
                    let cols = panel.min(self.cols - start);
                    let sides = group.iter().map(|(_, right)| *right);
                    let first = self.first + start;
                    let right =
                        E::columns(isa, sides, self.stride, first..first + cols, panel, right);
                    E::times_panel(
                        isa,
                        [rows, depth, cols],
                        left,
                        right,
                        &mut out[start..],
                        self.cols,
                        accumulate || index > 0,
                    );
                }
            }
        });
    }
}
