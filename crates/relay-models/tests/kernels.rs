//! With hand-written kernels and without, a model gives the same. In a binary of its own, because
//! the switch is global to the process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use common::*;
use relay_models::Positions;

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

fn gradient(positions: Positions) -> Vec<f32> {
    let model = causal(positions).init::<FlexTrain>(&Default::default(), 1);
    let logits = model.forward(int(&tokens(2, 6), [2, 6]), &[0, 2], None);
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

#[test]
fn kernels_agree_with_ordinary_operations() {
    for positions in POSITIONS {
        let run = || {
            [
                looped_states::<Flex>(positions),
                causal_logits::<Flex>(positions),
                gradient(positions),
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
