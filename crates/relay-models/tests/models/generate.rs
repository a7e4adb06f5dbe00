//! Greedy generation: the same alone or in any batch, cached or not.

use crate::common::*;
use burn::tensor::backend::Backend;
use relay_models::{
    CausalTransformer, Injection, LoopedChain, LoopedConfig, LoopedPrompts, ModelError, Positions,
    generate_causal, generate_looped,
};

on_both!(
    looped_chains_are_the_argmax_of_the_forward_pass,
    looped_chains_are_the_same_alone,
    vanilla_gives_answers_only,
    cached_equals_uncached,
    causal_chains_are_the_same_alone,
    causal_chains_stop_at_the_end_token,
);

fn prompts(size: usize, width: usize, pads: &[usize], iterations: &[usize]) -> LoopedPrompts {
    LoopedPrompts {
        tokens: tokens(size, width),
        size,
        width,
        pads: pads.to_vec(),
        iterations: iterations.to_vec(),
    }
}

fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    best.unwrap() as u32
}

/// Every way in which a loop can differ from the plain one.
fn loops(positions: Positions) -> impl Iterator<Item = LoopedConfig> {
    let injections = [Injection::None, Injection::Add, Injection::Linear];
    let loops = injections
        .into_iter()
        .flat_map(|injection| [false, true].map(|timestep| (injection, timestep)));
    loops.map(move |(injection, timestep)| LoopedConfig {
        injection,
        timestep,
        norm_state: timestep,
        ..looped(positions)
    })
}

/// The most probable token of each row of logits, and its probability.
fn best(logits: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let rows = logits.chunks(VOCAB).map(|row| {
        let token = argmax(row);
        let sum: f32 = row
            .iter()
            .map(|value| (value - row[token as usize]).exp())
            .sum();
        (token, sum.recip())
    });
    rows.unzip()
}

fn looped_chains_are_the_argmax_of_the_forward_pass<B: Backend>() {
    let device = Default::default();
    for config in loops(Default::default()) {
        let model = config.init::<B>(&device, 1);
        let prompts = prompts(2, 5, &[0, 2], &[3, 3]);
        let chains = generate_looped(&model, &prompts, &device).unwrap();
        let mut seen = Vec::new();
        model.forward(
            input(&prompts.tokens, [2, 5], &prompts.pads),
            3,
            |iteration, state| {
                let (tokens, probabilities) =
                    best(&values(model.step_logits(state.clone()).unwrap()));
                for (sample, chain) in chains.iter().enumerate() {
                    let own = sample * 5..(sample + 1) * 5;
                    assert_eq!(chain.columns[iteration - 1], tokens[own.clone()]);
                    assert_close(
                        &chain.probabilities[iteration - 1],
                        &probabilities[own],
                        1e-4,
                    );
                }
                let last = state.clone().slice([0..2, 4..5]).reshape([2, 16]);
                let (answers, sure) = best(&values(model.answer_logits(last)));
                if iteration == 3 {
                    let answer = |chain: &LoopedChain| (chain.answer, chain.answer_probability);
                    let (found, found_sure): (Vec<_>, Vec<_>) = chains.iter().map(answer).unzip();
                    assert_eq!(found, answers);
                    assert_close(&found_sure, &sure, 1e-4);
                }
                seen.push(probabilities);
            },
        );
        // Otherwise nothing told whether an iteration was the right one.
        assert!(
            seen[0]
                .iter()
                .zip(&seen[2])
                .any(|(a, b)| (a - b).abs() > 1e-3)
        );
    }
}

fn looped_chains_are_the_same_alone<B: Backend>() {
    let device = Default::default();
    // The first sample is not the last to be done, so that those left are others than the first ones of the batch.
    for config in POSITIONS.into_iter().flat_map(loops) {
        let model = config.init::<B>(&device, 2);
        let batch = prompts(4, 5, &[0, 3, 1, 0], &[2, 5, 1, 5]);
        let chains = generate_looped(&model, &batch, &device).unwrap();
        for (sample, chain) in chains.iter().enumerate() {
            assert_eq!(chain.columns.len(), batch.iterations[sample]);
            let alone = LoopedPrompts {
                tokens: batch.tokens[sample * 5..(sample + 1) * 5].to_vec(),
                size: 1,
                width: 5,
                pads: vec![batch.pads[sample]],
                iterations: vec![batch.iterations[sample]],
            };
            let alone = &generate_looped(&model, &alone, &device).unwrap()[0];
            assert_eq!(
                (&alone.columns, alone.answer),
                (&chain.columns, chain.answer)
            );
            assert_close(
                &alone.probabilities.concat(),
                &chain.probabilities.concat(),
                1e-4,
            );
            assert_close(
                &[alone.answer_probability],
                &[chain.answer_probability],
                1e-4,
            );
        }
    }
}

fn vanilla_gives_answers_only<B: Backend>() {
    let device = Default::default();
    let model = LoopedConfig {
        step_head: false,
        ..looped(Default::default())
    }
    .init::<B>(&device, 3);
    let chains = generate_looped(&model, &prompts(2, 5, &[0, 0], &[1, 4]), &device).unwrap();
    assert!(
        chains
            .iter()
            .all(|chain| chain.columns.is_empty() && chain.answer_probability > 0.0)
    );
}

