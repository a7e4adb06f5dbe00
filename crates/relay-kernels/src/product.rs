//! Matrix products on one thread.
//!
//! One micro-kernel serves all: a few rows of the left matrix, read element by element, times a panel of the right one,
//! read vector by vector, summed in registers. Each element of the result is summed in the order of the inner index,
//! whatever the number of rows, so results do not depend on how rows are grouped.

#![allow(unsafe_code)]

use pulp::{Simd, WithSimd};

use crate::dot::{Dot, Single};
use crate::isa::{Isa, panel_vectors};
use crate::pack::Packed;

mod tile;

use tile::Tile;

/// How much of the inner index is done at a time, so that a panel stays in the first-level cache.
const DEPTH_BLOCK: usize = 128;

/// A left matrix: element `(i, k)` stands at `i * row + k * col`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'a, E = f32> {
    pub data: &'a [E],
    pub row: usize,
    pub col: usize,
}

/// A row-major left matrix.
pub(crate) fn left<E>(data: &[E], cols: usize) -> Left<'_, E> {
    Left {
        data,
        row: cols,
        col: 1,
    }
}

/// A right matrix: row `k` of panel `p` stands at `p * panel + k * row`, with whole vectors readable.
#[derive(Debug, Clone, Copy)]
struct Right<'a, E> {
    data: &'a [E],
    panel: usize,
    row: usize,
}

/// `out = left * right`, or `out += left * right`, on `[rows, depth]` and `[depth, cols]`. Of depth 0 `out` stays as it is, either
/// way.
pub(crate) struct Product<'a, D: Dot> {
    rows: usize,
    depth: usize,
    cols: usize,
    left: Left<'a, D::Element>,
    right: Right<'a, D::Element>,
    out: &'a mut [f32],
    out_row: usize,
    accumulate: bool,
}

/// `out [rows, out_row..] (+)= left [rows, depth] * right`.
pub(crate) fn times_packed(
    isa: Isa,
    rows: usize,
    left: Left<'_>,
    right: &Packed,
    out: &mut [f32],
    out_row: usize,
    accumulate: bool,
) {
    isa.run(Product::<Single>::of_packed(
        isa, rows, left, right, out, out_row, accumulate,
    ));
}

/// `out [rows, out_row..] = left [rows, depth] * right [depth, cols]` for a row-major `right` with `row` floats a row.
///
/// `row` must be a whole number of vectors, at least `cols`; columns up to the next whole vector are read.
#[allow(clippy::too_many_arguments)]
pub(crate) fn times_rows(
    isa: Isa,
    [rows, depth, cols]: [usize; 3],
    left: Left<'_>,
    right: &[f32],
    row: usize,
    out: &mut [f32],
    out_row: usize,
) {
    let view = Right {
        data: right,
        panel: isa.panel(),
        row,
    };
    isa.run(Product::<Single> {
        rows,
        depth,
        cols,
        left,
        right: view,
        out,
        out_row,
        accumulate: false,
    });
}

/// `out [rows, out_row..] (+)= left [rows, depth] * right` for a single panel of `cols` columns.
pub(crate) fn times_panel(
    isa: Isa,
    sizes: [usize; 3],
    left: Left<'_>,
    right: &[f32],
    out: &mut [f32],
    out_row: usize,
    accumulate: bool,
) {
    isa.run(Product::<Single>::of_panel(
        isa, sizes, left, right, out, out_row, accumulate,
    ));
}

impl<'a, D: Dot> Product<'a, D> {
    /// The product with a packed matrix.
    pub fn of_packed(
        isa: Isa,
        rows: usize,
        left: Left<'a, D::Element>,
        right: &'a Packed<D::Element>,
        out: &'a mut [f32],
        out_row: usize,
        accumulate: bool,
    ) -> Self {
        let panel = isa.panel();
        let view = Right {
            data: &right.data,
            panel: right.depth * panel,
            row: panel,
        };
        Self {
            rows,
            depth: right.depth,
            cols: right.cols,
            left,
            right: view,
            out,
            out_row,
            accumulate,
        }
    }

