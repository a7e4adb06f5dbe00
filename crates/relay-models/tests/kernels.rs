//! With hand-written kernels and without, a model gives the same. In a binary of its own, because
//! the switch is global to the process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use common::*;
use relay_models::{
    CausalConfig, DropoutKey, LoopedConfig, LoopedInput, LoopedPrompts, Positions,
    TransformerConfig, generate_causal, generate_looped,
};

const KEY: DropoutKey = DropoutKey {
    seed: 5,
    step: 9,
    batch: 1,
};

/// The switch is process-wide: the tests take turns.
static SWITCH: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// What `run` gives with kernels and without.
fn both<R>(run: impl Fn() -> R) -> [R; 2] {
    let _alone = SWITCH.lock();
    [true, false].map(|on| {
        relay_kernels::set_enabled(on);
        run()
    })
}

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
        let [with, without] = both(|| {
            [
                looped_states::<Flex>(positions),
                causal_logits::<Flex>(positions),
                gradient(positions, None),
                gradient(positions, Some(KEY)),
                looped_with_dropout(positions),
            ]
        });
        for (with, without) in with.iter().zip(&without) {
            assert_close(with, without, 1e-3);
        }
        // Sums are made in another order, so that not all bits can be the same.
        assert!(with != without, "{positions:?}: no kernel was asked");
    }
}

/// Settings with whole and broken vectors, one head and many, and a width that RoPE cannot rotate.
fn transformers() -> Vec<TransformerConfig> {
    let shapes = [
        (16, 2, 2, Positions::Rope),
        (15, 3, 1, Positions::None),
        (6, 1, 3, Positions::Rope),
        (40, 5, 2, Positions::Rope),
        (64, 4, 3, Positions::None),
        (16, 2, 2, Positions::Alibi),
    ];
    let config = |(d_model, heads, layers, positions)| TransformerConfig {
        d_model,
        heads,
        layers,
        ..transformer(positions)
    };
    shapes.map(config).to_vec()
}

#[test]
fn causal_generation_is_the_same_with_kernels() {
    let device = Default::default();
    let mut same_bits = true;
    for (seed, transformer) in transformers().into_iter().enumerate() {
        let mut model = CausalConfig { transformer }.init::<Flex>(&device, seed as u64);
        // Far apart, so that no rounding decides between two tokens.
        model.head.weight = model.head.weight.map(|weight| weight.mul_scalar(30.0));
        let lengths = [5, 1, 70, 3, 9, 1];
        let prompts: Vec<Vec<u32>> = lengths
            .iter()
            .map(|length| {
                tokens(1, *length)
                    .iter()
                    .map(|token| *token as u32)
                    .collect()
            })
            .collect();
        for eos in [VOCAB as u32, 4] {
            let limits = [40, 70, 12, 0, 1, 33];
            let [with, without] =
                both(|| generate_causal(&model, &prompts, eos, &limits, &device).unwrap());
            for (with, without) in with.iter().zip(&without) {
                assert_eq!(with.tokens, without.tokens);
                assert_eq!(with.ended, without.ended);
                for (a, b) in with.probabilities.iter().zip(&without.probabilities) {
                    assert!((a - b).abs() < 1e-4, "{a} and {b}");
                }
                same_bits &= with.probabilities == without.probabilities;
            }
        }
    }
    assert!(!same_bits, "no kernel was asked");
}

#[test]
fn a_text_that_ends_may_have_any_limit() {
    let device = Default::default();
    for positions in POSITIONS {
        let transformer = transformer(positions);
        let mut model = CausalConfig { transformer }.init::<Flex>(&device, 1);
        let mut bias = [0.0; VOCAB];
        bias[4] = 100.0;
        model.head.bias = model.head.bias.map(|_| Tensor::from_floats(bias, &device));
        let prompts = [vec![3, 1], vec![2]];
        let limits = [usize::MAX, 7];
        for written in both(|| generate_causal(&model, &prompts, 4, &limits, &device).unwrap()) {
            assert!(written.iter().all(|one| one.ended && one.tokens.is_empty()));
        }
    }
}

#[test]
fn looped_generation_is_the_same_with_kernels() {
    let device = Default::default();
    let mut same_bits = true;
    for (seed, transformer) in transformers().into_iter().enumerate() {
        let config = LoopedConfig {
            transformer,
            norm_state: seed % 2 == 0,
            step_head: seed != 3,
            ..LoopedConfig::default()
        };
        let model = config.init::<Flex>(&device, seed as u64);
        let prompts = LoopedPrompts {
            tokens: tokens(4, 7),
            size: 4,
            width: 7,
            pads: vec![0, 6, 2, 0],
            iterations: vec![2, 5, 1, 5],
        };
        let [with, without] = both(|| generate_looped(&model, &prompts, &device).unwrap());
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(with.columns, without.columns);
            assert_eq!(with.answer, without.answer);
            let all = |chain: &relay_models::LoopedChain| {
                let mut all = chain.probabilities.concat();
                all.push(chain.answer_probability);
                all
            };
            assert_close(&all(with), &all(without), 1e-4);
            same_bits &= all(with) == all(without);
        }
    }
    assert!(!same_bits, "no kernel was asked");
}
