//! The optimizer's step, and the squares of gradients, both in f32.

use burn::backend::{Cuda, Flex};
use burn::tensor::backend::Backend;
use relay_kernels::{Precision, Rule, Update, squares_of_each, sum_of_squares, update};

use crate::numbers::{agree_in, floats, noise, tensor};

const LENGTHS: [usize; 4] = [1, 300, 4097, 65_536];

fn flat<B: Backend>(seed: u64, length: usize) -> burn::tensor::Tensor<B, 1> {
    tensor(&noise(seed, length), [length])
}

/// Value and moments after three steps of AdamW.
fn moved<B: Backend>(length: usize) -> Vec<(&'static str, Vec<f32>)> {
    let zeros = || flat::<B>(1, length).zeros_like();
    let mut updates = vec![Update {
        value: flat::<B>(1, length),
        gradient: zeros(),
        clip: 0.3,
        learning_rate: 0.02,
        keep: 0.998,
        rule: Rule::AdamW {
            moments: [zeros(), zeros()],
            time: 0,
            betas: [0.9, 0.99],
            epsilon: 1e-8,
        },
    }];
    for seed in 2..5 {
        updates[0].gradient = flat(seed, length);
        updates = update(updates).expect("a kernel for AdamW");
    }
    let Update { value, rule, .. } = updates.remove(0);
    let Rule::AdamW { moments, time, .. } = rule else {
        unreachable!("the rule stays what it is");
    };
    assert_eq!(time, 3);
    let [first, second] = moments.map(floats);
    vec![
        ("value", floats(value)),
        ("mean", first),
        ("squares", second),
    ]
}

#[test]
fn steps_of_adamw_agree() {
    for length in LENGTHS {
        let what = format!("AdamW with {length} numbers");
        let (found, expected) = (moved::<Cuda>(length), moved::<Flex>(length));
        agree_in(Precision::F32, &what, &found, &expected);
    }
}

#[test]
fn squares_agree() {
    let on_gpu = LENGTHS.map(|length| flat::<Cuda>(7, length));
    let found = squares_of_each(&on_gpu.each_ref()).expect("a kernel for squares");
    let expected = LENGTHS.map(|length| {
        let sum = sum_of_squares([&flat::<Flex>(7, length)]);
        sum.expect("a kernel for squares") as f32
    });
    // Each by itself: beside the largest of them the others are next to nothing.
    for ((length, found), expected) in LENGTHS.into_iter().zip(floats(found)).zip(expected) {
        let what = format!("squares of {length} numbers");
        let (found, expected) = (vec![("sum", vec![found])], vec![("sum", vec![expected])]);
        agree_in(Precision::F32, &what, &found, &expected);
    }
}
