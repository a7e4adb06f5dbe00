//! With hand-written kernels and without, a model gives the same. In a binary of its own, because
//! the switch is global to the process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use common::*;
use relay_models::{DropoutKey, LoopedInput, Positions};

const KEY: DropoutKey = DropoutKey {
    seed: 5,
    step: 9,
    batch: 1,
};

fn looped_states<B: Backend>(positions: Positions) -> Vec<f32> {
    let model = looped(positions).init::<B>(&Default::default(), 1);
    let mut last = Vec::new();
    model.forward(input(&tokens(3, 6), [3, 6], &[0, 2, 6]), 3, |_, state| {
        last = values(state.clone())
    });
    last
}

fn causal_logits<B: Backend>(positions: Positions) -> Vec<f32> {
    let model = causal(positions).init::<B>(&Default::default(), 1);
    values(model.forward(int(&tokens(3, 6), [3, 6]), &[0, 2, 5], None))
}

fn gradient(positions: Positions, dropout: Option<DropoutKey>) -> Vec<f32> {
    let mut config = causal(positions);
    config.transformer.dropout = 0.2;
    let model = config.init::<FlexTrain>(&Default::default(), 1);
    let logits = model.forward(int(&tokens(2, 6), [2, 6]), &[0, 2], dropout);
    let gradients = (logits.clone() * logits).sum().backward();
    let layer = &model.block.layers[0];
    let of = |parameter: Tensor<FlexTrain, 2>| values(parameter.grad(&gradients).unwrap());
    [
        of(layer.query.val()),
        of(layer.up.val()),
        of(layer.down.val()),
        of(model.block.embedding.val()),
    ]
    .concat()
}

/// The last state and the gradient of the embedding, with other masks in each iteration and layer.
fn looped_with_dropout(positions: Positions) -> Vec<f32> {
    let mut config = looped(positions);
    config.transformer.dropout = 0.3;
    let model = config.init::<FlexTrain>(&Default::default(), 1);
    let mut last = None;
    let input = LoopedInput {
        dropout: Some(KEY),
        ..input(&tokens(3, 6), [3, 6], &[0, 2, 6])
    };
    model.forward(input, 3, |_, state| last = Some(state.clone()));
    let last = last.unwrap();
    let gradients = (last.clone() * last.clone()).sum().backward();
    let embedding = model.block.embedding.val().grad(&gradients).unwrap();
    [values(last), values(embedding)].concat()
}

#[test]
fn kernels_agree_with_ordinary_operations() {
    for positions in POSITIONS {
        let run = || {
            [
                looped_states::<Flex>(positions),
                causal_logits::<Flex>(positions),
                gradient(positions, None),
                gradient(positions, Some(KEY)),
                looped_with_dropout(positions),
            ]
        };
        relay_kernels::set_enabled(true);
        let with = run();
        relay_kernels::set_enabled(false);
        let without = run();
        for (with, without) in with.iter().zip(&without) {
            assert_close(with, without, 1e-3);
        }
    }
}
