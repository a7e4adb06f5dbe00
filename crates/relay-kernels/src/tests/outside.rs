//! What stands around the layers, against ordinary ops of burn: norm, injection, readout.

use burn::backend::{Autodiff, Flex, NdArray};
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::{SWITCH, assert_close, assert_same_on_threads, doubles, noise};
use crate::{ReadoutParams, blend, cross_entropy, norm, readout_cross_entropy, readout_judged};

type Tracked = Autodiff<Flex>;

const SHAPES: [[usize; 2]; 7] = [
    [1, 1],
    [1, 5],
    [3, 1],
    [33, 17],
    [70, 64],
    [300, 33],
    [700, 64],
];

fn matrix<B: Backend>(seed: u64, shape: [usize; 2]) -> Tensor<B, 2> {
    let data = TensorData::new(noise(seed, shape[0] * shape[1]), shape);
    Tensor::from_data(data, &Default::default())
}

fn vector<B: Backend>(seed: u64, len: usize) -> Tensor<B, 1> {
    Tensor::from_data(
        TensorData::new(noise(seed, len), [len]),
        &Default::default(),
    )
}

fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

/// Asserts that both lists agree: results, then gradients.
fn agree(what: &str, ours: &[Vec<f32>], theirs: &[Vec<f32>]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert_close(&format!("{what} {index}"), ours, &doubles(theirs), 2e-5);
    }
}

/// Matrices, vectors and the result of the operation on them, with the gradients of all.
fn run(
    matrices: &[Tensor<Tracked, 2>],
    vectors: &[Tensor<Tracked, 1>],
    operation: impl FnOnce(&[Tensor<Tracked, 2>], &[Tensor<Tracked, 1>]) -> Tensor<Tracked, 2>,
) -> Vec<Vec<f32>> {
    let matrices: Vec<_> = matrices
        .iter()
        .map(|m| m.clone().detach().require_grad())
        .collect();
    let vectors: Vec<_> = vectors
        .iter()
        .map(|v| v.clone().detach().require_grad())
        .collect();
    let out = operation(&matrices, &vectors);
    let grad = matrix(77, out.dims());
    let mut all = vec![floats(out.clone())];
    let graph = (out * grad).sum().backward();
    all.extend(matrices.iter().map(|m| floats(m.grad(&graph).unwrap())));
    all.extend(vectors.iter().map(|v| floats(v.grad(&graph).unwrap())));
    all
}

#[test]
fn norm_agrees_with_ordinary_ops() {
    let _on = SWITCH.lock();
    for [rows, d] in SHAPES {
        let (x, vectors) = ([matrix(1, [rows, d])], [vector(2, d), vector(3, d)]);
        let ours = run(&x, &vectors, |x, v| {
            norm(&x[0], &v[0], &v[1], 1e-3).unwrap()
        });
        let theirs = run(&x, &vectors, |x, v| {
            let centred = x[0].clone() - x[0].clone().mean_dim(1);
            let variance = (centred.clone() * centred.clone()).mean_dim(1);
            let normal = centred / variance.add_scalar(1e-3).sqrt();
            normal * v[0].clone().unsqueeze() + v[1].clone().unsqueeze()
        });
        agree(&format!("{rows} {d}"), &ours, &theirs);
    }
}

#[test]
fn blend_agrees_with_ordinary_ops() {
    let _on = SWITCH.lock();
    for [rows, d] in SHAPES {
        let shapes = [[rows, d], [rows, d], [d, d], [d, d]];
        let m = [0, 1, 2, 3].map(|i: usize| matrix(i as u64, shapes[i]));
        let ours = run(&m, &[], |m, _| {
            blend([&m[0], &m[1]], [&m[2], &m[3]]).unwrap()
        });
        let theirs = run(&m, &[], |m, _| {
            m[0].clone().matmul(m[2].clone()) + m[1].clone().matmul(m[3].clone())
        });
        agree(&format!("{rows} {d}"), &ours, &theirs);
    }
}

/// Weights of which many are 0.
fn weights(rows: usize) -> Vec<f32> {
    noise(6, rows).iter().map(|w| w.max(0.0)).collect()
}

#[test]
fn readout_agrees_with_ordinary_ops() {
    let _on = SWITCH.lock();
    for [rows, d] in SHAPES {
        for vocab in [1, 2, 33, 64, 65] {
            let (m, v) = (
                [matrix(1, [rows, d]), matrix(2, [d, vocab])],
                [vector(3, vocab)],
            );
            let mut weights = weights(rows);
            weights[0] = 0.5;
            let targets: Vec<i32> = (0..rows)
                .map(|row| {
                    if weights[row] > 0.0 {
                        (row * 7 % vocab) as i32
                    } else {
                        -1
                    }
                })
                .collect();
            let ours = run(&m, &v, |m, v| {
                let loss = readout_cross_entropy(&m[0], head(&m[1], &v[0]), &targets, &weights);
                loss.unwrap().unsqueeze()
            });
            let theirs = run(&m, &v, |m, v| {
                let logits = m[0].clone().matmul(m[1].clone()) + v[0].clone().unsqueeze();
                let device = Default::default();
                let index: Vec<i32> = targets.iter().map(|target| (*target).max(0)).collect();
                let index = Tensor::<Tracked, 1, Int>::from_ints(index.as_slice(), &device);
                let chosen = log_softmax(logits, 1).gather(1, index.reshape([rows, 1]));
                let weights = Tensor::<Tracked, 1>::from_floats(weights.as_slice(), &device);
                (chosen * weights.reshape([rows, 1]))
                    .sum()
                    .neg()
                    .unsqueeze()
            });
            agree(&format!("{rows} {d} {vocab}"), &ours, &theirs);
        }
    }
}

