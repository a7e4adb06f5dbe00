//! The forms in which a layer's products take their operands: f32, or bf16.

use core::cell::RefCell;
use core::ops::Range;

use crate::bf16::{self, Duo, narrow, narrow_below};
use crate::isa::Isa;
use crate::pack::{Packed, copy_rows};
use crate::pool;
use crate::product::{Left, Product, left, times_packed, times_panel};

/// What operands of products are made of.
pub(crate) trait Form: Copy + Send + Sync + 'static {
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

    /// Some columns of matrices one below the other, which have `stride` floats a row, in rows of `to_stride` elements.
    ///
    /// They are copied to `to` unless they stand as they should be already.
    fn columns<'a>(
        isa: Isa,
        parts: impl ExactSizeIterator<Item = &'a [f32]>,
        stride: usize,
        columns: Range<usize>,
        to_stride: usize,
        to: &'a mut [Self],
    ) -> &'a [Self];

    /// Runs `work` with `len` elements of this thread, of arbitrary content.
    fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [Self]) -> R) -> R;
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

    fn columns<'a>(
        _: Isa,
        mut parts: impl ExactSizeIterator<Item = &'a [f32]>,
        stride: usize,
        columns: Range<usize>,
        to_stride: usize,
        to: &'a mut [f32],
    ) -> &'a [f32] {
        let count = columns.len();
        if parts.len() == 1 && (stride, count) == (to_stride, to_stride) {
            return parts.next().unwrap_or_default();
        }
        let rows = parts.flat_map(|part| part.chunks_exact(stride));
        let rows = rows.map(|row| &row[columns.clone()]);
        copy_rows(count, to.chunks_exact_mut(to_stride).zip(rows));
        to
    }

    fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
        pool::with_scratch(len, work)
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Duo>> = const { RefCell::new(Vec::new()) };
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
        Self::with_scratch(rows * right.depth, |duos| {
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

    fn columns<'a>(
        isa: Isa,
        parts: impl ExactSizeIterator<Item = &'a [f32]>,
        stride: usize,
        columns: Range<usize>,
        to_stride: usize,
        to: &'a mut [Self],
    ) -> &'a [Self] {
        let count = columns.len();
        let rows = parts.flat_map(|part| part.chunks_exact(stride));
        let to_rows = to.chunks_exact_mut(to_stride).map(|to| &mut to[..count]);
        narrow_below(isa, rows.map(|row| &row[columns.clone()]), to_rows);
        to
    }

    fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [Self]) -> R) -> R {
        // Taken out while in use, as in the pool.
        let mut scratch = SCRATCH.take();
        if scratch.len() < len {
            scratch.resize(len, Self::default());
        }
        let result = work(&mut scratch[..len]);
        SCRATCH.set(scratch);
        result
    }
}
