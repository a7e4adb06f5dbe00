//! What stands around the layers.

use burn::backend::{Cuda, Flex};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use relay_kernels::{
    Precision, ReadoutParams, blend, embedding, greedy, norm, readout_cross_entropy,
    readout_judged, with_precision,
};

use crate::numbers::{agree_in, floats, leaf, noise, tensor};
use crate::{Cpu, Gpu};

const BOTH: [Precision; 2] = [Precision::Bf16, Precision::F32];

/// Matrices are remembered as they were rounded, and taken for nothing else.
#[test]
fn precisions_do_not_mix() {
    let x = leaf::<Gpu, 2>(&noise(1, 64 * 4), [4, 64]);
    let weight = leaf(&noise(2, 64 * 20), [64, 20]);
    let bias = leaf(&noise(3, 20), [20]);
    let loss = |precision| {
        let readout = head(&weight, &bias);
        let loss = with_precision(precision, || {
            readout_cross_entropy(&x, readout, &[0; 4], &[1.0; 4])
        });
        floats(loss.expect("a kernel for this case"))[0]
    };
    let [rounded, exact, again] = [Precision::Bf16, Precision::F32, Precision::Bf16].map(loss);
    // The sums of losses are not always added up in the same order.
    assert!((rounded - again).abs() < 0.1 * (rounded - exact).abs());
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

/// The loss times three and the gradients of states, matrix and bias, in f32 also the right guesses.
fn readout<B: AutodiffBackend>(
    [rows, d, vocab]: [usize; 3],
    normal: bool,
    precision: Precision,
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
    let readout = || ReadoutParams {
        norm: (!normal).then(|| vectors.each_ref()),
        ..head(&weight, &bias)
    };
    let (loss, judged) = with_precision(precision, || {
        let loss = readout_cross_entropy(&states, readout(), &targets, &weights);
        (loss, readout_judged(&states, readout(), &targets, &weights))
    });
    let loss = loss.expect("a kernel for this case") * 3.0;
    let (beside, right) = judged.expect("a kernel for this case");
    let graph = loss.backward();
    let mut results = vec![
        ("loss", floats(loss)),
        ("states", floats(states.grad(&graph).unwrap())),
        ("matrix", floats(weight.grad(&graph).unwrap())),
        ("bias", floats(bias.grad(&graph).unwrap())),
        ("judged loss", floats(beside)),
    ];
    // Rounded to bf16, many are equals.
    if precision == Precision::F32 {
        results.push(("right guesses", floats(right)));
    }
    if !normal {
        for (name, vector) in ["gamma", "beta"].into_iter().zip(&vectors) {
            results.push((name, floats(vector.grad(&graph).unwrap())));
        }
    }
    results
}

#[test]
fn readouts_agree() {
    let sizes = [
        [1, 64, 1],
        [100, 256, 20],
        [1000, 256, 150],
        [333, 128, 128],
    ];
    for (sizes, precision) in sizes.into_iter().flat_map(|sizes| BOTH.map(|p| (sizes, p))) {
        for normal in [true, false] {
            let what = format!("readout of {sizes:?}, normal {normal}");
            let found = readout::<Gpu>(sizes, normal, precision);
            let expected = readout::<Cpu>(sizes, normal, precision);
            agree_in(precision, &what, &found, &expected);
        }
    }
}

/// The most probable tokens and their probabilities.
fn chosen<B: Backend>(
    normal: bool,
    [rows, d, vocab]: [usize; 3],
    precision: Precision,
) -> Vec<(u32, f32)> {
    let states: Tensor<B, 2> = tensor(&noise(1, rows * d), [rows, d]);
    let weight: Tensor<B, 2> = tensor(&noise(2, d * vocab), [d, vocab]);
    let bias: Tensor<B, 1> = tensor(&noise(3, vocab), [vocab]);
    let vectors: [Tensor<B, 1>; 2] = [4, 5].map(|seed| tensor(&noise(seed, d), [d]));
    let readout = ReadoutParams {
        norm: (!normal).then(|| vectors.each_ref()),
        ..head(&weight, &bias)
    };
    let chosen = with_precision(precision, || greedy(&states, readout));
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
        for (normal, precision) in [true, false].into_iter().flat_map(|n| BOTH.map(|p| (n, p))) {
            let found = chosen::<Cuda>(normal, sizes, precision);
            let expected = chosen::<Flex>(normal, sizes, precision);
            assert_eq!(found.len(), expected.len(), "{sizes:?}, {precision}");
            let pairs = || found.iter().zip(&expected);
            let (most, near) = match precision {
                Precision::F32 => (sizes[0] / 5000, 1e-3),
                Precision::Bf16 => (sizes[0] / 50, 0.05),
            };
            // Where two tokens are nearly as probable, rounded states may choose the other one.
            let other = pairs().filter(|(a, b)| a.0 != b.0).count();
            assert!(other <= most, "{other} others, {sizes:?}, {precision}");
            let close =
                |(a, b): &(&(u32, f32), &(u32, f32))| a.0 != b.0 || (a.1 - b.1).abs() < near;
            assert!(pairs().all(|pair| close(&pair)), "{sizes:?}, {precision}");
        }
    }
}

