//! Invariants of the looped transformer.

use crate::common::*;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use relay_models::{DropoutKey, Injection, LoopedConfig, LoopedInput, LoopedTransformer};

on_both!(
    iterations_compose,
    padding_changes_nothing,
    samples_do_not_mix,
    columns_see_what_stands_right_of_them,
    rows_of_nothing_but_padding_stay_finite,
    heads_read_any_columns,
    vanilla_has_no_step_head,
    dropout_is_a_function_of_its_key,
    options_change_the_states,
    linear_injection_starts_as_addition,
    normalised_states_keep_their_size,
);

fn states<B: Backend>(
    model: &LoopedTransformer<B>,
    input: LoopedInput<B>,
    iterations: usize,
) -> Vec<Vec<f32>> {
    let mut states = Vec::new();
    model.forward(input, iterations, |iteration, state| {
        assert_eq!(iteration, states.len() + 1);
        states.push(values(state.clone()));
    });
    states
}

fn iterations_compose<B: Backend>() {
    let injections = [Injection::None, Injection::Add, Injection::Linear];
    for (injection, norm_state) in injections.into_iter().flat_map(|i| [(i, false), (i, true)]) {
        let config = LoopedConfig {
            injection,
            norm_state,
            ..looped(Default::default())
        };
        let model = config.init::<B>(&Default::default(), 1);
        let input = input(&tokens(2, 5), [2, 5], &[0, 2]);
        let context = model.context(&input);
        let embedded = model.embed(input.tokens.clone(), &context);
        let mut state = embedded.clone();
        for expected in states(&model, input, 3) {
            // Without timestep encoding every iteration is the same map.
            state = model.iterate(state, &embedded, 1, &context);
            assert_close(&values(state.clone()), &expected, 1e-6);
        }
    }
}

fn padding_changes_nothing<B: Backend>() {
    let (size, width, extra) = (3, 6, 4);
    let (narrow, pads) = (tokens(size, width), [0, 2, 5]);
    let wide = widen(&narrow, width, extra);
    for positions in POSITIONS {
        let model = looped(positions).init::<B>(&Default::default(), 2);
        let a = states(&model, input(&narrow, [size, width], &pads), 3);
        let b = states(
            &model,
            input(&wide, [size, width + extra], &pads.map(|pad| pad + extra)),
            3,
        );
        for (a, b) in a.iter().zip(&b) {
            for sample in 0..size {
                let real = (width - pads[sample]) * 16;
                let end = |x: &[f32], width: usize| {
                    x[((sample + 1) * width * 16) - real..(sample + 1) * width * 16].to_vec()
                };
                assert_close(&end(a, width), &end(b, width + extra), 1e-4);
            }
        }
    }
}

fn samples_do_not_mix<B: Backend>() {
    let batch = tokens(3, 5);
    for positions in POSITIONS {
        let model = looped(positions).init::<B>(&Default::default(), 3);
        let together = states(&model, input(&batch, [3, 5], &[0, 1, 3]), 2);
        let alone = states(&model, input(&batch[5..10], [1, 5], &[1]), 2);
        assert_close(&together[1][5 * 16..10 * 16], &alone[1], 1e-4);
    }
}

/// The loop has no direction, unlike the auto-regressive model.
fn columns_see_what_stands_right_of_them<B: Backend>() {
    let (mut batch, width) = (tokens(1, 5), 5);
    for positions in POSITIONS {
        let model = looped(positions).init::<B>(&Default::default(), 3);
        let mut first = || {
            let states = states(&model, input(&batch, [1, width], &[1]), 1);
            batch[width - 1] = 1 + batch[width - 1] % (VOCAB as i32 - 1);
            // The first column that is no padding.
            states[0][16..32].to_vec()
        };
        let (before, after) = (first(), first());
        let moved = before.iter().zip(&after).map(|(a, b)| (a - b).abs());
        assert!(moved.fold(0.0, f32::max) > 1e-4, "{positions:?}");
    }
}

fn rows_of_nothing_but_padding_stay_finite<B: Backend>() {
    for positions in POSITIONS {
        let model = looped(positions).init::<B>(&Default::default(), 4);
        let last = states(&model, input(&tokens(2, 4), [2, 4], &[4, 0]), 3)
            .pop()
            .unwrap();
        assert!(last.iter().all(|value| value.is_finite()));
    }
}

