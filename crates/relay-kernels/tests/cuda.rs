//! The kernels for GPUs against those for CPUs, both in bf16. Needs an NVIDIA GPU from Hopper on.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::time::Instant;

use burn::backend::{Autodiff, Cuda, Flex};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use relay_kernels::{
    DropoutMask, LayerDropout, LayerParams, LayerSpec, Precision, ReadoutParams, blend, embedding,
    greedy, layer, norm, prepare_layer, prepared_layer, readout_cross_entropy, with_precision,
};

type Gpu = Autodiff<Cuda>;
type Cpu = Autodiff<Flex>;

/// Largest relative distance between results that round to bf16 in other places.
const TOLERANCE: f64 = 2e-2;

/// Numbers between -1 and 1 that look random.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn tensor<B: Backend, const D: usize>(data: &[f32], shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(data.to_vec(), shape), &Default::default())
}

/// The same as another leaf of the graph.
fn leaf<B: AutodiffBackend, const D: usize>(data: &[f32], shape: [usize; D]) -> Tensor<B, D> {
    tensor(data, shape).require_grad()
}

fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

/// Prints the relative distances of all results, and asserts that they are small.
fn agree(what: &str, found: &[(&str, Vec<f32>)], expected: &[(&str, Vec<f32>)]) {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let mut wrong = Vec::new();
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}: {name}");
        let pairs = found.iter().zip(expected);
        let distance = norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let distance = distance / norm(&mut expected.iter().map(|b| f64::from(*b))).max(1e-6);
        println!("{what}: {name} differs by {distance:.2e}");
        // A number that is none is no small distance either.
        if distance.is_nan() || distance >= TOLERANCE {
            wrong.push(format!("{name} by {distance:.2e}"));
        }
    }
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
}

#[derive(Debug, Clone)]
struct Case {
    batch: usize,
    width: usize,
    d: usize,
    heads: usize,
    m: usize,
    causal: bool,
    rope: bool,
    slopes: Vec<f32>,
    pads: Vec<usize>,
    dropout: Option<LayerDropout>,
}

impl Case {
    fn new(batch: usize, width: usize) -> Self {
        Self {
            batch,
            width,
            d: 256,
            heads: 4,
            m: 1024,
            causal: false,
            rope: true,
            slopes: Vec::new(),
            pads: vec![0; batch],
            dropout: None,
        }
    }

    fn padded(self) -> Self {
        let pads = (0..self.batch).map(|sample| sample * 7 % self.width);
        Self {
            pads: pads.collect(),
            ..self
        }
    }

    fn dropping(self, rate: f32) -> Self {
        let mask = |place| DropoutMask::new(&[self.width as u64, place], rate);
        let dropout = Some(LayerDropout {
            probabilities: mask(0),
            attention: mask(1),
            mlp: mask(2),
        });
        Self { dropout, ..self }
    }

    fn spec(&self) -> LayerSpec<'_> {
        LayerSpec {
            heads: self.heads,
            causal: self.causal,
            pads: &self.pads,
            rope: self.rope,
            rope_base: 10_000.0,
            slopes: &self.slopes,
            dropout: self.dropout,
            epsilon: 1e-5,
        }
    }

    /// Input and parameters in the order of the layer's gradients.
    fn data(&self, seed: u64) -> Vec<Vec<f32>> {
        let (d, m) = (self.d, self.m);
        let square = d * d;
        let x = self.batch * self.width * d;
        let sizes = [
            x,
            d,
            d,
            square,
            square,
            square,
            square,
            d,
            d,
            d * m,
            m,
            m * d,
            d,
        ];
        let scaled = |(index, len): (usize, &usize)| {
            let (scale, shift) = match index {
                0 => (2.0, 0.0),
                1 | 7 => (0.3, 1.0),
                3..=6 | 9 => (2.0 / (d as f32).sqrt(), 0.0),
                11 => (2.0 / (m as f32).sqrt(), 0.0),
                _ => (0.2, 0.0),
            };
            let noise = noise(seed + index as u64, *len);
            noise.iter().map(|x| x * scale + shift).collect()
        };
        sizes.iter().enumerate().map(scaled).collect()
    }
}

/// Input and parameters of a layer, as leaves.
struct Leaves<B: AutodiffBackend> {
    x: Tensor<B, 3>,
    vectors: [Tensor<B, 1>; 6],
    matrices: [Tensor<B, 2>; 6],
}

