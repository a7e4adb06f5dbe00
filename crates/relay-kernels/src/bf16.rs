//! Operands in bf16, two numbers of the inner index side by side, for products that are summed in f32.
//!
//! Processors with AVX-512 BF16 multiply and add two such numbers a lane at once. For all others the same is computed
//! step by step with the numbers rounded in the same way: not faster than f32, and equal up to the order of sums and to
//! subnormal numbers. Those are zeros to the instructions, whatever the mode of the processor (Intel's manual, VDPBF16PS and
//! VCVTNE2PS2BF16); here they are kept.

use pulp::{Simd, WithSimd};

use crate::dot::Dot;
use crate::isa::Isa;
use crate::pack::Packed;
use crate::product::Product;

#[cfg(target_arch = "x86_64")]
mod native;

/// Two numbers in bf16, the first in the lower half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Duo(pub u32);

impl Duo {
    /// Rounds to the nearest, ties to even.
    #[inline(always)]
    pub fn new(first: f32, second: f32) -> Self {
        Self(round(first) | round(second) << 16)
    }
}

/// The bits of a number rounded to bf16.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if x.is_nan() { 0x7fc0 } else { rounded }
}

/// Sums with ordinary instructions.
#[derive(Debug)]
pub(crate) struct Emulated;

impl Dot for Emulated {
    type Element = Duo;

    #[inline(always)]
    fn spread<S: Simd>(s: S, element: Duo) -> S::f32s {
        s.transmute_f32s_u32s(s.splat_u32s(element.0))
    }

    #[inline(always)]
    fn add<S: Simd>(s: S, left: S::f32s, right: S::f32s, sum: S::f32s) -> S::f32s {
        let sixteen = s.splat_u32s(16);
        let first =
            |x| s.transmute_f32s_u32s(s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(x), sixteen));
        let upper = s.splat_u32s(0xffff_0000);
        let second = |x| s.transmute_f32s_u32s(s.and_u32s(s.transmute_u32s_f32s(x), upper));
        let sum = s.mul_add_e_f32s(second(left), second(right), sum);
        s.mul_add_e_f32s(first(left), first(right), sum)
    }
}

/// The product, with instructions for bf16 where the machine has them.
pub(crate) fn run(isa: Isa, product: Product<'_, Emulated>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = native::simd(isa) {
        return native::product(simd, product);
    }
    isa.run(product);
}

/// One row after the other to elements of two neighbours; an odd last number stands beside a zero.
fn narrow_row(isa: Isa, x: &[f32], to: &mut [Duo]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = native::simd(isa) {
        return native::narrow_row(simd, x, to);
    }
    isa.run(Row { x, to });
}

/// Rows of `cols` numbers, two numbers of a row to an element; an odd last one stands beside a zero.
pub(crate) fn narrow(isa: Isa, x: &[f32], cols: usize, to: &mut [Duo]) {
    if cols.is_multiple_of(2) {
        return narrow_row(isa, x, to);
    }
    for (x, to) in x
        .chunks_exact(cols)
        .zip(to.chunks_exact_mut(cols.div_ceil(2)))
    {
        narrow_row(isa, x, to);
    }
}

/// Two rows to a row of elements; an odd last one stands above zeros.
pub(crate) fn narrow_below<'a>(
    isa: Isa,
    rows: impl Iterator<Item = &'a [f32]>,
    to: impl Iterator<Item = &'a mut [Duo]>,
) {
    let pairs = Pairs { rows, to };
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = native::simd(isa) {
        return native::narrow_pairs(simd, pairs);
    }
    pairs.for_each(|rows, to| isa.run(Rows { rows, to }));
}

impl Packed<Duo> {
    /// The matrix in bf16.
    pub fn narrowed(isa: Isa, matrix: &Packed) -> Self {
        let (panel, depth) = (isa.panel(), matrix.depth.div_ceil(2));
        let mut data = vec![Duo::default(); matrix.data.len() / matrix.depth.max(1) * depth];
        let panels = matrix.data.chunks_exact(matrix.depth.max(1) * panel);
        for (from, to) in panels.zip(data.chunks_exact_mut(depth.max(1) * panel)) {
            narrow_below(isa, from.chunks_exact(panel), to.chunks_exact_mut(panel));
        }
        Self {
            data,
            depth,
            cols: matrix.cols,
        }
    }
}

/// Rows, and where two of them at a time go.
struct Pairs<R, T> {
    rows: R,
    to: T,
}

impl<'a, R: Iterator<Item = &'a [f32]>, T: Iterator<Item = &'a mut [Duo]>> Pairs<R, T> {
    /// Gives every two rows, the last of which may be missing and is then empty, and their elements.
    #[inline(always)]
    fn for_each(mut self, narrow: impl Fn([&[f32]; 2], &mut [Duo])) {
        for to in self.to {
            let Some(first) = self.rows.next() else {
                return;
            };
            narrow([first, self.rows.next().unwrap_or_default()], to);
        }
    }
}

struct Row<'a> {
    x: &'a [f32],
    to: &'a mut [Duo],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (to, x) in self.to.iter_mut().zip(self.x.chunks(2)) {
            *to = Duo::new(x[0], x.get(1).copied().unwrap_or_default());
        }
    }
}

struct Rows<'a> {
    rows: [&'a [f32]; 2],
    to: &'a mut [Duo],
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [first, second] = self.rows;
        if second.is_empty() {
            for (to, first) in self.to.iter_mut().zip(first) {
                *to = Duo::new(*first, 0.0);
            }
        } else {
            for ((to, first), second) in self.to.iter_mut().zip(first).zip(second) {
                *to = Duo::new(*first, *second);
            }
        }
    }
}
