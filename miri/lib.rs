//! The modules of `relay-kernels` that hold unsafe code, without burn and rayon, for Miri to run.
//!
//! They are the crate's own files. Miri knows no AVX-512, so that the path without special instructions runs: the same
//! pointers, whatever the width of a vector. Slices are no longer than they have to be, so that a step too far is found.

#![cfg(test)]
#![allow(dead_code, unsafe_code)]

/// The files of the crate, at their places in it.
#[path = "../crates/relay-kernels/src"]
mod kernels {
    pub(crate) mod bf16;
    pub(crate) mod dot;
    pub(crate) mod isa;
    pub(crate) mod pack;
    pub(crate) mod prefetch;
    pub(crate) mod product;
}

use kernels::{bf16, dot, isa, pack, prefetch, product};

use bf16::{Duo, Emulated, narrow};
use isa::Isa;
use pack::{Matrix, Packed};
use product::{Left, Product, left, times_packed, times_panel, times_rows};

/// Rows, inner index and columns: whole and broken vectors and panels, every number of rows at a time, and an inner index
/// of more than one block.
const SIZES: [[usize; 3]; 7] = [
    [1, 1, 1],
    [2, 3, 5],
    [7, 2, 8],
    [13, 3, 17],
    [3, 5, 40],
    [1, 200, 9],
    [2, 321, 3],
];

/// Small whole numbers, so that sums are exact in any order.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + 3) % 5) as f32 - 2.0).collect()
}

fn expected([rows, depth, cols]: [usize; 3], x: &[f32], right: &[f32]) -> Vec<f32> {
    let at = |at: usize| {
        let (row, col) = (at / cols, at % cols);
        (0..depth)
            .map(|k| x[row * depth + k] * right[k * cols + col])
            .sum()
    };
    (0..rows * cols).map(at).collect()
}

fn matrix(data: &[f32], [_, depth, cols]: [usize; 3]) -> Matrix<'_> {
    Matrix {
        data,
        rows: depth,
        cols,
    }
}

/// A matrix of `[rows, depth]` column by column.
fn transposed(x: &[f32], [rows, depth]: [usize; 2]) -> Vec<f32> {
    let mut across = vec![0.0; rows * depth];
    for (at, value) in x.iter().enumerate() {
        across[at % depth * rows + at / depth] = *value;
    }
    across
}

#[test]
fn products_with_packed_matrices() {
    for size @ [rows, depth, cols] in SIZES {
        let (x, right) = (numbers(rows * depth), numbers(depth * cols));
        let once = expected(size, &x, &right);
        for isa in Isa::available() {
            let packed = Packed::beside(isa, &[matrix(&right, size)]);
            let mut out = vec![f32::NAN; rows * cols];
            times_packed(isa, rows, left(&x, depth), &packed, &mut out, cols, false);
            assert_eq!(out, once, "{isa:?} {size:?}");
            times_packed(isa, rows, left(&x, depth), &packed, &mut out, cols, true);
            let twice: Vec<f32> = once.iter().map(|x| 2.0 * x).collect();
            assert_eq!(out, twice, "{isa:?} {size:?}");
        }
    }
}

#[test]
fn products_with_rows_panels_and_transposes() {
    for size @ [rows, depth, cols] in SIZES {
        let (x, right) = (numbers(rows * depth), numbers(depth * cols));
        let once = expected(size, &x, &right);
        let across = transposed(&x, [rows, depth]);
        let turned = Left {
            data: &across,
            row: 1,
            col: rows,
        };
        for isa in Isa::available() {
            let row = cols.next_multiple_of(isa.lanes());
            let mut wide = vec![0.0; depth * row];
            for (to, from) in wide.chunks_exact_mut(row).zip(right.chunks_exact(cols)) {
                to[..cols].copy_from_slice(from);
            }
            let mut out = vec![f32::NAN; rows * cols];
            times_rows(isa, size, turned, &wide, row, &mut out, cols);
            assert_eq!(out, once, "{isa:?} {size:?}");
            if cols <= isa.panel() {
                let packed = Packed::beside(isa, &[matrix(&right, size)]);
                let mut out = vec![f32::NAN; rows * cols];
                times_panel(isa, size, turned, &packed.data, &mut out, cols, false);
                assert_eq!(out, once, "{isa:?} {size:?}");
            }
        }
    }
}