impl<B: AutodiffBackend> Leaves<B> {
    fn new(case: &Case, data: &[Vec<f32>]) -> Self {
        let (d, m) = (case.d, case.m);
        Self {
            x: leaf(&data[0], [case.batch, case.width, d]),
            vectors: [1, 2, 7, 8, 10, 12].map(|index| leaf(&data[index], [data[index].len()])),
            matrices: [
                leaf(&data[3], [d, d]),
                leaf(&data[4], [d, d]),
                leaf(&data[5], [d, d]),
                leaf(&data[6], [d, d]),
                leaf(&data[9], [d, m]),
                leaf(&data[11], [m, d]),
            ],
        }
    }

    fn params(&self) -> LayerParams<'_, B> {
        let [gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias] = &self.vectors;
        let [query, key, value, output, up, down] = &self.matrices;
        LayerParams {
            norm_attention_gamma: gamma,
            norm_attention_beta: beta,
            query,
            key,
            value,
            output,
            norm_mlp_gamma: gamma_mlp,
            norm_mlp_beta: beta_mlp,
            up,
            up_bias,
            down,
            down_bias,
        }
    }

    fn layer(&self, case: &Case) -> Tensor<B, 3> {
        with_precision(Precision::Bf16, || {
            layer(&self.x, self.params(), &case.spec())
        })
        .expect("a kernel for this case")
    }

    /// The layer applied so often, prepared once where it can be.
    fn looped(&self, case: &Case, iterations: usize) -> Tensor<B, 3> {
        let spec = case.spec();
        with_precision(Precision::Bf16, || {
            let prepared = prepare_layer(self.params());
            (0..iterations).fold(self.x.clone(), |x, _| {
                match &prepared {
                    Some(prepared) => prepared_layer(&x, prepared, &spec),
                    None => layer(&x, self.params(), &spec),
                }
                .expect("a kernel for this case")
            })
        })
    }

    /// The output and all gradients, by name.
    fn run(&self, case: &Case) -> Vec<(&'static str, Vec<f32>)> {
        self.results(case, self.layer(case))
    }

    fn results(&self, case: &Case, out: Tensor<B, 3>) -> Vec<(&'static str, Vec<f32>)> {
        let grad = tensor(&noise(77, case.batch * case.width * case.d), out.dims());
        let graph = (out.clone() * grad).sum().backward();
        let vector = |index: usize| floats(self.vectors[index].grad(&graph).unwrap());
        let matrix = |index: usize| floats(self.matrices[index].grad(&graph).unwrap());
        vec![
            ("output", floats(out)),
            ("x", floats(self.x.grad(&graph).unwrap())),
            ("gamma of attention", vector(0)),
            ("beta of attention", vector(1)),
            ("query", matrix(0)),
            ("key", matrix(1)),
            ("value", matrix(2)),
            ("output projection", matrix(3)),
            ("gamma of MLP", vector(2)),
            ("beta of MLP", vector(3)),
            ("up", matrix(4)),
            ("bias of up", vector(4)),
            ("down", matrix(5)),
            ("bias of down", vector(5)),
        ]
    }
}

fn check(case: &Case) {
    let data = case.data(3);
    let found = Leaves::<Gpu>::new(case, &data).run(case);
    let expected = Leaves::<Cpu>::new(case, &data).run(case);
    let what = format!(
        "{} x {}, causal {}, rope {}, slopes {}, dropout {}",
        case.batch,
        case.width,
        case.causal,
        case.rope,
        !case.slopes.is_empty(),
        case.dropout.is_some()
    );
    agree(&what, &found, &expected);
}

#[test]
fn layers_agree() {
    for width in [66, 102] {
        check(&Case::new(5, width));
        check(&Case::new(5, width).padded());
        check(&Case::new(5, width).padded().dropping(0.1));
    }
}

#[test]
fn odd_layers_agree() {
    check(&Case::new(1, 2));
    check(&Case::new(3, 128).padded().dropping(0.3));
    check(&Case {
        causal: true,
        ..Case::new(4, 33).padded()
    });
    check(&Case {
        causal: true,
        rope: false,
        slopes: vec![0.5, 0.25, 0.125, 0.0625],
        ..Case::new(4, 70).padded().dropping(0.1)
    });
    // Samples of nothing but padding.
    check(&Case {
        pads: vec![20, 0, 19],
        ..Case::new(3, 20)
    });
    check(&Case {
        d: 128,
        heads: 2,
        m: 192,
        ..Case::new(7, 48)
    });
}

