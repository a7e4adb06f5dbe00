//! The instructions of AVX-512 BF16.

#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_permutexvar_epi16, _mm512_storeu_si512,
};
use core::mem::{size_of, transmute, transmute_copy};

use pulp::x86::V4;
use pulp::{Simd, WithSimd};

use super::{Duo, Emulated, Pairs, Row, Rows};
use crate::dot::Dot;
use crate::isa::Isa;
use crate::product::Product;

/// Floats of a vector.
const LANES: usize = 16;

/// AVX-512, if `isa` is that and the machine has the instructions for bf16 as well.
#[inline]
pub(super) fn simd(isa: Isa) -> Option<V4> {
    match isa {
        Isa::Avx512(simd) if is_x86_feature_detected!("avx512bf16") => Some(simd),
        _ => None,
    }
}

/// Sums by the instruction for it.
struct Native;

impl Dot for Native {
    type Element = Duo;

    #[inline(always)]
    fn spread<S: Simd>(s: S, element: Duo) -> S::f32s {
        Emulated::spread(s, element)
    }

    #[inline(always)]
    fn add<S: Simd>(_: S, left: S::f32s, right: S::f32s, sum: S::f32s) -> S::f32s {
        const { assert!(size_of::<S::f32s>() == size_of::<__m512>()) };
        // SAFETY: the vectors are plain bits of the same size; `product` alone uses this type, for machines that have
        // the instruction.
        unsafe {
            let [left, right] = [left, right].map(|x| transmute_copy::<S::f32s, __m512bh>(&x));
            let sum = _mm512_dpbf16_ps(transmute_copy::<S::f32s, __m512>(&sum), left, right);
            transmute_copy(&sum)
        }
    }
}

/// The product, on a machine that [`simd`] has found fit.
pub(super) fn product(simd: V4, product: Product<'_, Emulated>) {
    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr"
    )]
    fn run(simd: V4, product: Product<'_, Native>) {
        product.with_simd(simd);
    }
    check();
    // SAFETY: `simd` is the proof of all features but `avx512bf16`, which `check` has seen.
    unsafe { run(simd, product.with_dot()) }
}

/// [`Row`], on a machine that [`simd`] has found fit.
pub(super) fn narrow_row(simd: V4, x: &[f32], to: &mut [Duo]) {
    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr"
    )]
    fn run(simd: V4, x: &[f32], to: &mut [Duo]) {
        let (vectors, x_rest) = x.as_chunks::<{ 2 * LANES }>();
        let (out, rest) = to.as_chunks_mut::<LANES>();
        let done = vectors.len().min(out.len());
        for (x, to) in vectors.iter().zip(&mut *out) {
            // SAFETY: two vectors of floats make one of elements; both are as long as that.
            unsafe {
                let low = _mm512_loadu_ps(x.as_ptr());
                let high = _mm512_loadu_ps(x.as_ptr().add(LANES));
                let both: __m512i = transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(to.as_mut_ptr().cast(), both);
            }
        }
        // An odd row ends in an element of a single number, so `to` may have a whole vector more than `x`.
        let rest = match out.get_mut(done..) {
            Some([last, ..]) => &mut last[..],
            _ => rest,
        };
        Row {
            x: x_rest,
            to: rest,
        }
        .with_simd(simd);
    }
    check();
    // SAFETY: as in `product`.
    unsafe { run(simd, x, to) }
}

/// [`Rows`] of each two, on a machine that [`simd`] has found fit.
pub(super) fn narrow_pairs<'a>(
    simd: V4,
    pairs: Pairs<impl Iterator<Item = &'a [f32]>, impl Iterator<Item = &'a mut [Duo]>>,
) {
    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr"
    )]
    fn run<'a>(
        simd: V4,
        pairs: Pairs<impl Iterator<Item = &'a [f32]>, impl Iterator<Item = &'a mut [Duo]>>,
    ) {
        pairs.for_each(|rows, to| narrow_rows(simd, rows, to));
    }
    check();
    // SAFETY: as in `product`.
    unsafe { run(simd, pairs) }
}

/// [`Rows`], whose whole vectors are narrowed at once.
#[inline]
#[target_feature(
    enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr"
)]
fn narrow_rows(simd: V4, rows: [&[f32]; 2], to: &mut [Duo]) {
    let [first, second] = rows;
    if second.is_empty() {
        return Rows { rows, to }.with_simd(simd);
    }
    assert_eq!(
        [first.len(), second.len()],
        [to.len(); 2],
        "rows of other lengths than their elements"
    );
    let (firsts, first) = first.as_chunks::<LANES>();
    let (seconds, second) = second.as_chunks::<LANES>();
    let (out, rest) = to.as_chunks_mut::<LANES>();
    // SAFETY: all chunks are vectors.
    unsafe {
        let order = _mm512_loadu_si512(ORDER.as_ptr().cast());
        for ((first, second), to) in firsts.iter().zip(seconds).zip(out) {
            let low = _mm512_loadu_ps(first.as_ptr());
            let high = _mm512_loadu_ps(second.as_ptr());
            let both: __m512i = transmute(_mm512_cvtne2ps_pbh(high, low));
            let both = _mm512_permutexvar_epi16(order, both);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), both);
        }
    }
    let rows = [first, second];
    Rows { rows, to: rest }.with_simd(simd);
}

/// The numbers of two vectors, alternating.
const ORDER: [u16; 2 * LANES] = {
    let mut order = [0; 2 * LANES];
    let mut at = 0;
    while at < order.len() {
        order[at] = (at / 2 + at % 2 * LANES) as u16;
        at += 1;
    }
    order
};

/// Panics unless the machine has the instructions for bf16.
fn check() {
    assert!(
        is_x86_feature_detected!("avx512bf16"),
        "no instructions for bf16"
    );
}