#[test]
fn products_in_bf16() {
    for size @ [rows, depth, cols] in SIZES {
        let (x, right) = (numbers(rows * depth), numbers(depth * cols));
        let once = expected(size, &x, &right);
        for isa in Isa::available() {
            let packed = Packed::narrowed(isa, &Packed::beside(isa, &[matrix(&right, size)]));
            let duos = depth.div_ceil(2);
            let mut narrowed = vec![Duo::default(); rows * duos];
            narrow(isa, &x, depth, &mut narrowed);
            let mut out = vec![f32::NAN; rows * cols];
            let x = left(&narrowed, duos);
            let product =
                Product::<Emulated>::of_packed(isa, rows, x, &packed, &mut out, cols, false);
            bf16::run(isa, product);
            assert_eq!(out, once, "{isa:?} {size:?}");
        }
    }
}

/// Both sides in panels, as those of weight gradients are, and added to what is there.
#[test]
fn products_of_panels_in_both_forms() {
    fn across<E>(panel: &Packed<E>, row: usize) -> Left<'_, E> {
        Left {
            data: &panel.data,
            row: 1,
            col: row,
        }
    }
    for size @ [rows, depth, cols] in SIZES {
        let (x, right) = (numbers(rows * depth), numbers(depth * cols));
        let more: Vec<_> = expected(size, &x, &right).iter().map(|x| x + 1.0).collect();
        let x = transposed(&x, [rows, depth]);
        for isa in Isa::available() {
            let panel = isa.panel();
            if rows.max(cols) > panel {
                continue;
            }
            let x = Packed::beside(isa, &[matrix(&x, [cols, depth, rows])]);
            let right = Packed::beside(isa, &[matrix(&right, size)]);
            let mut out = vec![1.0; rows * cols];
            times_panel(
                isa,
                size,
                across(&x, panel),
                &right.data,
                &mut out,
                cols,
                true,
            );
            assert_eq!(out, more, "{isa:?} {size:?}");

            let [x, right] = [x, right].map(|matrix| Packed::narrowed(isa, &matrix));
            let size = [rows, right.depth, cols];
            let mut out = vec![1.0; rows * cols];
            let (left, right) = (across(&x, panel), &right.data);
            let product =
                Product::<Emulated>::of_panel(isa, size, left, right, &mut out, cols, true);
            bf16::run(isa, product);
            assert_eq!(out, more, "{isa:?} {size:?} in bf16");
        }
    }
}

/// A product that would reach beyond one of its slices panics before it reads or writes anything.
#[test]
fn slices_that_are_too_short_are_refused() {
    let size @ [rows, depth, cols] = [3, 4, 9];
    let (x, right) = (numbers(rows * depth), numbers(depth * cols));
    for isa in Isa::available() {
        let packed = Packed::beside(isa, &[matrix(&right, size)]);
        let refused = |x: &[f32], packed: &Packed, out: usize| {
            let mut out = vec![0.0; out];
            let run = || times_packed(isa, rows, left(x, depth), packed, &mut out, cols, false);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
        };
        let short = Packed {
            data: packed.data[..packed.data.len() - isa.panel()].to_vec(),
            ..Packed::beside(isa, &[matrix(&right, size)])
        };
        assert!(!refused(&x, &packed, rows * cols));
        assert!(refused(&x[1..], &packed, rows * cols));
        assert!(refused(&x, &short, rows * cols));
        assert!(refused(&x, &packed, rows * cols - 1));
    }
}

#[test]
fn prefetches_of_anything() {
    let x = numbers(40);
    for ahead in [0, 8, 40, 4000] {
        prefetch::prefetch(&x, ahead, 33);
    }
    for index in 0..3 {
        prefetch::fetch(prefetch::part(&x, index, 3));
    }
    prefetch::fetch(&[]);
}
