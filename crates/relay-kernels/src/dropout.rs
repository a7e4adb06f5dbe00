//! Dropout whose masks are pure functions of a name and an element's index.
//!
//! Nothing is stored: forward and backward pass, kernels and ordinary ops each compute the same mask for themselves,
//! whole or in pieces.

use burn::tensor::{ElementConversion, Int, Tensor, backend::Backend};
use pulp::{Simd, WithSimd};

use crate::isa::Isa;

mod rows;

pub(crate) use rows::{AddDropped, DropProbabilities, Dropped};

/// The mask of one place in one forward pass: which elements are dropped, and by what the others are multiplied.
///
/// ```
/// use relay_kernels::DropoutMask;
///
/// let mask = DropoutMask::new(&[7, 3], 0.5);
/// let factors = mask.factors(1000);
/// assert!(factors.iter().all(|factor| [0.0, 2.0].contains(factor)));
/// assert_eq!(factors[10], mask.factor(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutMask {
    first: u32,
    second: u32,
    /// Draws below it are dropped.
    threshold: u32,
    /// What is kept is multiplied by this.
    keep: f32,
}

/// The masks of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerDropout {
    /// On attention's probabilities `[batch, heads, width, width]`, columns of padding included.
    pub probabilities: DropoutMask,
    /// On attention's output after the output projection, `[batch, width, d_model]`.
    pub attention: DropoutMask,
    /// On the MLP's output with its bias, `[batch, width, d_model]`.
    pub mlp: DropoutMask,
}

impl DropoutMask {
    /// The mask named by `words`: other words give an independent mask. `rate` is the share that is dropped.
    ///
    /// # Panics
    /// If `rate` is not from 0 to below 1.
    pub fn new(words: &[u64], rate: f32) -> Self {
        assert!(
            (0.0..1.0).contains(&rate),
            "a rate of dropout of {rate}, which is not from 0 to below 1"
        );
        let stream = words
            .iter()
            .fold(0, |state, word| mix64(state ^ mix64(*word)));
        Self {
            first: stream as u32,
            second: (stream >> 32) as u32,
            threshold: (f64::from(rate) * 4_294_967_296.0) as u32,
            keep: 1.0 / (1.0 - rate),
        }
    }

    /// The mask as kernels for other devices get it: its fields, the last one by its bits.
    #[cfg(feature = "cuda")]
    pub(crate) fn words(&self) -> [u32; 4] {
        let keep = self.keep.to_bits();
        [self.first, self.second, self.threshold, keep]
    }

    /// Zero where the element with this row-major index is dropped, `1 / (1 - rate)` elsewhere.
    ///
    /// The index counts modulo 2^32.
    #[inline(always)]
    pub fn factor(&self, index: usize) -> f32 {
        // Two rounds: with one, two masks would see shifted copies of the same sequence.
        let draw = mix32(mix32(index as u32 ^ self.first).wrapping_add(self.second));
        if draw < self.threshold {
            0.0
        } else {
            self.keep
        }
    }

    /// The factors of the first `len` elements.
    pub fn factors(&self, len: usize) -> Vec<f32> {
        let mut out = vec![0.0; len];
        Isa::best().run(Factors {
            mask: *self,
            out: &mut out,
        });
        out
    }

    /// The factors as a tensor, computed on its device: on a GPU, instead of sending a mask for every place of every
    /// iteration there. Slower than [`factors`](Self::factors) on a CPU.
    ///
    /// The backend's integers must have 32 bits, and their products must wrap around.
    pub fn tensor<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        device: &B::Device,
    ) -> Tensor<B, D> {
        let columns = shape.last().copied().unwrap_or(1).max(1);
        let rows = shape.iter().product::<usize>() / columns;
        let count = |to: usize| Tensor::<B, 1, Int>::arange(0..to as i64, device);
        // Two short tensors travel, not the index of every element.
        let index = count(rows).reshape([rows, 1]).mul_scalar(columns as i32)
            + count(columns).reshape([1, columns]);
        let draw = mix(index.bitwise_xor_scalar(bits::<B>(self.first)));
        let draw = mix(draw.add_scalar(self.second.cast_signed()));
        // With the highest bit turned, signed numbers compare as the unsigned ones did.
        let turned = |x: u32| (x ^ 1 << 31).cast_signed();
        let dropped = draw.bitwise_xor_scalar(bits::<B>(1 << 31));
        let dropped = dropped.lower_elem(turned(self.threshold));
        dropped
            .bool_not()
            .float()
            .mul_scalar(self.keep)
            .reshape(shape)
    }
}

/// [`mix32`] of every element.
fn mix<B: Backend>(x: Tensor<B, 2, Int>) -> Tensor<B, 2, Int> {
    // Signed numbers are shifted with their sign, which has no place here.
    let fold = |x: Tensor<B, 2, Int>, by: u32| {
        let high = x.clone().bitwise_right_shift_scalar(bits::<B>(by));
        x.bitwise_xor(high.bitwise_and_scalar(bits::<B>(u32::MAX >> by)))
    };
    let x = fold(x, 16).mul_scalar(0x7feb_352d_u32.cast_signed());
    let x = fold(x, 15).mul_scalar(0x846c_a68b_u32.cast_signed());
    fold(x, 16)
}

fn bits<B: Backend>(x: u32) -> B::IntElem {
    x.cast_signed().elem()
}

struct Factors<'a> {
    mask: DropoutMask,
    out: &'a mut [f32],
}

impl WithSimd for Factors<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (index, out) in self.out.iter_mut().enumerate() {
            *out = self.mask.factor(index);
        }
    }
}

/// The finaliser of splitmix64.
fn mix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A bijection of 32 bits with little bias ("lowbias32").
#[inline(always)]
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;

    #[test]
    fn a_share_of_the_elements_is_dropped() {
        for rate in [0.0, 0.3, 1.0 - f32::EPSILON] {
            let factors = DropoutMask::new(&[5], rate).factors(100_000);
            let dropped = factors.iter().filter(|factor| **factor == 0.0).count();
            assert!((dropped as f32 / 100_000.0 - rate).abs() < 0.01, "{rate}");
        }
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for rate in [1.0, -0.1, 2.0, f32::NAN] {
            let refused = std::panic::catch_unwind(|| DropoutMask::new(&[5], rate));
            assert!(refused.is_err(), "{rate}");
        }
    }

    #[test]
    fn a_device_computes_the_same_mask() {
        for (words, rate) in [(&[7, 3][..], 0.5), (&[u64::MAX, 1, 9], 0.1), (&[0], 0.9)] {
            let mask = DropoutMask::new(words, rate);
            let found = mask.tensor::<Flex, 3>([5, 70, 33], &Default::default());
            assert_eq!(found.dims(), [5, 70, 33]);
            let found: Vec<f32> = found.into_data().iter::<f32>().collect();
            assert!(found == mask.factors(5 * 70 * 33), "{mask:?}");
        }
    }
}