/// A head without a norm.
fn head<'a, B: Backend>(weight: &'a Tensor<B, 2>, bias: &'a Tensor<B, 1>) -> ReadoutParams<'a, B> {
    ReadoutParams {
        norm: None,
        weight,
        bias,
        epsilon: 1e-5,
    }
}

#[test]
fn a_readout_normalises_first() {
    let _on = SWITCH.lock();
    let (rows, d, vocab) = (70, 24, 11);
    let (m, v) = (
        [matrix(1, [rows, d]), matrix(2, [d, vocab])],
        [vector(3, vocab), vector(4, d), vector(5, d)],
    );
    let targets: Vec<i32> = (0..rows).map(|row| (row % vocab) as i32).collect();
    let ours = run(&m, &v, |m, v| {
        let readout = ReadoutParams {
            norm: Some([&v[1], &v[2]]),
            ..head(&m[1], &v[0])
        };
        let loss = readout_cross_entropy(&m[0], readout, &targets, &weights(rows));
        loss.unwrap().unsqueeze()
    });
    let theirs = run(&m, &v, |m, v| {
        let normal = norm(&m[0], &v[1], &v[2], 1e-5).unwrap();
        let readout = head(&m[1], &v[0]);
        let loss = readout_cross_entropy(&normal, readout, &targets, &weights(rows));
        loss.unwrap().unsqueeze()
    });
    assert_eq!(ours, theirs);
}

#[test]
fn a_guess_is_right_where_its_target_is_the_first_of_the_most_probable() {
    let _on = SWITCH.lock();
    // Of rows of logits; those of tokens 1 and 3 are equal, as are all of the last row.
    let states = Tensor::<Flex, 2>::from_floats(
        [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]],
        &Default::default(),
    );
    let weight = Tensor::from_floats(
        [[0.0, 2.0, 1.0, 2.0], [0.0, 0.0, 3.0, 0.0]],
        &Default::default(),
    );
    let bias = Tensor::zeros([4], &Default::default());
    let right = |targets: [i32; 4], weights: [f32; 4]| {
        let judged = readout_judged(&states, head(&weight, &bias), &targets, &weights);
        let (loss, right) = judged.unwrap();
        let right = right.into_scalar();
        let alone = readout_cross_entropy(&states, head(&weight, &bias), &targets, &weights);
        assert_eq!(loss.into_data(), alone.unwrap().into_data());
        right
    };
    assert_eq!(right([1, 2, 2, 0], [0.5; 4]), 4.0);
    assert_eq!(right([3, 2, 0, 1], [0.5; 4]), 1.0);
    assert_eq!(right([1, 2, -1, 0], [0.5, 0.0, 0.0, 0.5]), 2.0);
}

#[test]
fn without_a_weight_nothing_is_lost_or_learnt() {
    let _on = SWITCH.lock();
    let (m, v) = ([matrix(1, [3, 4]), matrix(2, [4, 5])], [vector(3, 5)]);
    let all = run(&m, &v, |m, v| {
        let loss = readout_cross_entropy(&m[0], head(&m[1], &v[0]), &[9, -1, 0], &[0.0; 3]);
        loss.unwrap().unsqueeze()
    });
    assert!(all.iter().flatten().all(|x| *x == 0.0), "{all:?}");
}

#[test]
fn nothing_is_lost_where_there_is_nothing() {
    let _on = SWITCH.lock();
    let empty = |shape: [usize; 2]| Tensor::<Flex, 2>::zeros(shape, &Default::default());
    assert!(cross_entropy(&empty([2, 0]), &[0, 0], &[0.0, 0.0]).is_none());
    let none = cross_entropy(&empty([0, 3]), &[], &[]).unwrap();
    assert_eq!(none.into_scalar(), 0.0);
}

#[test]
#[should_panic(expected = "target 5 of row 1 is not below the vocabulary's 5")]
fn a_target_outside_the_vocabulary_is_named() {
    let _on = SWITCH
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let (states, weight) = (matrix::<Flex>(1, [2, 4]), matrix(2, [4, 5]));
    let bias = vector(3, 5);
    readout_cross_entropy(&states, head(&weight, &bias), &[0, 5], &[1.0, 1.0]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let _on = SWITCH.lock();
    let [rows, d, vocab] = [2100, 64, 50];
    assert_same_on_threads(|| {
        let targets: Vec<i32> = (0..rows).map(|row| (row % vocab) as i32).collect();
        let shapes = [[rows, d], [rows, d], [d, d], [d, d], [d, vocab]];
        let matrices = [0, 1, 2, 3, 4].map(|i: usize| matrix(1 + i as u64, shapes[i]));
        let vectors = [vector(6, d), vector(7, d), vector(8, vocab)];
        run(&matrices, &vectors, |m, v| {
            let mixed = blend([&m[0], &m[1]], [&m[2], &m[3]]).unwrap();
            let readout = ReadoutParams {
                norm: Some([&v[0], &v[1]]),
                ..head(&m[4], &v[2])
            };
            let loss = readout_cross_entropy(&mixed, readout, &targets, &weights(rows));
            loss.unwrap().unsqueeze()
        })
    });
}

#[test]
fn other_backends_are_left_to_ordinary_ops() {
    let _on = SWITCH.lock();
    let (x, v) = (matrix::<NdArray>(1, [2, 3]), vector(2, 3));
    assert!(norm(&x, &v, &v, 1e-5).is_none());
    assert!(blend([&x, &x], [&matrix(1, [3, 3]), &matrix(2, [3, 3])]).is_none());
    let (weight, bias) = (matrix(3, [3, 4]), vector(4, 4));
    assert!(readout_cross_entropy(&x, head(&weight, &bias), &[0, 1], &[1.0, 1.0]).is_none());
}
