//! Sums of squares that depend neither on threads nor on the instruction set.

use core::any::Any;

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::Flex;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::floats::{Floats, primitive};
use crate::isa::Isa;
use crate::switch::enabled;

/// Floats that are summed up by one task.
const PIECE: usize = 1 << 16;

/// Sums that are kept side by side, so that they fill whole vectors.
const SUMS: usize = 16;

/// The sum of the squares of all elements of all `tensors`, or `None` where there is no kernel.
pub fn sum_of_squares<'a, B: Backend>(
    tensors: impl IntoIterator<Item = &'a Tensor<B, 1>>,
) -> Option<f64> {
    if !enabled() {
        return None;
    }
    let mut sum = 0.0;
    for tensor in tensors {
        let tensor = (tensor as &dyn Any).downcast_ref::<Tensor<Flex, 1>>()?;
        let floats = Floats::new(&primitive(tensor)?)?;
        sum += squares(Isa::best(), floats.get());
    }
    Some(sum)
}

/// The sum of the squares of the elements of each tensor, `[tensors]`, left on its device, or `None` where there is no
/// kernel: there is one on `burn::backend::Cuda`, with the feature `cuda`.
///
/// A sum is not finite as soon as one of its elements is not, or is larger than the root of the largest f32, 1.8e19: unlike
/// [`sum_of_squares`] it is added up in f32.
pub fn squares_of_each<B: Backend>(tensors: &[&Tensor<B, 1>]) -> Option<Tensor<B, 1>> {
    #[cfg(feature = "cuda")]
    {
        let tensors = tensors
            .iter()
            .map(|tensor| crate::node::float_tensor(*tensor));
        crate::cuda::squares::<B>(tensors.collect())
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = tensors;
        None
    }
}

/// The sum over the pieces, in their order.
pub(crate) fn squares(isa: Isa, x: &[f32]) -> f64 {
    if x.len() <= PIECE {
        return squares_serially(isa, x);
    }
    let sums: Vec<f64> = x
        .par_chunks(PIECE)
        .map(|piece| isa.run(Squares(piece)))
        .collect();
    sums.iter().sum()
}

/// The same to the last bit, for work that must stay on its thread: who waits for a parallel sum takes up other tasks meanwhile.
pub(crate) fn squares_serially(isa: Isa, x: &[f32]) -> f64 {
    let sums = x.chunks(PIECE).map(|piece| isa.run(Squares(piece)));
    sums.fold(0.0, |sum, piece| sum + piece)
}

struct Squares<'a>(&'a [f32]);

impl WithSimd for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; SUMS];
        let (chunks, rest) = self.0.as_chunks::<SUMS>();
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                let x = f64::from(*x);
                *sum += x * x;
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            let x = f64::from(*x);
            *sum += x * x;
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;

    #[test]
    fn threads_do_not_change_a_sum() {
        for isa in Isa::available() {
            for len in [0, 1, 100, PIECE, PIECE + 1, 3 * PIECE, 5 * PIECE + 77] {
                let x = noise(1, len);
                let (parallel, serial) = (squares(isa, &x), squares_serially(isa, &x));
                assert_eq!(parallel.to_bits(), serial.to_bits(), "{isa:?} {len}");
            }
        }
    }
}
