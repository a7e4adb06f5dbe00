//! Gradients against finite differences, in f32, on both backends.

use crate::common::*;
use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use relay_models::{
    CausalTransformer, DropoutKey, Injection, LoopedConfig, LoopedInput, LoopedTransformer,
    Positions,
};

/// Collects the gradient of every parameter.
struct Gradients<'a, B: AutodiffBackend> {
    of: &'a B::Gradients,
    found: Vec<(ParamId, Vec<f32>)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient = param
            .val()
            .grad(self.of)
            .expect("every parameter has a gradient");
        self.found.push((param.id, values(gradient)));
    }
}

/// Moves one parameter along a direction.
struct Nudge<'a> {
    id: ParamId,
    direction: &'a [f32],
    by: f32,
}

impl<B: Backend> ModuleMapper<B> for Nudge<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if param.id != self.id {
            return param;
        }
        param.map(|value| {
            let direction = TensorData::new(self.direction.to_vec(), value.dims());
            let direction = Tensor::from_data(direction, &value.device());
            value + direction.mul_scalar(self.by)
        })
    }
}

/// Some fixed weights for a weighted sum of outputs.
fn weighted<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, 1> {
    let shape = x.dims();
    let weights = (0..shape.iter().product()).map(|i| ((i * i + 3 * i) % 17) as f32 / 17.0 - 0.5);
    let weights = TensorData::new(weights.collect::<Vec<_>>(), shape);
    (x.clone() * Tensor::from_data(weights, &x.device())).sum()
}

fn check<B: AutodiffBackend, M: AutodiffModule<B>>(
    model: &M,
    loss: impl Fn(&M) -> Tensor<B, 1>,
    inner: impl Fn(&M::InnerModule) -> Tensor<B::InnerBackend, 1>,
) {
    let gradients = loss(model).backward();
    let mut collected = Gradients::<B> {
        of: &gradients,
        found: Vec::new(),
    };
    model.visit(&mut collected);
    for (id, gradient) in collected.found {
        let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        // Along the gradient, and along a direction that has nothing to do with it.
        let along: Vec<f32> = gradient.iter().map(|g| g / norm.max(1e-6)).collect();
        let other: Vec<f32> = (0..gradient.len())
            .map(|i| if (i * 7 + i / 3) % 5 < 2 { 1.0 } else { -1.0 })
            .collect();
        let scale = (gradient.len() as f32).sqrt().recip();
        let other: Vec<f32> = other.iter().map(|x| x * scale).collect();
        for direction in [along, other] {
            let expected: f32 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let step = 4e-3;
            let at = |by: f32| {
                let moved = model.valid().map(&mut Nudge {
                    id,
                    direction: &direction,
                    by,
                });
                values(inner(&moved))[0]
            };
            let found = (at(step) - at(-step)) / (2.0 * step);
            let tolerance = 2e-3 + 1e-2 * norm;
            assert!(
                (found - expected).abs() < tolerance,
                "{id:?}: {found} by differences, {expected} by backward, norm {norm}"
            );
        }
    }
}

fn looped_loss<B: Backend>(model: &LoopedTransformer<B>) -> Tensor<B, 1> {
    let dropout = Some(DropoutKey {
        seed: 1,
        step: 2,
        batch: 3,
    });
    let input = LoopedInput {
        dropout,
        ..input(&tokens(2, 4), [2, 4], &[0, 2])
    };
    let mut loss = Tensor::zeros([1], &Default::default());
    model.forward(input, 2, |iteration, state| {
        let logits = model.step_logits(state.clone()).unwrap();
        loss = loss.clone() + weighted(logits);
        if iteration == 2 {
            let last = state.clone().slice([0..2, 3..4]).reshape([2, 16]);
            loss = loss.clone() + weighted(model.answer_logits(last));
        }
    });
    loss
}

fn causal_loss<B: Backend>(model: &CausalTransformer<B>) -> Tensor<B, 1> {
    weighted(model.forward(int(&tokens(2, 5), [2, 5]), &[0, 2], None))
}

fn check_looped<B: AutodiffBackend>(config: &LoopedConfig) {
    let model = config.init::<B>(&Default::default(), 1);
    check::<B, _>(&model, looped_loss, looped_loss);
}

fn check_causal<B: AutodiffBackend>(positions: Positions) {
    let model = causal(positions).init::<B>(&Default::default(), 1);
    check::<B, _>(&model, causal_loss, causal_loss);
}

/// Every option at once: linear injection, timesteps, normalised states and dropout.
fn options() -> LoopedConfig {
    let mut config = LoopedConfig {
        injection: Injection::Linear,
        timestep: true,
        norm_state: true,
        ..looped(Positions::Alibi)
    };
    config.transformer.dropout = 0.2;
    config
}

#[test]
fn looped_on_flex() {
    check_looped::<FlexTrain>(&looped(Positions::Rope));
    check_looped::<FlexTrain>(&options());
}

#[test]
fn looped_on_ndarray() {
    check_looped::<NdArrayTrain>(&looped(Positions::Rope));
    check_looped::<NdArrayTrain>(&options());
}

#[test]
fn causal_on_flex() {
    POSITIONS.into_iter().for_each(check_causal::<FlexTrain>);
}

#[test]
fn causal_on_ndarray() {
    POSITIONS.into_iter().for_each(check_causal::<NdArrayTrain>);
}
