//! Times a loop of layers, forward and backward, and says how much of it matrix products alone would take.
//!
//! `cargo run --release -p relay-kernels --example layer_time`, in f32 and in bf16

use std::time::Instant;

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Distribution, Tensor};
use relay_kernels::{DropoutMask, LayerDropout, LayerParams, LayerSpec, Precision, with_precision};

type B = Autodiff<Flex>;

struct Layer {
    vectors: Vec<Tensor<B, 1>>,
    matrices: Vec<Tensor<B, 2>>,
}

impl Layer {
    fn new(d: usize) -> Self {
        let device = Default::default();
        let deviation = 1.0 / (d as f64).sqrt();
        let matrix = |shape| {
            Tensor::<B, 2>::random(shape, Distribution::Normal(0.0, deviation / 2.0), &device)
                .require_grad()
        };
        let vector = |len, value| Tensor::<B, 1>::full([len], value, &device).require_grad();
        let shapes = [[d, d], [d, d], [d, d], [d, d], [d, 4 * d], [4 * d, d]];
        let vectors = [
            (d, 1.0),
            (d, 0.0),
            (d, 1.0),
            (d, 0.0),
            (4 * d, 0.0),
            (d, 0.0),
        ];
        Self {
            vectors: vectors.map(|(len, value)| vector(len, value)).to_vec(),
            matrices: shapes.map(matrix).to_vec(),
        }
    }

    fn params(&self) -> LayerParams<'_, B> {
        LayerParams {
            norm_attention_gamma: &self.vectors[0],
            norm_attention_beta: &self.vectors[1],
            query: &self.matrices[0],
            key: &self.matrices[1],
            value: &self.matrices[2],
            output: &self.matrices[3],
            norm_mlp_gamma: &self.vectors[2],
            norm_mlp_beta: &self.vectors[3],
            up: &self.matrices[4],
            up_bias: &self.vectors[4],
            down: &self.matrices[5],
            down_bias: &self.vectors[5],
        }
    }
}

fn measure(
    d: usize,
    [batch, width]: [usize; 2],
    iterations: usize,
    repeats: usize,
    causal: bool,
    dropout: Option<f32>,
) {
    let device = Default::default();
    let mut layers: Vec<Layer> = (0..3).map(|_| Layer::new(d)).collect();
    let x =
        Tensor::<B, 3>::random([batch, width, d], Distribution::Default, &device).require_grad();
    let pads = vec![0; batch];
    let spec = LayerSpec {
        heads: 4,
        causal,
        pads: &pads,
        rope: true,
        rope_base: 1e4,
        slopes: &[],
        dropout: dropout.map(|rate| LayerDropout {
            probabilities: DropoutMask::new(&[0], rate),
            attention: DropoutMask::new(&[1], rate),
            mlp: DropoutMask::new(&[2], rate),
        }),
        epsilon: 1e-5,
    };
    let (mut forward, mut total) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..repeats {
        // As after an update: new matrices each step.
        for layer in &mut layers {
            let changed = |m: &Tensor<B, 2>| {
                Tensor::from_inner(m.clone().inner().mul_scalar(1.0)).require_grad()
            };
            layer.matrices = layer.matrices.iter().map(changed).collect();
        }
        let start = Instant::now();
        let mut h = x.clone();
        for layer in (0..iterations).flat_map(|_| &layers) {
            let Some(out) = relay_kernels::layer(&h, layer.params(), &spec) else {
                return println!("no kernel");
            };
            h = out;
        }
        forward = forward.min(start.elapsed().as_secs_f64());
        let gradients = h.sum().backward();
        total = total.min(start.elapsed().as_secs_f64());
        assert!(x.grad(&gradients).is_some());
    }
    let (rows, passes) = ((batch * width) as f64, (3 * iterations) as f64);
    let flops = passes * rows * (24.0 * (d * d) as f64 + 4.0 * (width * d) as f64);
    let dropout = dropout.map_or(String::new(), |rate| format!(" dropout {rate}"));
    let kind = if causal { " causal" } else { "" };
    println!(
        "d {d} batch {batch} width {width} T {iterations}{kind}{dropout}: forward {:.1} ms ({:.0} GFLOP/s), both {:.1} ms ({:.0} GFLOP/s)",
        forward * 1e3,
        flops / forward * 1e-9,
        total * 1e3,
        3.0 * flops / total * 1e-9,
    );
}

/// What the `gemm` crate reaches on the products of one chunk's size, with both operands warm.
fn bound(d: usize, rows: usize) {
    let (k, n) = (d, 4 * d);
    let (a, b) = (vec![1.0f32; rows * k], vec![1.0f32; k * n]);
    let mut c = vec![0.0f32; rows * n];
    let mut best = f64::INFINITY;
    for _ in 0..30 {
        let start = Instant::now();
        // SAFETY: the three slices have the sizes and strides given.
        #[allow(unsafe_code)]
        unsafe {
            gemm::gemm(
                rows,
                n,
                k,
                c.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                1,
                k as isize,
                b.as_ptr(),
                1,
                n as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(0),
            );
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!(
        "gemm alone, {rows} x {k} x {n}: {:.0} GFLOP/s",
        2.0 * (rows * k * n) as f64 / best * 1e-9
    );
}

fn main() {
    bound(64, 2048);
    bound(256, 2048);
    for precision in [Precision::F32, Precision::Bf16] {
        println!("{precision}");
        with_precision(precision, || {
            measure(64, [64, 32], 4, 40, false, None);
            measure(64, [64, 32], 4, 40, false, Some(0.1));
            measure(256, [32, 64], 4, 6, false, None);
            measure(256, [32, 64], 4, 6, false, Some(0.1));
            measure(64, [8, 10], 4, 40, false, None);
            measure(64, [16, 300], 1, 20, false, None);
            measure(64, [16, 300], 1, 20, true, None);
            measure(256, [8, 500], 1, 6, false, None);
            measure(256, [8, 500], 1, 6, true, None);
        });
    }
}
