//! Passes that drop elements of rows. Plain loops: the compiler turns them into vectors of each instruction set.

use pulp::{Simd, WithSimd};

use super::DropoutMask;

/// `out = x` with elements dropped; `first` is the index of the first.
pub(crate) struct Dropped<'a> {
    pub mask: DropoutMask,
    pub first: usize,
    pub x: &'a [f32],
    pub out: &'a mut [f32],
}

impl WithSimd for Dropped<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (mask, first) = (self.mask, self.first);
        for (i, (out, x)) in self.out.iter_mut().zip(self.x).enumerate() {
            *out = x * mask.factor(first + i);
        }
    }
}

/// `out = x + dropped(out + bias)` on rows; `first` is the index of the first element.
pub(crate) struct AddDropped<'a> {
    pub mask: DropoutMask,
    pub first: usize,
    pub x: &'a [f32],
    pub bias: Option<&'a [f32]>,
    /// Floats of a row.
    pub width: usize,
    pub out: &'a mut [f32],
}

impl WithSimd for AddDropped<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (mask, width) = (self.mask, self.width);
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.out.chunks_exact_mut(width));
        for (row, (x, out)) in rows.enumerate() {
            let first = self.first + row * width;
            match self.bias {
                Some(bias) => {
                    for (i, ((out, x), bias)) in out.iter_mut().zip(x).zip(bias).enumerate() {
                        *out = x + (*out + bias) * mask.factor(first + i);
                    }
                }
                None => {
                    for (i, (out, x)) in out.iter_mut().zip(x).enumerate() {
                        *out = x + *out * mask.factor(first + i);
                    }
                }
            }
        }
    }
}

/// Drops elements of one head's probabilities, and of their gradient if there is one.
pub(crate) struct DropProbabilities<'a> {
    pub mask: DropoutMask,
    /// Index of the first probability, and how much further the next row's first is.
    pub index: (usize, usize),
    /// Columns in use.
    pub keys: usize,
    /// Floats from one row to the next.
    pub stride: usize,
    pub p: &'a [f32],
    pub dropped: &'a mut [f32],
    pub grad: Option<&'a mut [f32]>,
}

impl WithSimd for DropProbabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (mask, keys, stride) = (self.mask, self.keys, self.stride);
        let mut grad = self.grad;
        let rows = self
            .p
            .chunks_exact(stride)
            .zip(self.dropped.chunks_exact_mut(stride));
        for (row, (p, dropped)) in rows.enumerate() {
            let first = self.index.0 + row * self.index.1;
            let (p, dropped) = (&p[..keys], &mut dropped[..keys]);
            match &mut grad {
                Some(grad) => {
                    let grad = &mut grad[row * stride..][..keys];
                    for (i, ((dropped, p), grad)) in dropped.iter_mut().zip(p).zip(grad).enumerate()
                    {
                        let factor = mask.factor(first + i);
                        *dropped = p * factor;
                        *grad *= factor;
                    }
                }
                None => {
                    for (i, (dropped, p)) in dropped.iter_mut().zip(p).enumerate() {
                        *dropped = p * mask.factor(first + i);
                    }
                }
            }
        }
    }
}
