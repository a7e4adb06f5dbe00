//! Batches in wider windows.

use crate::common::*;
use burn::tensor::backend::AutodiffBackend;
use relay_models::DropoutKey;
use relay_train::{GradientSet, Objective, OptimizerConfig, TrainConfig};

const KEY: DropoutKey = DropoutKey {
    seed: 1,
    step: 2,
    batch: 0,
};

/// Losses and gradients of some examples, in windows whose width is a multiple of `columns`.
fn gradients<B: AutodiffBackend, O: Objective<B>>(
    objective: &O,
    model: &O::Model,
    columns: usize,
) -> (Vec<f64>, GradientSet<B::InnerBackend>) {
    let (mut gradients, mut losses) = (GradientSet::new(), Vec::new());
    for batch in objective.collate(&examples()).unwrap() {
        let batch = objective.widen(batch, columns);
        let device = Default::default();
        let told = objective.backward(model, &batch, KEY, &device, &mut gradients);
        losses.extend(told.total.into_data().iter::<f64>());
    }
    (losses, gradients)
}

fn wider_windows_change_nothing<B: AutodiffBackend, O: Objective<B>>(
    objective: &O,
    model: &O::Model,
) {
    let (losses, right) = gradients::<B, O>(objective, model, 1);
    for columns in [4, 16, 64] {
        let (others, found) = gradients::<B, O>(objective, model, columns);
        assert_eq!(losses.len(), others.len());
        for (a, b) in losses.iter().zip(&others) {
            assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{a} {b}");
        }
        for path in [
            "block.embedding",
            "block.layers.0.key",
            "block.layers.0.up_bias",
        ] {
            let [a, b] = [&right, &found].map(|all| all.get(path).unwrap().to_data());
            for (a, b) in a.iter::<f32>().zip(b.iter::<f32>()) {
                let near = (a - b).abs() < 1e-5 + 1e-4 * a.abs();
                assert!(
                    near,
                    "{path} with a multiple of {columns}: {b} instead of {a}"
                );
            }
        }
    }
}

#[test]
fn losses_and_gradients_are_the_same_in_wider_windows() {
    let (one, other) = (looped(0.0), causal(0.0));
    let device = Default::default();
    wider_windows_change_nothing::<Flex, _>(&aligned(), &one.init(&device, 3));
    wider_windows_change_nothing::<Flex, _>(&next_token(), &other.init(&device, 3));
    let device = Default::default();
    wider_windows_change_nothing::<NdArray, _>(&aligned(), &one.init(&device, 3));
    wider_windows_change_nothing::<NdArray, _>(&next_token(), &other.init(&device, 3));
}

#[test]
fn every_width_is_a_multiple() {
    let batches = Objective::<Flex>::collate(&aligned(), &examples()).unwrap();
    for batch in batches {
        let old = batch.host.width;
        let wide = Objective::<Flex>::widen(&aligned(), batch, 8).host;
        assert!(wide.width.is_multiple_of(8) && wide.width - old < 8);
        assert_eq!(wide.tokens.len(), wide.size * wide.width);
    }
}

#[test]
fn the_default_leaves_no_trace_in_files() {
    let config = config(OptimizerConfig::adamw());
    let text = serde_json::to_string(&config).unwrap();
    assert!(!text.contains("width_multiple"), "{text}");
    let wide = TrainConfig {
        width_multiple: 16,
        ..config
    };
    let text = serde_json::to_string(&wide).unwrap();
    assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), wide);
}
