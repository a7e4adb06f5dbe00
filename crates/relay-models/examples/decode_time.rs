//! Times greedy generation with both kinds of model, with hand-written kernels and without.
//!
//! `cargo run --release -p relay-models --example decode_time`

#![allow(clippy::unwrap_used, reason = "an example may panic")]

use std::time::Instant;

use burn_flex::Flex;
use relay_models::{
    CausalConfig, LoopedConfig, LoopedPrompts, TransformerConfig, generate_causal, generate_looped,
};

const VOCAB: usize = 300;

fn transformer(d_model: usize) -> TransformerConfig {
    TransformerConfig {
        vocab: VOCAB,
        d_model,
        heads: 4,
        layers: 3,
        mlp_ratio: 4,
        dropout: 0.0,
        ..TransformerConfig::default()
    }
}

/// The shortest time of so many runs.
fn best(repeats: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..repeats).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn causal(d_model: usize, batch: usize, prompt: usize, new: usize, repeats: usize) {
    let device = Default::default();
    let model = CausalConfig {
        transformer: transformer(d_model),
    }
    .init::<Flex>(&device, 1);
    let token = |text: usize, at: usize| ((text * 31 + at * 7) % VOCAB) as u32;
    let prompts: Vec<Vec<u32>> = (0..batch)
        .map(|text| (0..prompt).map(|at| token(text, at)).collect())
        .collect();
    let seconds = best(repeats, || {
        // No token is the end token, so every text is written to its limit.
        let chains =
            generate_causal(&model, &prompts, VOCAB as u32, &vec![new; batch], &device).unwrap();
        assert!(chains.iter().all(|chain| chain.tokens.len() == new));
    });
    println!(
        "causal: d {d_model}, batch {batch}, prompt {prompt}, {new} new: {:.3} s, {:.0} tokens/s",
        seconds,
        (batch * new) as f64 / seconds
    );
}

fn looped(d_model: usize, batch: usize, width: usize, iterations: usize, repeats: usize) {
    let device = Default::default();
    let model = LoopedConfig {
        transformer: transformer(d_model),
        ..LoopedConfig::default()
    }
    .init::<Flex>(&device, 1);
    let prompts = LoopedPrompts {
        tokens: (0..batch * width)
            .map(|at| (at * 7 % VOCAB) as i32)
            .collect(),
        size: batch,
        width,
        pads: vec![0; batch],
        iterations: vec![iterations; batch],
    };
    let seconds = best(repeats, || {
        let chains = generate_looped(&model, &prompts, &device).unwrap();
        assert!(chains.iter().all(|chain| chain.columns.len() == iterations));
    });
    println!(
        "looped: d {d_model}, batch {batch}, width {width}, T {iterations}: {:.3} s, {:.1} chains/s",
        seconds,
        batch as f64 / seconds
    );
}

fn main() {
    for kernels in [true, false] {
        relay_kernels::set_enabled(kernels);
        println!(
            "{} kernels, {} threads",
            if kernels { "with" } else { "without" },
            std::thread::available_parallelism().map_or(1, usize::from)
        );
        let repeats = if kernels { 3 } else { 1 };
        causal(256, 64, 45, 460, repeats);
        causal(64, 64, 20, 100, 5 * repeats);
        looped(256, 64, 80, 25, repeats);
        looped(64, 64, 40, 8, 5 * repeats);
    }
}
