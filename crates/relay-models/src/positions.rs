//! Positions: tables of rotary embeddings, and the slopes of ALiBi.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::product::product;

/// Rotary tables of a run of columns (rotate-half convention, column 0 is position 0).
///
/// A row of `width * d_model` values is multiplied by one row of the table: on a CPU this is many
/// times faster than a broadcast over the batch and head dimensions. The rotation of halves is a
/// product with a signed permutation, which needs neither slices nor concatenation.
#[derive(Debug, Clone)]
pub(crate) struct Rope<B: Backend> {
    /// `[1, width * d_model]`.
    cosine: Tensor<B, 2>,
    sine: Tensor<B, 2>,
    /// `[head_dim, head_dim]`.
    rotate: Tensor<B, 2>,
    head_dim: usize,
}

impl<B: Backend> Rope<B> {
    /// Tables of columns `first .. first + width`.
    pub fn new(
        first: usize,
        width: usize,
        heads: usize,
        head_dim: usize,
        base: f32,
        device: &B::Device,
    ) -> Self {
        let half = head_dim / 2;
        let length = width * heads * head_dim;
        let (mut cosine, mut sine) = (Vec::with_capacity(length), Vec::with_capacity(length));
        for column in first..first + width {
            let (sines, cosines): (Vec<f32>, Vec<f32>) = (0..half)
                .map(|i| angle(column, i, head_dim, base).sin_cos())
                .map(|(s, c)| (s as f32, c as f32))
                .unzip();
            for _ in 0..2 * heads {
                cosine.extend_from_slice(&cosines);
                sine.extend_from_slice(&sines);
            }
        }
        let mut rotate = vec![0.0; head_dim * head_dim];
        for i in 0..half {
            rotate[(i + half) * head_dim + i] = -1.0;
            rotate[i * head_dim + i + half] = 1.0;
        }
        let row = |values| Tensor::from_data(TensorData::new(values, [1, length]), device);
        Self {
            cosine: row(cosine),
            sine: row(sine),
            rotate: Tensor::from_data(TensorData::new(rotate, [head_dim, head_dim]), device),
            head_dim,
        }
    }

    /// Rotates queries or keys.
    ///
    /// # Shapes
    /// `[size * width, d_model]` to the same.
    pub fn apply(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, d_model] = x.dims();
        let [_, length] = self.cosine.dims();
        let flat = [rows * d_model / length, length];
        let heads = x
            .clone()
            .reshape([rows * d_model / self.head_dim, self.head_dim]);
        // In bf16, too: what is turned comes out of such a product, and loses nothing by being rounded again.
        let rotated = product(heads, self.rotate.clone());
        let out = x.reshape(flat) * self.cosine.clone() + rotated.reshape(flat) * self.sine.clone();
        out.reshape([rows, d_model])
    }
}

fn angle(column: usize, pair: usize, head_dim: usize, base: f32) -> f64 {
    column as f64 * f64::from(base).powf(-2.0 * pair as f64 / head_dim as f64)
}

/// The slope of each head in ALiBi: a geometric sequence that ends in 2^-8.
pub(crate) fn alibi_slopes(heads: usize) -> Vec<f32> {
    (1..=heads)
        .map(|head| (-8.0 * head as f32 / heads as f32).exp2())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_alibi_paper() {
        assert_eq!(alibi_slopes(4), [0.25, 0.0625, 0.015_625, 0.003_906_25]);
        assert_eq!(alibi_slopes(8)[..2], [0.5, 0.25]);
    }
}
