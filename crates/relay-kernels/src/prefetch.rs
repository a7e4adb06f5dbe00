//! Hints to fetch memory before it is read.

#![allow(unsafe_code)]

/// Floats of a line of the caches.
const LINE: usize = 16;

/// Asks for `len` floats that stand `ahead` floats after the start of `x`, whether or not they belong to it.
#[inline(always)]
pub(crate) fn prefetch(x: &[f32], ahead: usize, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..len).step_by(LINE) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = x.as_ptr().wrapping_add(ahead + at);
        // SAFETY: a hint; no address makes it fault, and nothing is read or written.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, ahead, len, LINE);
}

/// Asks for `x` in the second-level cache.
#[inline(always)]
pub(crate) fn fetch(x: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in x.chunks(LINE) {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint; it reads nothing, and the address is one of the slice.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = x;
}

/// The part of `x` that comes `index`-th of `count`.
pub(crate) fn part(x: &[f32], index: usize, count: usize) -> &[f32] {
    &x[x.len() * index / count..x.len() * (index + 1) / count]
}
