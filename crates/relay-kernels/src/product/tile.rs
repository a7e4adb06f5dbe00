//! The micro-kernel of matrix products.

use pulp::Simd;

use crate::dot::Dot;

/// What the micro-kernel works on.
pub(super) struct Tile<D: Dot> {
    pub depth: usize,
    pub left: *const D::Element,
    pub left_row: usize,
    pub left_col: usize,
    pub right: *const D::Element,
    pub right_row: usize,
    pub out: *mut f32,
    pub out_row: usize,
    pub accumulate: bool,
    /// Columns of the last vector that are part of the result.
    pub tail: usize,
}

impl<D: Dot> Tile<D> {
    /// Does as many groups of `MR` rows as there are, and moves on over them.
    ///
    /// # Safety
    /// `rows` rows, `depth` and `NV` vectors must be inside what the pointers point into.
    #[inline(always)]
    pub unsafe fn rows<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        s: S,
        rows: &mut usize,
    ) {
        while *rows >= MR {
            // SAFETY: the caller's promise covers these `MR` rows, and moving the pointers over them.
            unsafe {
                self.kernel::<S, MR, NV>(s);
                self.left = self
                    .left
                    .add(if *rows > MR { MR * self.left_row } else { 0 });
                self.out = self.out.add(if *rows > MR { MR * self.out_row } else { 0 });
            }
            *rows -= MR;
        }
    }

    /// `MR` rows times `NV` vectors of columns.
    ///
    /// # Safety
    /// As for `rows`.
    #[inline(always)]
    unsafe fn kernel<S: Simd, const MR: usize, const NV: usize>(&self, s: S) {
        const {
            assert!(
                size_of::<D::Element>() == size_of::<f32>(),
                "a vector of floats is read where there are as many elements"
            );
        }
        let mut sums = [[s.splat_f32s(0.0); NV]; MR];
        let (half, mut right) = (MR.div_ceil(2), self.right);
        let mut upper = self.left;
        let mut lower = apart(upper.wrapping_add(half * self.left_row));
        // SAFETY: reads `MR` rows of the left and `NV` vectors of the right matrix for each of `depth` steps; the
        // pointers move with `wrapping_add`, which is allowed to leave the slice after the last step.
        unsafe {
            for _ in 0..self.depth {
                let mut vectors = [s.splat_f32s(0.0); NV];
                for (j, vector) in vectors.iter_mut().enumerate() {
                    *vector = right
                        .add(j * S::F32_LANES)
                        .cast::<S::f32s>()
                        .read_unaligned();
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let left = if i < half {
                        upper.wrapping_add(i * self.left_row)
                    } else {
                        lower.wrapping_add((i - half) * self.left_row)
                    };
                    let value = D::spread(s, *left);
                    for (sum, vector) in sums.iter_mut().zip(&vectors) {
                        *sum = D::add(s, value, *vector, *sum);
                    }
                }
                upper = upper.wrapping_add(self.left_col);
                lower = lower.wrapping_add(self.left_col);
                right = right.wrapping_add(self.right_row);
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                // SAFETY: inside the result: `tail` is what the caller says of the last vector.
                unsafe {
                    let out = self.out.add(i * self.out_row + j * S::F32_LANES);
                    if j + 1 < NV || self.tail == S::F32_LANES {
                        let out = out.cast::<S::f32s>();
                        let value = if self.accumulate {
                            s.add_f32s(out.read_unaligned(), *sum)
                        } else {
                            *sum
                        };
                        out.write_unaligned(value);
                    } else {
                        let out = core::slice::from_raw_parts_mut(out, self.tail);
                        let old = if self.accumulate {
                            s.partial_load_f32s(out)
                        } else {
                            s.splat_f32s(0.0)
                        };
                        s.partial_store_f32s(out, s.add_f32s(old, *sum));
                    }
                }
            }
        }
    }
}

/// The same pointer, but the compiler no longer knows how far it is from others.
///
/// Where it knows that of all rows, it finds each by an addition to the one before. These wait for each other, and with two
/// vectors to a row take longer than the sums.
#[allow(
    clippy::pointers_in_nomem_asm_block,
    reason = "nothing is read through the pointer"
)]
#[inline(always)]
fn apart<T>(pointer: *const T) -> *const T {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    {
        let mut pointer = pointer;
        // SAFETY: it is no instruction at all, the register keeps its value.
        unsafe {
            core::arch::asm!(
                "/* {pointer} */",
                pointer = inout(reg) pointer,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        pointer
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    pointer
}
