//! Bringing floats near before they are needed.

#![allow(unsafe_code)]

/// Asks for `x` in the second-level cache.
#[inline(always)]
pub(crate) fn prefetch(x: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in x.chunks(16) {
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