/// Decodes by running the whole text through the model again for every token.
fn uncached<B: Backend>(
    model: &CausalTransformer<B>,
    prompt: &[u32],
    eos: u32,
    limit: usize,
) -> (Vec<u32>, Vec<f32>) {
    let mut text: Vec<i32> = prompt.iter().map(|token| *token as i32).collect();
    let (mut tokens, mut probabilities) = (Vec::new(), Vec::new());
    while tokens.len() < limit {
        let logits = values(model.forward(int(&text, [1, text.len()]), &[0], None));
        let last = &logits[logits.len() - VOCAB..];
        let token = argmax(last);
        if token == eos {
            break;
        }
        let sum: f32 = last
            .iter()
            .map(|value| (value - last[token as usize]).exp())
            .sum();
        tokens.push(token);
        probabilities.push(sum.recip());
        text.push(token as i32);
    }
    (tokens, probabilities)
}

fn some_prompts() -> Vec<Vec<u32>> {
    vec![
        vec![3, 1, 4, 1, 5],
        vec![9],
        vec![2, 6, 5],
        vec![3, 5, 8, 9, 7, 9],
    ]
}

fn cached_equals_uncached<B: Backend>() {
    let device = Default::default();
    for positions in POSITIONS {
        let model = causal(positions).init::<B>(&device, 4);
        let prompts = some_prompts();
        let chains = generate_causal(&model, &prompts, 2, &[9, 12, 0, 7], &device).unwrap();
        for ((prompt, chain), limit) in prompts.iter().zip(&chains).zip([9, 12, 0, 7]) {
            let (tokens, probabilities) = uncached(&model, prompt, 2, limit);
            assert_eq!(chain.tokens, tokens);
            assert_close(&chain.probabilities, &probabilities, 1e-4);
            assert_eq!(chain.ended, tokens.len() < limit);
        }
    }
}

fn causal_chains_are_the_same_alone<B: Backend>() {
    let device = Default::default();
    for positions in POSITIONS {
        let model = causal(positions).init::<B>(&device, 5);
        let prompts = some_prompts();
        // Longer than the room of a new cache, so that it has to grow.
        let limits = [90, 3, 70, 5];
        let chains = generate_causal(&model, &prompts, VOCAB as u32, &limits, &device).unwrap();
        for (at, chain) in chains.iter().enumerate() {
            let alone = generate_causal(
                &model,
                &prompts[at..=at],
                VOCAB as u32,
                &limits[at..=at],
                &device,
            )
            .unwrap();
            assert_eq!(chain.tokens, alone[0].tokens);
            assert_eq!(chain.tokens.len(), limits[at]);
            assert_close(&chain.probabilities, &alone[0].probabilities, 1e-3);
        }
    }
}

fn causal_chains_stop_at_the_end_token<B: Backend>() {
    let device = Default::default();
    let model = causal(Default::default()).init::<B>(&device, 6);
    let free = &generate_causal(&model, &[vec![3, 1]], VOCAB as u32, &[6], &device).unwrap()[0];
    let eos = free.tokens[2];
    let before = free
        .tokens
        .iter()
        .take_while(|token| **token != eos)
        .count();
    let stopped = &generate_causal(&model, &[vec![3, 1]], eos, &[6], &device).unwrap()[0];
    assert!(stopped.ended && !free.ended);
    assert_eq!(stopped.tokens, free.tokens[..before]);
}

#[test]
fn wrong_prompts_are_named() {
    let device = Default::default();
    let looped = looped(Default::default()).init::<Flex>(&device, 1);
    let good = prompts(2, 3, &[0, 0], &[1, 1]);
    let message = |prompts: LoopedPrompts| {
        generate_looped(&looped, &prompts, &device)
            .unwrap_err()
            .to_string()
    };
    let mut outside = good.clone();
    outside.tokens[4] = 11;
    assert_eq!(
        message(outside),
        "token 1 of prompt 1 is 11: it must be in 0..11, the vocabulary"
    );
    assert!(
        message(LoopedPrompts {
            iterations: vec![1, 0],
            ..good.clone()
        })
        .contains("iterations of prompt 1")
    );
    assert!(
        message(LoopedPrompts {
            pads: vec![3, 0],
            ..good.clone()
        })
        .contains("padding of prompt 0")
    );
    assert!(
        message(LoopedPrompts {
            size: 3,
            ..good.clone()
        })
        .contains("number of `tokens`")
    );
    assert_eq!(
        generate_looped(&looped, &prompts(0, 3, &[], &[]), &device).unwrap(),
        vec![]
    );

    let causal = causal(Default::default()).init::<Flex>(&device, 1);
    let wrong = |prompts: &[Vec<u32>], limits: &[usize]| {
        let error: ModelError = generate_causal(&causal, prompts, 2, limits, &device).unwrap_err();
        error.to_string()
    };
    assert!(wrong(&[vec![1], vec![]], &[1, 1]).contains("length of prompt 1"));
    assert!(wrong(&[vec![1, 99]], &[1]).contains("token 1 of prompt 0 is 99"));
    assert!(wrong(&[vec![1]], &[]).contains("max_new_tokens"));
    assert_eq!(
        generate_causal(&causal, &[], 2, &[], &device).unwrap(),
        vec![]
    );
}