#[test]
fn calls_of_a_prepared_layer_add_up() {
    let case = Case::new(4, 30).padded().dropping(0.1);
    let data = case.data(5);
    let (gpu, cpu) = (
        Leaves::<Gpu>::new(&case, &data),
        Leaves::<Cpu>::new(&case, &data),
    );
    let found = gpu.results(&case, gpu.looped(&case, 4));
    agree(
        "four calls",
        &found,
        &cpu.results(&case, cpu.looped(&case, 4)),
    );
    // A second graph begins at nothing.
    agree("again", &gpu.results(&case, gpu.looped(&case, 4)), &found);
}

#[test]
fn inference_and_training_agree() {
    let case = Case::new(3, 66).padded();
    let data = case.data(9);
    let leaves = Leaves::<Gpu>::new(&case, &data);
    let trained = floats(leaves.layer(&case));
    let untracked = Leaves::<Gpu> {
        x: leaves.x.detach().set_require_grad(false),
        vectors: leaves.vectors.map(|v| v.detach().set_require_grad(false)),
        matrices: leaves.matrices.map(|m| m.detach().set_require_grad(false)),
    };
    assert_eq!(floats(untracked.layer(&case)), trained);
}

#[test]
fn changed_weights_are_seen() {
    let case = Case::new(2, 40);
    let mut data = case.data(1);
    let mut leaves = Leaves::<Gpu>::new(&case, &data);
    let before = leaves.run(&case);
    assert_eq!(before[0], leaves.run(&case)[0], "the same twice");
    // As an optimizer does it: the result of an operation takes the place of the matrix.
    leaves.matrices[4] = (leaves.matrices[4].clone() * 0.5).detach().require_grad();
    data[9].iter_mut().for_each(|x| *x *= 0.5);
    let after = leaves.run(&case);
    assert!(before[0] != after[0], "another matrix, another result");
    let expected = Leaves::<Cpu>::new(&case, &data).run(&case);
    agree("after a change", &after, &expected);
}

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
fn chosen<B: Backend>(normal: bool) -> Vec<(u32, f32)> {
    let (rows, d, vocab) = (300, 256, 150);
    let states: Tensor<B, 2> = tensor(&noise(1, rows * d), [rows, d]);
    let weight: Tensor<B, 2> = tensor(&noise(2, d * vocab), [d, vocab]);
    let bias: Tensor<B, 1> = tensor(&noise(3, vocab), [vocab]);
    let vectors: [Tensor<B, 1>; 2] = [4, 5].map(|seed| tensor(&noise(seed, d), [d]));
    let readout = ReadoutParams {
        norm: (!normal).then(|| vectors.each_ref()),
        ..head(&weight, &bias)
    };
    with_precision(Precision::Bf16, || greedy(&states, readout)).expect("a kernel for this case")
}

#[test]
fn choices_agree() {
    for normal in [true, false] {
        let (found, expected) = (chosen::<Cuda>(normal), chosen::<Flex>(normal));
        let pairs = || found.iter().zip(&expected);
        // Where two tokens are nearly as probable, rounded states may choose the other one.
        let same = pairs().filter(|(a, b)| a.0 == b.0).count();
        assert!(same >= 294, "{same} of 300");
        let close = |(a, b): &(&(u32, f32), &(u32, f32))| a.0 != b.0 || (a.1 - b.1).abs() < 0.05;
        assert!(pairs().all(|pair| close(&pair)), "{found:?} {expected:?}");
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

/// Prints how long a layer takes forward and backward.
#[test]
fn time_of_a_layer() {
    const REPETITIONS: usize = 5;
    const LAYERS: usize = 20;
    let case = Case::new(512, 66).padded().dropping(0.1);
    let leaves = Leaves::<Gpu>::new(&case, &case.data(1));
    let shape = [case.batch, case.width, case.d];
    let grad: Tensor<Gpu, 3> = tensor(&noise(77, shape.iter().product()), shape);
    let device = leaves.x.device();
    let once = || {
        let out = leaves.looped(&case, LAYERS);
        let graph = (out * grad.clone()).sum().backward();
        drop(leaves.x.grad(&graph));
    };
    (0..3).for_each(|_| once());
    Gpu::sync(&device).unwrap();
    let start = Instant::now();
    (0..REPETITIONS).for_each(|_| once());
    Gpu::sync(&device).unwrap();
    let time = start.elapsed().as_secs_f64() / (REPETITIONS * LAYERS) as f64;
    println!(
        "a layer, {shape:?}, forward and backward: {:.3} ms",
        1e3 * time
    );
}
