//! A running average of the weights.

use std::collections::BTreeMap;

use burn::module::AutodiffModule;
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};

use crate::parameters::{map, visit};

/// `average = decay * average + (1 - decay) * weights` after every update.
///
/// The decay rises to its value over the first updates, so that the first weights do not linger.
#[derive(Debug, Clone)]
pub(crate) struct Average<B: Backend> {
    decay: f64,
    values: BTreeMap<String, Tensor<B, 1>>,
}

impl<B: Backend> Average<B> {
    /// An average that starts at the weights of `model`.
    pub fn new<A, M>(decay: f64, model: &M) -> Self
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: AutodiffModule<A>,
    {
        let mut values = BTreeMap::new();
        visit(model, |place, value: Tensor<A, 1>| {
            values.insert(place.path, value.inner());
        });
        Self { decay, values }
    }

    /// Takes in the weights after update `step`, counted from 0.
    pub fn update<A, M>(&mut self, model: &M, step: u64)
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: AutodiffModule<A>,
    {
        let decay = self.decay.min((1 + step) as f64 / (10 + step) as f64);
        visit(model, |place, value: Tensor<A, 1>| {
            if let Some(average) = self.values.get_mut(&place.path) {
                // Taken out, so that nobody else holds its memory and it is changed in place.
                let value = value.inner();
                let old = core::mem::replace(average, value.clone());
                *average = old.mul_scalar(decay) + value.mul_scalar(1.0 - decay);
            }
        });
    }

    /// The model with the averaged weights.
    pub fn model<A, M>(&self, model: &M) -> M
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: AutodiffModule<A>,
    {
        map(model.clone(), |place, value: Tensor<A, 1>| {
            match self.values.get(&place.path) {
                Some(average) => Tensor::from_inner(average.clone()),
                None => value,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};

    use super::*;
    use crate::test_model::{Model, model};

    /// `model` with the same number everywhere.
    fn filled(model: &Model, number: f32) -> Model {
        map(model.clone(), |_, value: Tensor<Autodiff<Flex>, 1>| {
            value.zeros_like() + number
        })
    }

    #[test]
    fn the_past_counts_as_much_as_the_decay_says() {
        let model = model();
        let mut average = Average::new(0.25, &filled(&model, 8.0));
        // 1/10 and 2/11 of the past in the beginning, then a quarter.
        let mut right = 8.0;
        for (step, decay, number) in [
            (0, 0.1, 2.0),
            (1, 2.0 / 11.0, -4.0),
            (2, 0.25, 1.0),
            (90, 0.25, 3.0),
        ] {
            average.update(&filled(&model, number), step);
            right = decay * right + (1.0 - decay) * number;
            visit(&average.model(&model), |place, value: Tensor<_, 1>| {
                for found in value.into_data().iter::<f32>() {
                    assert!(
                        (found - right).abs() < 1e-5,
                        "{}: {found} {right}",
                        place.path
                    );
                }
            });
        }
    }
}
