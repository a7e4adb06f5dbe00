//! One update of all parameters, each by the rule of its group.

use std::collections::BTreeMap;

use burn::module::AutodiffModule;
use burn::tensor::{
    Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};

use relay_kernels::{Rule, Update};

use crate::adamw::{AdamW, AdamWState};
use crate::gradients::GradientSet;
use crate::muon::Muon;
use crate::ordinary_step::ordinary_steps;
use crate::parameters::{Place, map, visit};
use crate::tensors::Tensors;
use crate::{OptimizerConfig, TrainConfig};

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

/// What is remembered of one parameter.
#[derive(Debug, Clone)]
enum State<B: Backend> {
    AdamW(AdamWState<B>),
    Muon { velocity: Tensor<B, 1> },
}

impl<B: Backend> Optimizer<B> {
    pub fn new(config: &TrainConfig) -> Self {
        let (adamw, muon) = match config.optimizer {
            OptimizerConfig::AdamW {
                beta1,
                beta2,
                epsilon,
            } => (
                AdamW {
                    beta1,
                    beta2,
                    epsilon,
                },
                None,
            ),
            OptimizerConfig::Muon {
                learning_rate,
                momentum,
                newton_schulz_steps,
                beta1,
                beta2,
                epsilon,
            } => (
                AdamW {
                    beta1,
                    beta2,
                    epsilon,
                },
                Some((
                    Muon {
                        momentum,
                        newton_schulz_steps,
                    },
                    learning_rate,
                )),
            ),
        };
        let TrainConfig {
            learning_rate,
            weight_decay,
            clip_norm,
            ..
        } = *config;
        Self {
            adamw,
            learning_rate,
            muon,
            weight_decay,
            clip_norm,
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
        let (rule, learning_rate) = match (self.muon, &place.shape[..]) {
            (Some((muon, learning_rate)), &[inputs, outputs]) if place.is_hidden_matrix() => {
                let velocity = old.and_then(State::velocity);
                let velocity = velocity.unwrap_or_else(|| gradient.zeros_like());
                let rule = Rule::Muon {
                    velocity,
                    shape: [inputs, outputs],
                    momentum: muon.momentum,
                    iterations: muon.newton_schulz_steps,
                };
                (rule, learning_rate)
            }
            _ => {
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
            let mut put =
                |part: &str, data: TensorData| tensors.insert(format!("{path}.{part}"), data);
            match state {
                State::AdamW(AdamWState {
                    time,
                    moment_1,
                    moment_2,
                }) => {
                    put("time", TensorData::new(vec![*time], [1]));
                    put("moment_1", moment_1.to_data());
                    put("moment_2", moment_2.to_data());
                }
                State::Muon { velocity } => {
                    put("velocity", velocity.to_data());
                }
            }
        }
        tensors
    }

    /// Takes over what a checkpoint remembers; on failure says what is missing.
    pub fn load(&mut self, mut tensors: Tensors, device: &B::Device) -> Result<(), String> {
        let parts: Vec<String> = tensors.keys().cloned().collect();
        for (path, part) in parts.iter().filter_map(|name| name.rsplit_once('.')) {
            let mut take = |part: &str| {
                let name = format!("{path}.{part}");
                tensors
                    .remove(&name)
                    .ok_or_else(|| format!("`{name}` is missing"))
            };
            let state = match part {
                "time" => {
                    let time = take("time")?.iter::<i64>().next().unwrap_or(0);
                    let moment_1 = Tensor::from_data(take("moment_1")?, device);
                    State::AdamW(AdamWState {
                        time,
                        moment_1,
                        moment_2: Tensor::from_data(take("moment_2")?, device),
                    })
                }
                "velocity" => State::Muon {
                    velocity: Tensor::from_data(take("velocity")?, device),
                },
                _ => continue,
            };
            self.state.insert(path.to_owned(), state);
        }
        match tensors.keys().next() {
            Some(name) => Err(format!("`{name}` belongs to no optimizer")),
            None => Ok(()),
        }
    }
}

impl<B: Backend> State<B> {
    fn of(rule: Rule<B>) -> Self {
        match rule {
            Rule::AdamW {
                moments: [moment_1, moment_2],
                time,
                ..
            } => Self::AdamW(AdamWState {
                time,
                moment_1,
                moment_2,
            }),
            Rule::Muon { velocity, .. } => Self::Muon { velocity },
        }
    }

    fn on_device(&self, device: &B::Device) -> Self {
        let moved = |tensor: &Tensor<B, 1>| tensor.clone().to_device(device);
        match self {
            Self::AdamW(state) => Self::AdamW(AdamWState {
                time: state.time,
                moment_1: moved(&state.moment_1),
                moment_2: moved(&state.moment_2),
            }),
            Self::Muon { velocity } => Self::Muon {
                velocity: moved(velocity),
            },
        }
    }

    fn velocity(self) -> Option<Tensor<B, 1>> {
        match self {
            Self::Muon { velocity } => Some(velocity),
            Self::AdamW(_) => None,
        }
    }

    fn moments(self) -> Option<AdamWState<B>> {
        match self {
            Self::AdamW(state) => Some(state),
            Self::Muon { .. } => None,
        }
    }
}
