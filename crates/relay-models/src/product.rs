//! Matrix products of the layers in ordinary operations, in the precision that this thread trains in.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use relay_kernels::{Precision, precision};

/// `left * right`, of operands rounded to bf16 where [`relay_kernels::with_precision`] asks for it.
///
/// Sums are those of the backend's bf16 product, and it panics where there is none: added up in f32, and rounded once at their
/// end. What comes out has the type that went in, and so have the gradients; on their way back they are rounded where the
/// operands were. Parameters are rounded anew at each use, so that the gradients of a loop's iterations are added up in f32.
pub(crate) fn product<B: Backend, const D: usize>(
    left: Tensor<B, D>,
    right: Tensor<B, D>,
) -> Tensor<B, D> {
    match precision() {
        Precision::F32 => left.matmul(right),
        Precision::Bf16 => {
            let exact = left.dtype();
            let product = left.cast(DType::BF16).matmul(right.cast(DType::BF16));
            product.cast(exact)
        }
    }
}

/// `left * right`, where `right` is in parts one below the other, of which there is at least one.
pub(crate) fn product_in_parts<'a, B: Backend>(
    left: Tensor<B, 4>,
    parts: impl Iterator<Item = &'a Tensor<B, 4>>,
) -> Tensor<B, 4> {
    // A sum is rounded once, at its end, so there are no sums of parts. To round the parts copies them in any case.
    if precision() == Precision::Bf16 {
        return product(left, Tensor::cat(parts.cloned().collect(), 2));
    }
    let mut start = 0;
    let products = parts.map(|part| {
        let rows = start..start + part.dims()[2];
        start = rows.end;
        left.clone().slice_dim(3, rows).matmul(part.clone())
    });
    let sum = products.reduce(|sum, part| sum + part);
    sum.unwrap_or_else(|| left.zeros_like())
}

#[cfg(test)]
mod tests {
    use burn::tensor::bf16;
    use burn_flex::Flex;
    use relay_kernels::with_precision;

    use super::*;

    #[test]
    fn operands_are_rounded_and_the_sum_once() {
        let numbers = |seed: f32, len: usize| -> Vec<f32> {
            (0..len).map(|i| (seed + i as f32 * 0.61).sin()).collect()
        };
        let (a, b) = (numbers(1.0, 24), numbers(2.0, 40));
        let device = Default::default();
        let left = Tensor::<Flex, 1>::from_floats(a.as_slice(), &device).reshape([3, 8]);
        let right = Tensor::<Flex, 1>::from_floats(b.as_slice(), &device).reshape([8, 5]);
        let found = with_precision(Precision::Bf16, || product(left.clone(), right.clone()));
        let found: Vec<f32> = found.into_data().iter::<f32>().collect();
        let rounded = |x: f32| f64::from(bf16::from_f32(x).to_f32());
        for (at, found) in found.into_iter().enumerate() {
            let terms = (0..8).map(|k| rounded(a[at / 5 * 8 + k]) * rounded(b[k * 5 + at % 5]));
            let sum: f64 = terms.sum();
            // What a number of 8 bits is off by, and what f32 may be.
            assert!(
                (f64::from(found) - sum).abs() <= sum.abs() / 256.0 + 1e-6,
                "{found} {sum}"
            );
            assert_eq!(found, bf16::from_f32(found).to_f32());
        }
        let exact = product(left.clone(), right.clone());
        assert_eq!(exact.into_data(), left.matmul(right).into_data());
    }
}
