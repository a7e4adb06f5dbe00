//! The forms in which a layer's products take their operands: f32, or bf16.

use core::ops::Range;

use crate::bf16::{self, Duo, narrow, narrow_below};
use crate::isa::Isa;
use crate::pack::{Packed, copy_rows};
use crate::pool::{Pooled, with_scratch};
use crate::product::{Left, Product, left, times_packed, times_panel};

/// What operands of products are made of.
pub(crate) trait Form: Pooled + Send + Sync {
    /// Numbers of the inner index in an element.
    const NUMBERS: usize;

    /// `out [rows, out_row..] (+)= x [rows, depth] * right`, with `x` row by row.
    fn times(
        isa: Isa,
        rows: usize,
        x: &[f32],
        right: &Packed<Self>,
        out: &mut [f32],
        out_row: usize,
        accumulate: bool,
    );

    /// As [`times_panel`], with the inner index counted in elements.
    fn times_panel(
        isa: Isa,
        sizes: [usize; 3],
        left: Left<'_, Self>,
        right: &[Self],
        out: &mut [f32],
        out_row: usize,
        accumulate: bool,
    );

    /// Some columns of rows of `stride` floats, [`NUMBERS`](Self::NUMBERS) of them below each other to an element, in rows
    /// of `to_stride` elements; an odd last row stands above zeros.
    fn columns(
        isa: Isa,
        x: &[f32],
        stride: usize,
        columns: Range<usize>,
        to: &mut [Self],
        to_stride: usize,
    );
}

impl Form for f32 {
    const NUMBERS: usize = 1;

    fn times(
        isa: Isa,
        rows: usize,
        x: &[f32],
        right: &Packed,
        out: &mut [f32],
        out_row: usize,
        accumulate: bool,
    ) {
        times_packed(
            isa,
            rows,
            left(x, right.depth),
            right,
            out,
            out_row,
            accumulate,
        );
    }

    fn times_panel(
        isa: Isa,
        sizes: [usize; 3],
        left: Left<'_>,
        right: &[f32],
        out: &mut [f32],
        out_row: usize,
        accumulate: bool,
    ) {
        times_panel(isa, sizes, left, right, out, out_row, accumulate);
    }

    fn columns(
        _: Isa,
        x: &[f32],
        stride: usize,
        columns: Range<usize>,
        to: &mut [f32],
        to_stride: usize,
    ) {
        let (count, to) = (columns.len(), to.chunks_exact_mut(to_stride));
        let rows = x.chunks_exact(stride).map(|row| &row[columns.clone()]);
        copy_rows(count, to.zip(rows));
    }
}

impl Form for Duo {
    const NUMBERS: usize = 2;

    fn times(
        isa: Isa,
        rows: usize,
        x: &[f32],
        right: &Packed<Self>,
        out: &mut [f32],
        out_row: usize,
        accumulate: bool,
    ) {
        if rows == 0 {
            return;
        }
        with_scratch(rows * right.depth, |duos: &mut [Self]| {
            narrow(isa, x, x.len() / rows, duos);
            let left = left(duos, right.depth);
            let product = Product::of_packed(isa, rows, left, right, out, out_row, accumulate);
            bf16::run(isa, product);
        });
    }

    fn times_panel(
        isa: Isa,
        sizes: [usize; 3],
        left: Left<'_, Self>,
        right: &[Self],
        out: &mut [f32],
        out_row: usize,
        accumulate: bool,
    ) {
        let product = Product::of_panel(isa, sizes, left, right, out, out_row, accumulate);
        bf16::run(isa, product);
    }

    fn columns(
        isa: Isa,
        x: &[f32],
        stride: usize,
        columns: Range<usize>,
        to: &mut [Self],
        to_stride: usize,
    ) {
        let (count, to) = (columns.len(), to.chunks_exact_mut(to_stride));
        let rows = x.chunks_exact(stride).map(|row| &row[columns.clone()]);
        narrow_below(isa, rows, to.map(|to| &mut to[..count]));
    }
}
