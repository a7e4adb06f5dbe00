//! Invariants of the causal transformer.

use crate::common::*;
use burn::module::Module;
use burn::tensor::backend::Backend;
use relay_models::DropoutKey;

on_both!(
    no_column_sees_the_future,
    padding_changes_nothing,
    dropout_needs_a_key,
    counts_its_parameters
);

fn no_column_sees_the_future<B: Backend>() {
    let first = tokens(1, 6);
    let mut second = first.clone();
    second[4] = 1 + second[4] % 10;
    assert_ne!(first, second);
    for positions in POSITIONS {
        let model = causal(positions).init::<B>(&Default::default(), 1);
        let run = |tokens: &[i32]| values(model.forward(int(tokens, [1, 6]), &[0], None));
        let (first, second) = (run(&first), run(&second));
        assert_close(&first[..4 * VOCAB], &second[..4 * VOCAB], 1e-6);
        assert_ne!(first[4 * VOCAB..], second[4 * VOCAB..]);
    }
}

fn padding_changes_nothing<B: Backend>() {
    let (width, extra) = (6, 3);
    let (narrow, pads) = (tokens(2, width), [0, 2]);
    let wide = widen(&narrow, width, extra);
    for positions in POSITIONS {
        let model = causal(positions).init::<B>(&Default::default(), 2);
        let a = values(model.forward(int(&narrow, [2, width]), &pads, None));
        let b = values(model.forward(int(&wide, [2, width + extra]), &[extra, 2 + extra], None));
        assert!(b.iter().all(|value| value.is_finite()));
        for sample in 0..2 {
            let real = (width - pads[sample]) * VOCAB;
            let end = |x: &[f32], width: usize| {
                x[(sample + 1) * width * VOCAB - real..(sample + 1) * width * VOCAB].to_vec()
            };
            assert_close(&end(&a, width), &end(&b, width + extra), 1e-4);
        }
    }
}

fn dropout_needs_a_key<B: Backend>() {
    let mut config = causal(Default::default());
    config.transformer.dropout = 0.3;
    let model = config.init::<B>(&Default::default(), 3);
    let run = |dropout| values(model.forward(int(&tokens(2, 5), [2, 5]), &[0, 1], dropout));
    let key = DropoutKey {
        seed: 1,
        step: 1,
        batch: 0,
    };
    assert_eq!(run(None), run(None));
    assert_eq!(run(Some(key)), run(Some(key)));
    assert_ne!(run(None), run(Some(key)));
}

fn counts_its_parameters<B: Backend>() {
    let config = causal(Default::default());
    assert_eq!(
        config.init::<B>(&Default::default(), 1).num_params(),
        config.number_of_parameters()
    );
}

#[test]
fn backends_agree() {
    for positions in POSITIONS {
        let flex = causal(positions).init::<Flex>(&Default::default(), 8);
        let ndarray = causal(positions).init::<NdArray>(&Default::default(), 8);
        let flex = values(flex.forward(int(&tokens(2, 6), [2, 6]), &[0, 2], None));
        let ndarray = values(ndarray.forward(int(&tokens(2, 6), [2, 6]), &[0, 2], None));
        assert_close(&flex, &ndarray, 1e-4);
    }
}
