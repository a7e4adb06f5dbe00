//! Dropout whose masks are pure functions of (key, site, element).
//!
//! Nothing has to be saved to resume a run exactly, and all backends drop the same elements.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use relay_kernels::{DropoutMask, LayerDropout};

use crate::device::is_cuda;

/// Names the masks of one forward pass of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
        let (shape, device) = (x.dims(), x.device());
        let mask = self.mask(site);
        // Masks of a large batch are gigabytes in one forward pass: more than a GPU should wait for.
        // A hash that wraps at 32 bits needs such integers: libtorch's are wider, on CUDA too.
        if is_cuda::<B>(&device) && size_of::<B::IntElem>() == size_of::<u32>() {
            return x * mask.tensor(shape, &device);
        }
        let factors = mask.factors(shape.iter().product());
        x * Tensor::from_data(TensorData::new(factors, shape), &device)
    }

    /// The masks of a layer in an iteration.
    pub fn layer(&self, iteration: usize, layer: usize) -> LayerDropout {
        let mask = |place| {
            self.mask(Site {
                iteration,
                layer,
                place,
            })
        };
        LayerDropout {
            probabilities: mask(Place::AttentionProbabilities),
            attention: mask(Place::AttentionOutput),
            mlp: mask(Place::MlpOutput),
        }
    }

    fn mask(&self, site: Site) -> DropoutMask {
        let words = [
            self.key.seed,
            self.key.step,
            self.key.batch,
            site.iteration as u64,
            ((site.layer as u64) << 8) | site.place as u64,
        ];
        DropoutMask::new(&words, self.rate)
    }
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
        let dropout = Dropout::new(Some(key), 0.25).unwrap();
        dropout.mask(site).factors(40_000)
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

    /// Masks must not change: an interrupted run goes on with those that it began with.
    #[test]
    fn is_what_it_was() {
        let dropped: Vec<usize> = (0..40).filter(|i| mask(3, SITE)[*i] == 0.0).collect();
        assert_eq!(dropped, [1, 3, 6, 7, 24, 32, 33, 35]);
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
