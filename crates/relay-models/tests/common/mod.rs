//! Small models and comparisons for the tests.
#![allow(dead_code, reason = "each test binary uses a part")]

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use relay_models::{CausalConfig, LoopedConfig, LoopedInput, Positions, TransformerConfig};

pub type Flex = burn_flex::Flex;
pub type NdArray = burn_ndarray::NdArray<f32>;
pub type FlexTrain = Autodiff<Flex>;
pub type NdArrayTrain = Autodiff<NdArray>;

pub const VOCAB: usize = 11;
pub const POSITIONS: [Positions; 3] = [Positions::Rope, Positions::None, Positions::Alibi];

pub fn transformer(positions: Positions) -> TransformerConfig {
    TransformerConfig {
        vocab: VOCAB,
        d_model: 16,
        heads: 2,
        layers: 2,
        mlp_ratio: 2,
        dropout: 0.0,
        positions,
        // Not the default, so that a path that takes no notice of it would differ from the others.
        rope_base: 50.0,
    }
}

pub fn looped(positions: Positions) -> LoopedConfig {
    LoopedConfig {
        transformer: transformer(positions),
        ..LoopedConfig::default()
    }
}

pub fn causal(positions: Positions) -> CausalConfig {
    CausalConfig {
        transformer: transformer(positions),
    }
}

/// Token ids that look random but are not; no two rows of a batch are the same.
pub fn tokens(size: usize, width: usize) -> Vec<i32> {
    let token = |i: u64| {
        let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        1 + (mixed % (VOCAB as u64 - 1)) as i32
    };
    (0..(size * width) as u64).map(token).collect()
}

pub fn int<B: Backend>(values: &[i32], shape: [usize; 2]) -> Tensor<B, 2, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Default::default())
}

pub fn input<B: Backend>(values: &[i32], shape: [usize; 2], pads: &[usize]) -> LoopedInput<B> {
    LoopedInput {
        tokens: int(values, shape),
        pads: pads.to_vec(),
        dropout: None,
    }
}

/// Puts `extra` columns of padding on the left of every row.
pub fn widen(values: &[i32], width: usize, extra: usize) -> Vec<i32> {
    values
        .chunks(width)
        .flat_map(|row| std::iter::repeat_n(0, extra).chain(row.iter().copied()))
        .collect()
}

pub fn values<B: Backend, const D: usize>(x: Tensor<B, D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

#[track_caller]
pub fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * (1.0 + b.abs()),
            "element {at}: {a} and {b}"
        );
    }
}

/// Runs a generic test on both CPU backends.
#[allow(unused_macros, reason = "each test binary uses a part")]
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod flex { $(#[test] fn $name() { super::$name::<crate::common::Flex>(); })* }
        mod ndarray { $(#[test] fn $name() { super::$name::<crate::common::NdArray>(); })* }
    };
}
