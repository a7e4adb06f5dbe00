//! One update of all parameters, each by the rule of its group.

use std::collections::BTreeMap;

use burn::module::{AutodiffModule, Module};
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};

use relay_kernels::{Rule, Update};

use crate::TrainConfig;
use crate::adamw::{AdamW, AdamWState};
use crate::gradients::GradientSet;
use crate::moments::State;
use crate::muon::Muon;
use crate::ordinary_step::ordinary_steps;
use crate::parameters::{Place, map, places, visit};
use crate::tensors::Tensors;

/// AdamW for all, or Muon for the matrices of the layers and AdamW for the rest.
#[derive(Debug, Clone)]
pub(crate) struct Optimizer<B: Backend> {
    adamw: AdamW,
    learning_rate: f64,
    /// Muon and its own learning rate.
    muon: Option<(Muon, f64)>,
    weight_decay: f64,
    clip_norm: f64,
    state: BTreeMap<String, State<B>>,
}

impl<B: Backend> Optimizer<B> {
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            adamw: config.optimizer.adamw_part(),
            learning_rate: config.learning_rate,
            muon: config.optimizer.muon_part(),
            weight_decay: config.weight_decay,
            clip_norm: config.clip_norm,
            state: BTreeMap::new(),
        }
    }

    /// Moves every parameter that has a gradient. `norm` is the gradients' global norm, `factor` the schedule's.
    pub fn update<A, M>(
        &mut self,
        model: M,
        gradients: &GradientSet<B>,
        norm: f64,
        factor: f64,
    ) -> M
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: AutodiffModule<A>,
    {
        let clip = if self.clip_norm > 0.0 && norm > self.clip_norm {
            self.clip_norm / norm
        } else {
            1.0
        };
        let (mut paths, mut updates) = (Vec::new(), Vec::new());
        visit(&model, |place, value: Tensor<A, 1>| {
            if let Some(gradient) = gradients.get(&place.path) {
                updates.push(self.prepare(&place, value.inner(), gradient.clone(), clip, factor));
                paths.push(place.path);
            }
        });
        let updates = relay_kernels::update(updates).unwrap_or_else(ordinary_steps);
        let mut values = BTreeMap::new();
        for (path, update) in paths.into_iter().zip(updates) {
            self.state.insert(path.clone(), State::of(update.rule));
            values.insert(path, update.value);
        }
        map(model, |place, value: Tensor<A, 1>| {
            values.remove(&place.path).map_or(value, Tensor::from_inner)
        })
    }

    /// What is to be done with one parameter, by the rule of its group.
    fn prepare(
        &mut self,
        place: &Place,
        value: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        clip: f64,
        factor: f64,
    ) -> Update<B> {
        let old = self.state.remove(&place.path);
        let (rule, learning_rate) = match self.muon_of(place) {
            Some((muon, learning_rate, shape)) => {
                let velocity = old.and_then(State::velocity);
                let velocity = velocity.unwrap_or_else(|| gradient.zeros_like());
                let rule = Rule::Muon {
                    velocity,
                    shape,
                    momentum: muon.momentum,
                    iterations: muon.newton_schulz_steps,
                };
                (rule, learning_rate)
            }
            None => {
                let state = old.and_then(State::moments);
                let state = state.unwrap_or_else(|| AdamWState::new(&gradient));
                let rule = Rule::AdamW {
                    moments: [state.moment_1, state.moment_2],
                    time: state.time,
                    betas: [self.adamw.beta1, self.adamw.beta2],
                    epsilon: self.adamw.epsilon,
                };
                (rule, self.learning_rate)
            }
        };
        let learning_rate = learning_rate * factor;
        let decay = if place.is_matrix() {
            learning_rate * self.weight_decay
        } else {
            0.0
        };
        Update {
            value,
            gradient,
            clip,
            learning_rate,
            keep: 1.0 - decay,
            rule,
        }
    }

    /// Muon, its learning rate, and the shape of the matrix, if it moves that parameter.
    fn muon_of(&self, place: &Place) -> Option<(Muon, f64, [usize; 2])> {
        match (self.muon, &place.shape[..]) {
            (Some((muon, learning_rate)), &[inputs, outputs]) if place.is_hidden_matrix() => {
                Some((muon, learning_rate, [inputs, outputs]))
            }
            _ => None,
        }
    }

    /// The same on another device.
    pub fn on_device(&self, device: &B::Device) -> Self {
        let state = self.state.iter();
        Self {
            state: state
                .map(|(path, state)| (path.clone(), state.on_device(device)))
                .collect(),
            ..self.clone()
        }
    }

    /// All that is remembered, for a checkpoint.
    pub fn save(&self) -> Tensors {
        let mut tensors = Tensors::new();
        for (path, state) in &self.state {
            state.put(path, &mut tensors);
        }
        tensors
    }

    /// Takes over what a checkpoint after update `step` remembers of the parameters of `model`, which may be nothing for
    /// some of them; on failure says what is wrong.
    pub fn load<M: Module<B>>(
        &mut self,
        mut tensors: Tensors,
        model: &M,
        step: u64,
        device: &B::Device,
    ) -> Result<(), String> {
        self.state.clear();
        let places = places(model);
        for place in &places {
            let parts = State::<B>::parts(self.muon_of(place).is_some());
            if let Some(state) = State::take(place, parts, step, &mut tensors, device)? {
                self.state.insert(place.path.clone(), state);
            }
        }
        let Some(name) = tensors.keys().next() else {
            return Ok(());
        };
        let of = |place: &&Place| {
            let rest = name.strip_prefix(&place.path);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        Err(match places.iter().find(of) {
            Some(place) => {
                let parts = State::<B>::parts(self.muon_of(place).is_some()).join("`, `");
                let path = &place.path;
                format!("`{name}` is not expected: of `{path}` there may be `{parts}`")
            }
            None => format!("`{name}` is of no parameter of the model"),
        })
    }

    /// The parameters of `model` of which nothing is remembered, as none of them ever had a gradient.
    pub fn untouched<M: Module<B>>(&self, model: &M) -> Vec<Place> {
        let mut places = places(model);
        places.retain(|place| !self.state.contains_key(&place.path));
        places
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};

    use super::*;
    use crate::{
        OptimizerConfig,
        test_model::{Model, model},
    };

    fn config() -> TrainConfig {
        TrainConfig {
            learning_rate: 0.1,
            optimizer: OptimizerConfig::muon(0.3),
            weight_decay: 0.5,
            clip_norm: 0.0,
            ..TrainConfig::default()
        }
    }

    /// A gradient for every parameter, the numbers of which depend on their places.
    fn gradients(size: f32) -> GradientSet<Flex> {
        let mut gradients = GradientSet::new();
        visit(&model(), |place, value: Tensor<Autodiff<Flex>, 1>| {
            let count = value.dims()[0];
            let number =
                |at: usize| size * ((at * 7 + place.path.len() * 3) % 11) as f32 - 4.0 * size;
            let numbers: Vec<f32> = (0..count).map(number).collect();
            let gradient = Tensor::from_floats(&numbers[..], &Default::default());
            gradients.put(place.path, gradient);
        });
        gradients
    }

    fn values(model: &Model) -> Vec<(Place, Vec<f32>)> {
        let mut values = Vec::new();
        visit(model, |place, value: Tensor<Autodiff<Flex>, 1>| {
            values.push((place, value.into_data().iter().collect()));
        });
        values
    }

    /// Decay is apart from the gradients, by the rate of each group, and takes nothing from biases and norms.
    #[test]
    fn matrices_decay_and_vectors_do_not() {
        let mut optimizer = Optimizer::new(&config());
        let moved = optimizer.update(model(), &gradients(0.0), 0.0, 0.5);
        let [mut by_adamw, mut by_muon, mut vectors] = [0; 3];
        for ((place, before), (_, after)) in values(&model()).iter().zip(values(&moved)) {
            // Half of 0.1 and of 0.3, times half.
            let (keep, count) = match (place.is_matrix(), place.is_hidden_matrix()) {
                (true, true) => (1.0 - 0.075, &mut by_muon),
                (true, false) => (1.0 - 0.025, &mut by_adamw),
                (false, _) => (1.0, &mut vectors),
            };
            *count += 1;
            for (before, after) in before.iter().zip(after) {
                assert!(
                    (after - keep * before).abs() < 1e-6,
                    "{}: {before} {after}",
                    place.path
                );
            }
        }
        assert!(by_adamw > 0 && by_muon > 0 && vectors > 0);
    }

    /// What the optimizer remembers of one update, all numbers one after the other.
    fn remembered(clip_norm: f64, size: f32) -> Vec<f32> {
        let config = TrainConfig {
            clip_norm,
            ..config()
        };
        let mut optimizer = Optimizer::new(&config);
        let gradients = gradients(size);
        optimizer.update(model(), &gradients, gradients.norm(), 1.0);
        let tensors = optimizer.save().into_values();
        tensors
            .flat_map(|data| data.iter::<f32>().collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn gradients_are_shortened_to_the_longest_that_may_be() {
        let long = gradients(1.0).norm();
        let apart = |one: Vec<f32>, other: Vec<f32>| {
            assert!(one.len() == other.len() && !one.is_empty());
            let off = one.iter().zip(&other);
            let off = off.map(|(one, other)| (one - other).abs() / other.abs().max(1e-3));
            off.fold(0.0, f32::max)
        };
        // A tenth of the norm may be: the same as gradients of a tenth.
        let clipped = apart(remembered(long / 10.0, 1.0), remembered(0.0, 0.1));
        assert!(clipped < 1e-4, "{clipped}");
        // Not at all where they are shorter, and where nothing is to be clipped.
        let whole = remembered(0.0, 1.0);
        assert_eq!(apart(remembered(long * 1.01, 1.0), whole.clone()), 0.0);
        assert!(apart(whole, remembered(0.0, 0.1)) > 0.5);
    }
}