fn heads_read_any_columns<B: Backend>() {
    let model = looped(Default::default()).init::<B>(&Default::default(), 5);
    model.forward(input(&tokens(2, 5), [2, 5], &[0, 1]), 1, |_, state| {
        let all = model.step_logits(state.clone()).unwrap();
        let part = model
            .step_logits(state.clone().slice([0..2, 3..5]))
            .unwrap();
        assert_eq!(all.dims(), [2, 5, VOCAB]);
        assert_close(&values(part), &values(all.slice([0..2, 3..5])), 1e-5);
        let last = state.clone().slice([0..2, 4..5]).reshape([2, 16]);
        assert_eq!(model.answer_logits(last).dims(), [2, VOCAB]);
    });
}

fn vanilla_has_no_step_head<B: Backend>() {
    let config = LoopedConfig {
        step_head: false,
        ..looped(Default::default())
    };
    let model = config.init::<B>(&Default::default(), 5);
    assert!(
        model
            .step_logits(Tensor::zeros([1, 2, 16], &Default::default()))
            .is_none()
    );
    assert_eq!(model.num_params(), config.number_of_parameters());
}

fn dropout_is_a_function_of_its_key<B: Backend>() {
    let mut config = looped(Default::default());
    config.transformer.dropout = 0.3;
    let model = config.init::<B>(&Default::default(), 6);
    let run = |dropout| {
        let input = LoopedInput {
            dropout,
            ..input(&tokens(2, 5), [2, 5], &[0, 1])
        };
        states(&model, input, 2).pop().unwrap()
    };
    let key = |seed, step, batch| Some(DropoutKey { seed, step, batch });
    let first = run(key(1, 2, 3));
    assert_eq!(first, run(key(1, 2, 3)));
    for other in [key(2, 2, 3), key(1, 3, 3), key(1, 2, 4), None] {
        assert_ne!(first, run(other));
    }
}

fn options_change_the_states<B: Backend>() {
    let run = |config: LoopedConfig| {
        let model = config.init::<B>(&Default::default(), 7);
        assert_eq!(model.num_params(), config.number_of_parameters());
        states(&model, input(&tokens(1, 5), [1, 5], &[0]), 2)
            .pop()
            .unwrap()
    };
    let plain = run(looped(Default::default()));
    for injection in [Injection::Add, Injection::Linear] {
        assert_ne!(
            plain,
            run(LoopedConfig {
                injection,
                ..looped(Default::default())
            })
        );
    }
    for (timestep, norm_state) in [(true, false), (false, true)] {
        assert_ne!(
            plain,
            run(LoopedConfig {
                timestep,
                norm_state,
                ..looped(Default::default())
            })
        );
    }
}

/// However many iterations: a state that is normalised neither grows nor is normalised again by the heads.
fn normalised_states_keep_their_size<B: Backend>() {
    let config = LoopedConfig {
        norm_state: true,
        ..looped(Default::default())
    };
    let model = config.init::<B>(&Default::default(), 9);
    model.forward(input(&tokens(1, 4), [1, 4], &[0]), 12, |_, state| {
        for row in values(state.clone()).chunks(16) {
            let mean = row.iter().sum::<f32>() / 16.0;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 16.0;
            assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-2);
        }
        let doubled = model.step_logits(state.clone().mul_scalar(2.0)).unwrap();
        let logits = model.step_logits(state.clone()).unwrap();
        assert_close(&values(doubled), &values(logits.mul_scalar(2.0)), 1e-4);
    });
}

fn linear_injection_starts_as_addition<B: Backend>() {
    let run = |injection| {
        let model = LoopedConfig {
            injection,
            ..looped(Default::default())
        }
        .init::<B>(&Default::default(), 7);
        states(&model, input(&tokens(1, 5), [1, 5], &[0]), 2)
            .pop()
            .unwrap()
    };
    assert_close(&run(Injection::Linear), &run(Injection::Add), 1e-5);
}

#[test]
fn backends_agree() {
    for positions in POSITIONS {
        let mut config = LoopedConfig {
            timestep: true,
            ..looped(positions)
        };
        config.transformer.dropout = 0.2;
        let dropout = Some(DropoutKey {
            seed: 1,
            step: 2,
            batch: 3,
        });
        let (batch, pads) = (tokens(2, 6), [0, 2]);
        let flex = config.init::<Flex>(&Default::default(), 8);
        let flex = states(
            &flex,
            LoopedInput {
                dropout,
                ..input(&batch, [2, 6], &pads)
            },
            2,
        );
        let ndarray = config.init::<NdArray>(&Default::default(), 8);
        let ndarray = states(
            &ndarray,
            LoopedInput {
                dropout,
                ..input(&batch, [2, 6], &pads)
            },
            2,
        );
        assert_close(&flex[1], &ndarray[1], 1e-4);
    }
}
