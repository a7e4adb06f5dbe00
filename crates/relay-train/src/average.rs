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