/// A norm and its gradients.
fn normed<B: AutodiffBackend>(rows: usize, d: usize) -> Vec<(&'static str, Vec<f32>)> {
    let x: Tensor<B, 2> = leaf(&noise(1, rows * d), [rows, d]);
    let [gamma, beta]: [Tensor<B, 1>; 2] = [2, 3].map(|seed| leaf(&noise(seed, d), [d]));
    let out = norm(&x, &gamma, &beta, 1e-5);
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
fn blended<B: AutodiffBackend>(
    rows: usize,
    d: usize,
    precision: Precision,
) -> Vec<(&'static str, Vec<f32>)> {
    let [x, y]: [Tensor<B, 2>; 2] = [1, 2].map(|seed| leaf(&noise(seed, rows * d), [rows, d]));
    let [a, b]: [Tensor<B, 2>; 2] = [3, 4].map(|seed| leaf(&noise(seed, d * d), [d, d]));
    let out = with_precision(precision, || blend([&x, &y], [&a, &b]));
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
        for precision in BOTH {
            let what = format!("blend of {rows} rows of {d}");
            let found = blended::<Gpu>(rows, d, precision);
            let expected = blended::<Cpu>(rows, d, precision);
            agree_in(precision, &what, &found, &expected);
        }
    }
}

#[test]
fn norms_agree() {
    for (rows, d) in [(1, 64), (1000, 256), (77, 1024)] {
        let what = format!("norm of {rows} rows of {d}");
        let (found, expected) = (normed::<Gpu>(rows, d), normed::<Cpu>(rows, d));
        agree_in(Precision::F32, &what, &found, &expected);
    }
}

/// Rows of a table, and what it learns: by the kernel, or by burn where there is none on CPUs.
fn embedded<B: AutodiffBackend>(
    [entries, d]: [usize; 2],
    by_kernel: bool,
) -> Vec<(&'static str, Vec<f32>)> {
    let table: Tensor<B, 2> = leaf(&noise(1, entries * d), [entries, d]);
    let tokens: Vec<i32> = (0..60).map(|at| (at * at % entries) as i32).collect();
    let tokens = Tensor::from_data(TensorData::new(tokens, [5, 12]), &Default::default());
    let out = embedding(&table, &tokens);
    assert_eq!(out.is_some(), by_kernel, "whether there is a kernel");
    let ordinary = || burn::tensor::module::embedding(table.clone(), tokens.clone());
    let out = out.unwrap_or_else(ordinary);
    let grad = tensor(&noise(2, 60 * d), [5, 12, d]);
    let graph = (out.clone() * grad).sum().backward();
    let table = floats(table.grad(&graph).unwrap());
    vec![("output", floats(out)), ("table", table)]
}

#[test]
fn embeddings_agree() {
    for sizes in [[7, 64], [300, 256]] {
        let what = format!("embedding of {sizes:?}");
        let (found, expected) = (embedded::<Gpu>(sizes, true), embedded::<Cpu>(sizes, false));
        agree_in(Precision::F32, &what, &found, &expected);
    }
}
