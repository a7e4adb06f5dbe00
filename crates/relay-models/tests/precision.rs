//! Layers of ordinary operations in bf16. In a binary of its own, because the switch of the kernels is global to the
//! process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::AutodiffBackend;
use common::*;
use relay_kernels::{Precision, set_enabled, with_precision};
use relay_models::{
    CausalConfig, LoopedConfig, LoopedTransformer, Positions, TransformerConfig, generate_causal,
};

/// Wide enough that sums have many terms.
fn wide(positions: Positions) -> TransformerConfig {
    TransformerConfig {
        d_model: 64,
        heads: 4,
        ..transformer(positions)
    }
}

fn model(positions: Positions) -> LoopedTransformer<FlexTrain> {
    let config = LoopedConfig {
        transformer: wide(positions),
        ..LoopedConfig::default()
    };
    config.init(&Default::default(), 1)
}

/// Every gradient by its place in the model.
struct Gradients<'a, B: AutodiffBackend> {
    of: &'a B::Gradients,
    found: Vec<Vec<f32>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient = param.val().grad(self.of);
        self.found.push(gradient.map(values).unwrap_or_default());
    }
}

/// The last state after three iterations, and the gradients of a sum over it.
fn run(positions: Positions, precision: Precision) -> (Vec<f32>, Vec<Vec<f32>>) {
    set_enabled(false);
    let model = model(positions);
    let last = with_precision(precision, || {
        let mut last = None;
        let input = input(&tokens(3, 6), [3, 6], &[0, 2, 1]);
        model.forward(input, 3, |_, state| last = Some(state.clone()));
        last.unwrap()
    });
    let weights = last.clone().detach().sin();
    let gradients = (last.clone() * weights).sum().backward();
    let mut collected = Gradients::<FlexTrain> {
        of: &gradients,
        found: Vec::new(),
    };
    model.visit(&mut collected);
    (values(last), collected.found)
}

/// Root mean square of the difference, by that of `exact`.
fn error(exact: &[f32], rounded: &[f32]) -> f32 {
    assert_eq!(exact.len(), rounded.len());
    let square = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>();
    let difference = square(&mut exact.iter().zip(rounded).map(|(a, b)| a - b));
    (difference / square(&mut exact.iter().copied()).max(1e-20)).sqrt()
}

/// bf16 keeps 8 bits, so one rounding is off by 0.4 % at most; few of them add up.
#[test]
fn states_differ_by_one_per_cent_at_most_and_gradients_by_five() {
    for positions in POSITIONS {
        let (exact, exact_gradients) = run(positions, Precision::F32);
        let (rounded, gradients) = run(positions, Precision::Bf16);
        let off = error(&exact, &rounded);
        assert!(off > 1e-5 && off < 0.01, "{positions:?}: states {off}");
        assert_eq!(exact_gradients.len(), gradients.len());
        for (at, (exact, rounded)) in exact_gradients.iter().zip(&gradients).enumerate() {
            let off = error(exact, rounded);
            assert!(off < 0.05, "{positions:?}: gradient {at} {off}");
        }
    }
}

#[test]
fn what_comes_out_is_f32() {
    set_enabled(false);
    let model = model(Positions::Rope);
    let (tokens, pads) = (tokens(2, 5), [0, 1]);
    let states = with_precision(Precision::Bf16, || {
        let mut states = Vec::new();
        let input = input(&tokens, [2, 5], &pads);
        model.forward(input, 2, |_, state| states.push(state.clone()));
        states
    });
    for state in &states {
        assert_eq!(state.dtype(), burn::tensor::DType::F32);
    }
    let gradients = states[1].clone().sum().backward();
    let query = model.block.layers[0].query.val().grad(&gradients).unwrap();
    assert_eq!(query.dtype(), burn::tensor::DType::F32);
}

#[test]
fn the_setting_ends_with_its_scope() {
    let states = |precision| run(Positions::None, precision).0;
    let before = states(Precision::F32);
    assert_ne!(before, states(Precision::Bf16));
    assert_eq!(before, states(Precision::F32));
}

/// What the logarithms of a model's probabilities differ by between text that was written with a cache, in bf16, and the same
/// text read at once, in `precision`.
fn error_of_cache(positions: Positions, precision: Precision) -> f32 {
    set_enabled(false);
    let (device, transformer) = (Default::default(), wide(positions));
    let mut model = CausalConfig { transformer }.init::<Flex>(&device, 3);
    // Far from equal, so that what is wrong with the states is seen.
    model.head.weight = model.head.weight.map(|weight| weight.mul_scalar(10.0));
    // More new columns than the tail of a cache has, and left padding.
    let (prompts, new) = ([vec![3, 1, 4, 1, 5], vec![2, 6, 5]], 40);
    let write = || generate_causal(&model, &prompts, VOCAB as u32, &[new; 2], &device).unwrap();
    let chains = with_precision(Precision::Bf16, write);
    let (width, mut text) = (5 + new, Vec::new());
    for (prompt, chain) in prompts.iter().zip(&chains) {
        text.extend(vec![0; width - new - prompt.len()]);
        text.extend(
            prompt
                .iter()
                .chain(&chain.tokens)
                .map(|token| *token as i32),
        );
    }
    let read = || model.forward(int(&text, [2, width]), &[0, 2], None);
    let read = values(log_softmax(with_precision(precision, read), 2));
    let (mut cached, mut uncached) = (Vec::new(), Vec::new());
    for (row, chain) in chains.iter().enumerate() {
        for (at, (token, probability)) in chain.tokens.iter().zip(&chain.probabilities).enumerate()
        {
            let column = row * width + 5 + at - 1;
            uncached.push(read[column * VOCAB + *token as usize]);
            cached.push(probability.ln());
        }
    }
    error(&uncached, &cached)
}

/// But for sums that differ in their last bit and are then rounded to another neighbour, which is rare, there is no difference;
/// what would come of products that are not rounded is as large as what comes of rounding.
#[test]
fn cached_columns_are_rounded_as_uncached_ones() {
    for positions in POSITIONS {
        let [off, of_rounding] =
            [Precision::Bf16, Precision::F32].map(|precision| error_of_cache(positions, precision));
        assert!(
            off < of_rounding / 8.0,
            "{positions:?}: {off}, and of rounding {of_rounding}"
        );
    }
}
