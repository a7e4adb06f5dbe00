//! Dropout whose masks are pure functions of (key, site, element).
//!
//! Nothing has to be saved to resume a run exactly, and all backends drop the same elements.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

/// Names the masks of one forward pass of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropoutKey {
    /// The run's seed.
    pub seed: u64,
    /// The update.
    pub step: u64,
    /// The micro-batch within the update.
    pub batch: u64,
}

/// Which of a layer's values are dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Embedding,
    AttentionProbabilities,
    AttentionOutput,
    MlpOutput,
}

/// Where in a forward pass values are dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    /// From 1; 0 for what comes before the first iteration.
    pub iteration: usize,
    pub layer: usize,
    pub place: Place,
}

/// Dropout at a rate above zero, with the key of this forward pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropout {
    key: DropoutKey,
    rate: f32,
}

impl Dropout {
    /// None when there is nothing to drop.
    pub fn new(key: Option<DropoutKey>, rate: f32) -> Option<Self> {
        key.filter(|_| rate > 0.0).map(|key| Self { key, rate })
    }

    pub fn apply<B: Backend, const D: usize>(&self, x: Tensor<B, D>, site: Site) -> Tensor<B, D> {
        let shape = x.dims();
        let mask = self.mask(site, shape.iter().product());
        let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
        x * mask
    }

    /// Zero where an element is dropped, 1 / (1 - rate) elsewhere.
    fn mask(&self, site: Site, length: usize) -> Vec<f32> {
        let words = [
            self.key.seed,
            self.key.step,
            self.key.batch,
            site.iteration as u64,
            ((site.layer as u64) << 8) | site.place as u64,
        ];
        let stream = words
            .iter()
            .fold(0, |state, word| mix64(state ^ mix64(*word)));
        let (first, second) = (stream as u32, (stream >> 32) as u32);
        let threshold = (f64::from(self.rate) * 4_294_967_296.0) as u32;
        let keep = 1.0 / (1.0 - self.rate);
        // Two rounds: with one, two sites would see shifted copies of the same sequence.
        let draw = |i: usize| mix32(mix32(i as u32 ^ first).wrapping_add(second));
        (0..length)
            .map(|i| if draw(i) < threshold { 0.0 } else { keep })
            .collect()
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
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: Site = Site {
        iteration: 1,
        layer: 0,
        place: Place::MlpOutput,
    };

    fn mask(step: u64, site: Site) -> Vec<f32> {
        let key = DropoutKey {
            seed: 1,
            step,
            batch: 0,
        };
        Dropout::new(Some(key), 0.25).unwrap().mask(site, 40_000)
    }

    #[test]
    fn keeps_the_mean() {
        let mean = mask(3, SITE).iter().sum::<f32>() / 40_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }

    #[test]
    fn differs_by_step_and_site_and_repeats() {
        let agree = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).filter(|(a, b)| a == b).count() as f32 / 40_000.0
        };
        let first = mask(3, SITE);
        assert_eq!(first, mask(3, SITE));
        // Two independent masks agree with probability 0.75^2 + 0.25^2 = 0.625.
        let others = [
            mask(4, SITE),
            mask(
                3,
                Site {
                    iteration: 2,
                    ..SITE
                },
            ),
            mask(3, Site { layer: 1, ..SITE }),
            mask(
                3,
                Site {
                    place: Place::AttentionOutput,
                    ..SITE
                },
            ),
        ];
        for other in others {
            let share = agree(&first, &other);
            assert!((share - 0.625).abs() < 0.02, "{share}");
        }
    }

    #[test]
    fn is_off_without_key_or_rate() {
        assert!(Dropout::new(None, 0.5).is_none());
        assert!(
            Dropout::new(
                Some(DropoutKey {
                    seed: 0,
                    step: 0,
                    batch: 0
                }),
                0.0
            )
            .is_none()
        );
    }
}
