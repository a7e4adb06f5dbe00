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
