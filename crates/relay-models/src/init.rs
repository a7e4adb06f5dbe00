//! Initial weights, drawn on the host from one ChaCha stream a parameter.
//!
//! A stream is named by the seed and the parameter's path, so the weights are the same on every
//! backend, and a parameter keeps its values when others are added to the model.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::ids::{hash, stable_id};

/// Standard deviation of the token embeddings. The stream of a looped model has to keep the problem
/// in sight over many iterations, so it starts at the scale of what a pass of the block adds.
pub(crate) const EMBEDDING_STD: f32 = 1.0;
/// Standard deviation of the heads: small, so that the first loss is that of a uniform guess.
pub(crate) const HEAD_STD: f32 = 0.02;

/// Makes parameters for one device from one seed.
#[derive(Debug)]
pub(crate) struct Init<'a, B: Backend> {
    pub device: &'a B::Device,
    pub seed: u64,
}

impl<B: Backend> Init<'_, B> {
    /// A matrix `[rows, columns]` of normal values with the given standard deviation.
    pub fn matrix(&self, path: &str, [rows, columns]: [usize; 2], std: f32) -> Param<Tensor<B, 2>> {
        let mut normals = Normals::named(self.seed, path);
        let values = (0..rows * columns).map(|_| std * normals.draw()).collect();
        self.param(path, values, [rows, columns])
    }

    /// A square matrix with ones on the diagonal.
    pub fn identity(&self, path: &str, size: usize) -> Param<Tensor<B, 2>> {
        let values = (0..size * size)
            .map(|i| if i % (size + 1) == 0 { 1.0 } else { 0.0 })
            .collect();
        self.param(path, values, [size, size])
    }

    /// A vector that holds `value` everywhere.
    pub fn vector(&self, path: &str, length: usize, value: f32) -> Param<Tensor<B, 1>> {
        self.param(path, vec![value; length], [length])
    }

    /// Made at once: a lazy parameter would draw anew in every clone.
    fn param<const D: usize>(
        &self,
        path: &str,
        values: Vec<f32>,
        shape: [usize; D],
    ) -> Param<Tensor<B, D>> {
        let value = Tensor::from_data(TensorData::new(values, shape), self.device);
        Param::initialized(stable_id(path), value.require_grad())
    }
}

/// Standard normal numbers from a named ChaCha stream (Box and Muller).
struct Normals {
    rng: ChaCha8Rng,
    spare: Option<f32>,
}

impl Normals {
    fn named(seed: u64, path: &str) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&hash(path).to_le_bytes());
        key[16..].copy_from_slice(b"initial weights.");
        Self {
            rng: ChaCha8Rng::from_seed(key),
            spare: None,
        }
    }

    fn draw(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // The first is in (0, 1], so that its logarithm is finite.
        let first = ((self.rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let second = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let radius = (-2.0 * first.ln()).sqrt();
        let (sine, cosine) = (2.0 * core::f64::consts::PI * second).sin_cos();
        self.spare = Some((radius * sine) as f32);
        (radius * cosine) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut normals = Normals::named(1, "a");
        let draws: Vec<f32> = (0..20_000).map(|_| normals.draw()).collect();
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }

    #[test]
    fn streams_differ_by_seed_and_path() {
        let first = |seed, path| Normals::named(seed, path).draw();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }
}
