//! What stands around the layers.

use burn::backend::{Cuda, Flex};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use relay_kernels::{
    Precision, ReadoutParams, blend, embedding, greedy, norm, readout_cross_entropy, with_precision,
};

use crate::numbers::{agree, floats, leaf, noise, tensor};
use crate::{Cpu, Gpu};

#[test]
fn other_precisions_have_no_kernel() {
    let x = leaf::<Gpu, 2>(&noise(1, 64 * 4), [4, 64]);
    let weight = leaf(&noise(2, 64 * 20), [64, 20]);
    let bias = leaf(&noise(3, 20), [20]);
    let readout = head(&weight, &bias);
    assert!(readout_cross_entropy(&x, readout, &[0; 4], &[1.0; 4]).is_none());
    assert!(!relay_kernels::available::<Gpu>());
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

/// The loss times three and the gradients of states, matrix and bias.
fn readout<B: AutodiffBackend>(
    rows: usize,
    d: usize,
    vocab: usize,
    normal: bool,
) -> Vec<(&'static str, Vec<f32>)> {
    let states: Tensor<B, 2> = leaf(&noise(1, rows * d), [rows, d]);
    let weight: Vec<f32> = noise(2, d * vocab).iter().map(|x| 0.3 * x).collect();
    let weight: Tensor<B, 2> = leaf(&weight, [d, vocab]);
    let bias: Tensor<B, 1> = leaf(&noise(3, vocab), [vocab]);
    let targets: Vec<i32> = (0..rows).map(|row| (row * 7 % vocab) as i32).collect();
    let weights: Vec<f32> = (0..rows)
        .map(|row| {
            if row % 5 == 3 {
                0.0
            } else {
                1.0 / (1 + row % 3) as f32
            }
        })
        .collect();
    let vectors: [Tensor<B, 1>; 2] = [4, 5].map(|seed| leaf(&noise(seed, d), [d]));
    let readout = ReadoutParams {
        norm: (!normal).then(|| vectors.each_ref()),
        ..head(&weight, &bias)
    };
    let loss = with_precision(Precision::Bf16, || {
        readout_cross_entropy(&states, readout, &targets, &weights)
    });
    let loss = loss.expect("a kernel for this case") * 3.0;
    let graph = loss.backward();
    let mut results = vec![
        ("loss", floats(loss)),
        ("states", floats(states.grad(&graph).unwrap())),
        ("matrix", floats(weight.grad(&graph).unwrap())),
        ("bias", floats(bias.grad(&graph).unwrap())),
    ];
    if !normal {
        for (name, vector) in ["gamma", "beta"].into_iter().zip(&vectors) {
            results.push((name, floats(vector.grad(&graph).unwrap())));
        }
    }
    results
}

#[test]
fn readouts_agree() {
    for (rows, d, vocab) in [
        (1, 64, 1),
        (100, 256, 20),
        (1000, 256, 150),
        (333, 128, 128),
    ] {
        for normal in [true, false] {
            let what = format!("readout of {rows} rows of {d} to {vocab}, normal {normal}");
            let expected = readout::<Cpu>(rows, d, vocab, normal);
            agree(&what, &readout::<Gpu>(rows, d, vocab, normal), &expected);
        }
    }
}

/// The most probable tokens and their probabilities.
fn chosen<B: Backend>(normal: bool, [rows, d, vocab]: [usize; 3]) -> Vec<(u32, f32)> {
    let states: Tensor<B, 2> = tensor(&noise(1, rows * d), [rows, d]);
    let weight: Tensor<B, 2> = tensor(&noise(2, d * vocab), [d, vocab]);
    let bias: Tensor<B, 1> = tensor(&noise(3, vocab), [vocab]);
    let vectors: [Tensor<B, 1>; 2] = [4, 5].map(|seed| tensor(&noise(seed, d), [d]));
    let readout = ReadoutParams {
        norm: (!normal).then(|| vectors.each_ref()),
        ..head(&weight, &bias)
    };
    let chosen = with_precision(Precision::Bf16, || greedy(&states, readout));
    chosen.expect("a kernel for this case").read()
}

#[test]
fn choices_agree() {
    // The last one is wider than what is chosen without logits in memory.
    for sizes in [
        [300, 256, 150],
        [20_000, 192, 300],
        [77, 64, 1],
        [300, 320, 150],
    ] {
        for normal in [true, false] {
            let found = chosen::<Cuda>(normal, sizes);
            let expected = chosen::<Flex>(normal, sizes);
            let pairs = || found.iter().zip(&expected);
            // Where two tokens are nearly as probable, rounded states may choose the other one.
            let other = pairs().filter(|(a, b)| a.0 != b.0).count();
            assert!(50 * other <= sizes[0], "{other} others, {sizes:?}");
            let close =
                |(a, b): &(&(u32, f32), &(u32, f32))| a.0 != b.0 || (a.1 - b.1).abs() < 0.05;
            assert!(pairs().all(|pair| close(&pair)), "{sizes:?}");
        }
    }
}

/// A norm and its gradients.
fn normed<B: AutodiffBackend>(rows: usize, d: usize) -> Vec<(&'static str, Vec<f32>)> {
    let x: Tensor<B, 2> = leaf(&noise(1, rows * d), [rows, d]);
    let [gamma, beta]: [Tensor<B, 1>; 2] = [2, 3].map(|seed| leaf(&noise(seed, d), [d]));
    let out = with_precision(Precision::Bf16, || norm(&x, &gamma, &beta, 1e-5));
    let out = out.expect("a kernel for this case");
    let grad = tensor(&noise(4, rows * d), [rows, d]);
    let graph = (out.clone() * grad).sum().backward();
    vec![
        ("output", floats(out)),
        ("x", floats(x.grad(&graph).unwrap())),
        ("gamma", floats(gamma.grad(&graph).unwrap())),
        ("beta", floats(beta.grad(&graph).unwrap())),
    ]
}

/// A sum of two products and its gradients.
fn blended<B: AutodiffBackend>(rows: usize, d: usize) -> Vec<(&'static str, Vec<f32>)> {
    let [x, y]: [Tensor<B, 2>; 2] = [1, 2].map(|seed| leaf(&noise(seed, rows * d), [rows, d]));
    let [a, b]: [Tensor<B, 2>; 2] = [3, 4].map(|seed| leaf(&noise(seed, d * d), [d, d]));
    let out = with_precision(Precision::Bf16, || blend([&x, &y], [&a, &b]));
    let out = out.expect("a kernel for this case");
    let grad = tensor(&noise(5, rows * d), [rows, d]);
    let graph = (out.clone() * grad).sum().backward();
    let gradient = |x: Tensor<B, 2>| floats(x.grad(&graph).unwrap());
    vec![
        ("output", floats(out)),
        ("x", gradient(x)),
        ("y", gradient(y)),
        ("a", gradient(a)),
        ("b", gradient(b)),
    ]
}

#[test]
fn blends_agree() {
    for (rows, d) in [(3, 64), (1000, 256)] {
        let what = format!("blend of {rows} rows of {d}");
        agree(&what, &blended::<Gpu>(rows, d), &blended::<Cpu>(rows, d));
    }
}

#[test]
fn norms_agree() {
    for (rows, d) in [(1, 64), (1000, 256), (77, 1024)] {
        let what = format!("norm of {rows} rows of {d}");
        agree(&what, &normed::<Gpu>(rows, d), &normed::<Cpu>(rows, d));
    }
}

/// Rows of a table, and what it learns.
fn embedded<B: AutodiffBackend>(entries: usize, d: usize) -> Vec<(&'static str, Vec<f32>)> {
    let table: Tensor<B, 2> = leaf(&noise(1, entries * d), [entries, d]);
    let tokens: Vec<i32> = (0..60).map(|at| (at * at % entries) as i32).collect();
    let tokens = Tensor::from_data(TensorData::new(tokens, [5, 12]), &Default::default());
    let ordinary = || burn::tensor::module::embedding(table.clone(), tokens.clone());
    let out = with_precision(Precision::Bf16, || embedding(&table, &tokens));
    let out = out.unwrap_or_else(ordinary);
    let grad = tensor(&noise(2, 60 * d), [5, 12, d]);
    let graph = (out.clone() * grad).sum().backward();
    let table = floats(table.grad(&graph).unwrap());
    vec![("output", floats(out)), ("table", table)]
}

#[test]
fn embeddings_agree() {
    for (entries, d) in [(7, 64), (300, 256)] {
        let what = format!("embedding of {entries} in {d}");
        agree(
            &what,
            &embedded::<Gpu>(entries, d),
            &embedded::<Cpu>(entries, d),
        );
    }
}