    /// The same, summed in another way.
    pub fn with_dot<O: Dot<Element = D::Element>>(self) -> Product<'a, O> {
        Product {
            rows: self.rows,
            depth: self.depth,
            cols: self.cols,
            left: self.left,
            right: self.right,
            out: self.out,
            out_row: self.out_row,
            accumulate: self.accumulate,
        }
    }

    /// The product with a single panel of `cols` columns.
    pub fn of_panel(
        isa: Isa,
        [rows, depth, cols]: [usize; 3],
        left: Left<'a, D::Element>,
        right: &'a [D::Element],
        out: &'a mut [f32],
        out_row: usize,
        accumulate: bool,
    ) -> Self {
        let view = Right {
            data: right,
            panel: 0,
            row: isa.panel(),
        };
        Self {
            rows,
            depth,
            cols,
            left,
            right: view,
            out,
            out_row,
            accumulate,
        }
    }

    /// Panics unless every element that the kernels touch lies inside the slices.
    #[inline(always)]
    fn check<S: Simd>(&self) {
        let (lanes, width) = (S::F32_LANES, panel_vectors::<S>() * S::F32_LANES);
        let panels = self.cols.div_ceil(width);
        let vectors = (self.cols - (panels - 1) * width).div_ceil(lanes);
        let last = (panels - 1) * self.right.panel + (self.depth - 1) * self.right.row;
        assert!(
            last + vectors * lanes <= self.right.data.len(),
            "right matrix too short"
        );
        if panels > 1 {
            let last = (panels - 2) * self.right.panel + (self.depth - 1) * self.right.row;
            assert!(
                last + width <= self.right.data.len(),
                "right matrix too short"
            );
        }
        let last = (self.rows - 1) * self.left.row + (self.depth - 1) * self.left.col;
        assert!(last < self.left.data.len(), "left matrix too short");
        assert!(
            (self.rows - 1) * self.out_row + self.cols <= self.out.len(),
            "result too short"
        );
    }

    #[inline(always)]
    fn panel<S: Simd, const NV: usize>(
        &mut self,
        s: S,
        first: usize,
        block: (usize, usize),
        accumulate: bool,
    ) {
        let (start, depth) = block;
        let width = panel_vectors::<S>() * S::F32_LANES;
        let tail = (self.cols - first).min(NV * S::F32_LANES) - (NV - 1) * S::F32_LANES;
        // SAFETY: `check` has shown that all rows, all of the inner index and all columns of this panel lie inside
        // the three slices, the right matrix rounded up to whole vectors; `first` is a multiple of `width`.
        let mut tile = unsafe {
            Tile::<D> {
                depth,
                left: self.left.data.as_ptr().add(start * self.left.col),
                left_row: self.left.row,
                left_col: self.left.col,
                right: self
                    .right
                    .data
                    .as_ptr()
                    .add(first / width * self.right.panel + start * self.right.row),
                right_row: self.right.row,
                out: self.out.as_mut_ptr().add(first),
                out_row: self.out_row,
                accumulate,
                tail,
            }
        };
        let mut rows = self.rows;
        // SAFETY: as above; each call advances over the rows that it has done, `rows` counts those left.
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                match NV {
                    4 => tile.rows::<S, 6, NV>(s, &mut rows),
                    3 => tile.rows::<S, 8, NV>(s, &mut rows),
                    _ => tile.rows::<S, 12, NV>(s, &mut rows),
                }
            } else {
                tile.rows::<S, 6, NV>(s, &mut rows);
            }
            tile.rows::<S, 4, NV>(s, &mut rows);
            tile.rows::<S, 2, NV>(s, &mut rows);
            tile.rows::<S, 1, NV>(s, &mut rows);
        }
    }
}

impl<D: Dot> WithSimd for Product<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        if self.rows == 0 || self.cols == 0 || self.depth == 0 {
            return;
        }
        self.check::<S>();
        let width = panel_vectors::<S>() * S::F32_LANES;
        let mut first = 0;
        while first < self.cols {
            let vectors = (self.cols - first).min(width).div_ceil(S::F32_LANES);
            let mut start = 0;
            while start < self.depth {
                let left = self.depth - start;
                // Not a short block at the end: the sums would be stored and read again for little.
                let depth = if left < DEPTH_BLOCK * 3 / 2 {
                    left
                } else {
                    DEPTH_BLOCK
                };
                let accumulate = self.accumulate || start > 0;
                match vectors {
                    4 => self.panel::<S, 4>(s, first, (start, depth), accumulate),
                    3 => self.panel::<S, 3>(s, first, (start, depth), accumulate),
                    2 => self.panel::<S, 2>(s, first, (start, depth), accumulate),
                    _ => self.panel::<S, 1>(s, first, (start, depth), accumulate),
                }
                start += depth;
            }
            first += width;
        }
    }
}
