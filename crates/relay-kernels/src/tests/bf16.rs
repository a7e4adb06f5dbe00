//! Products and layers in bf16, on every instruction set.

use super::layer::{run, run_in};
use super::{Case, assert_close, assert_same_on_threads, doubles, noise};
use crate::bf16::{Duo, narrow};
use crate::form::Form;
use crate::isa::Isa;
use crate::pack::{Matrix, Packed};
use crate::product::Left;

/// Rounded to bf16, the nearest one, ties to even.
fn rounded(x: f32) -> f64 {
    let below = f32::from_bits(x.to_bits() & 0xffff_0000);
    let above = f32::from_bits((x.to_bits() & 0xffff_0000) + 0x1_0000);
    let (x, below, above) = (f64::from(x), f64::from(below), f64::from(above));
    let (to_below, to_above) = ((x - below).abs(), (above - x).abs());
    let even = (below as f32).to_bits() & 0x1_0000 == 0;
    if to_below < to_above || (to_below == to_above && even) {
        below
    } else {
        above
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest() {
    let mut x = noise(1, 301);
    x.extend([
        0.0,
        -0.0,
        1.0,
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        -3.25e10,
        1e-20,
    ]);
    x.extend(noise(2, 33));
    for isa in Isa::available() {
        for cols in [x.len(), 31, 2, 1] {
            let rows = x.len() / cols;
            let mut duos = vec![Duo(u32::MAX); rows * cols.div_ceil(2)];
            narrow(isa, &x[..rows * cols], cols, &mut duos);
            let rows = x
                .chunks_exact(cols)
                .zip(duos.chunks_exact(cols.div_ceil(2)));
            for (x, duos) in rows {
                for (x, duo) in x.chunks(2).zip(duos) {
                    let second = x.get(1).copied().unwrap_or_default();
                    let halves = [duo.0 << 16, duo.0 & 0xffff_0000];
                    let found = halves.map(|bits| f64::from(f32::from_bits(bits)));
                    assert_eq!(found, [rounded(x[0]), rounded(second)], "{isa:?} {x:?}");
                }
            }
        }
    }
}

/// `left [rows, depth] * right [depth, cols]` of numbers rounded to bf16.
fn exact([rows, depth, cols]: [usize; 3], left: &[f32], right: &[f32]) -> Vec<f64> {
    let mut out = vec![0.0; rows * cols];
    for (at, out) in out.iter_mut().enumerate() {
        let (row, col) = (at / cols, at % cols);
        let terms =
            (0..depth).map(|k| rounded(left[row * depth + k]) * rounded(right[k * cols + col]));
        *out = terms.sum();
    }
    out
}

#[test]
fn products_are_those_of_rounded_numbers() {
    let sizes = [
        [1, 1, 1],
        [2, 3, 5],
        [7, 64, 64],
        [13, 33, 70],
        [6, 300, 129],
        [25, 515, 17],
    ];
    for [rows, depth, cols] in sizes {
        let (x, right) = (noise(3, rows * depth), noise(4, depth * cols));
        let expected = exact([rows, depth, cols], &x, &right);
        let matrix = Matrix {
            data: &right,
            rows: depth,
            cols,
        };
        for isa in Isa::available() {
            let packed = Packed::narrowed(isa, &Packed::beside(isa, &[matrix]));
            let mut out = vec![f32::NAN; rows * cols];
            Duo::times(isa, rows, &x, &packed, &mut out, cols, false);
            let what = format!("{isa:?} {rows} {depth} {cols}");
            assert_close(&what, &out, &expected, 2e-6);
            Duo::times(isa, rows, &x, &packed, &mut out, cols, true);
            let twice: Vec<_> = expected.iter().map(|x| 2.0 * x).collect();
            assert_close(&what, &out, &twice, 2e-6);
        }
    }
}

#[test]
fn products_over_rows_are_those_of_rounded_numbers() {
    for [rows, depth, cols] in [[1, 1, 1], [5, 3, 7], [18, 65, 40], [33, 130, 64]] {
        // The left side is transposed: `depth` rows of `rows` numbers.
        let (across, right) = (noise(5, depth * rows), noise(6, depth * cols));
        let mut x = vec![0.0; rows * depth];
        for (at, value) in across.iter().enumerate() {
            x[at % rows * depth + at / rows] = *value;
        }
        let expected = exact([rows, depth, cols], &x, &right);
        for isa in Isa::available() {
            let (panel, duos) = (isa.panel(), depth.div_ceil(2));
            if cols > panel {
                continue;
            }
            let (mut left, mut rights) = (vec![Duo(1); duos * rows], vec![Duo(1); duos * panel]);
            Duo::columns(isa, &across, rows, 0..rows, &mut left, rows);
            Duo::columns(isa, &right, cols, 0..cols, &mut rights, panel);
            let left = Left {
                data: &left,
                row: 1,
                col: rows,
            };
            let mut out = vec![f32::NAN; rows * cols];
            let sizes = [rows, duos, cols];
            Duo::times_panel(isa, sizes, left, &rights, &mut out, cols, false);
            assert_close(&format!("{isa:?} {sizes:?}"), &out, &expected, 2e-6);
        }
    }
}

/// The error relative to the length of what is expected.
fn error(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let errors: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    let whole: f64 = expected.iter().copied().map(square).sum();
    (errors / whole.max(1e-30)).sqrt()
}

#[test]
fn layers_are_near_those_in_f32() {
    let cases: Vec<_> = Case::small().into_iter().chain(Case::large()).collect();
    for (index, case) in cases.iter().enumerate() {
        let (t, grad) = case.tensors(index as u64 * 1000);
        let (expected, expected_gradients) = run(case, Isa::best(), &t, &grad);
        let mut of_others: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            let (out, gradients) = run_in(case, isa, &t, &grad, |weights| {
                (weights.forward_bf16(), weights.backward_bf16())
            });
            assert!(error(&out, &expected) < 0.01, "{case:?} {isa:?}");
            for (index, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate()
            {
                // What stands before a softmax over a single column has no gradient but for rounding.
                if expected.iter().all(|x| x.abs() < 1e-4) {
                    continue;
                }
                let error = error(found, expected);
                assert!(error < 0.05, "{case:?} {isa:?} gradient {index}: {error}");
            }
            if let Some(others) = &of_others {
                assert_close(&format!("{case:?} {isa:?}"), &out, &doubles(others), 2e-2);
            }
            of_others = Some(out);
        }
    }
}

#[test]
fn does_not_depend_on_threads() {
    for case in Case::large() {
        let (t, grad) = case.tensors(7);
        assert_same_on_threads(|| {
            run_in(&case, Isa::best(), &t, &grad, |weights| {
                (weights.forward_bf16(), weights.backward_bf16())
            })
        });
    }
}
