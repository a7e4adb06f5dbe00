//! A layer's sizes and settings, and its parameters as leaves of a graph.

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use relay_kernels::{
    DropoutMask, LayerDropout, LayerParams, LayerSpec, Precision, layer, prepare_layer,
    prepared_layer, with_precision,
};

use crate::numbers::{floats, leaf, noise, tensor};

#[derive(Debug, Clone)]
pub struct Case {
    pub batch: usize,
    pub width: usize,
    pub d: usize,
    pub heads: usize,
    pub m: usize,
    pub causal: bool,
    pub rope: bool,
    pub slopes: Vec<f32>,
    pub pads: Vec<usize>,
    pub dropout: Option<LayerDropout>,
    pub precision: Precision,
}

impl Case {
    pub fn new(batch: usize, width: usize) -> Self {
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
            precision: Precision::Bf16,
        }
    }

    pub fn within(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    pub fn padded(self) -> Self {
        let pads = (0..self.batch).map(|sample| sample * 7 % self.width);
        Self {
            pads: pads.collect(),
            ..self
        }
    }

    pub fn dropping(self, rate: f32) -> Self {
        let mask = |place| DropoutMask::new(&[self.width as u64, place], rate);
        let dropout = Some(LayerDropout {
            probabilities: mask(0),
            attention: mask(1),
            mlp: mask(2),
        });
        Self { dropout, ..self }
    }

    pub fn spec(&self) -> LayerSpec<'_> {
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
    pub fn data(&self, seed: u64) -> Vec<Vec<f32>> {
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
pub struct Leaves<B: AutodiffBackend> {
    pub x: Tensor<B, 3>,
    pub vectors: [Tensor<B, 1>; 6],
    pub matrices: [Tensor<B, 2>; 6],
}

impl<B: AutodiffBackend> Leaves<B> {
    pub fn new(case: &Case, data: &[Vec<f32>]) -> Self {
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

    pub fn params(&self) -> LayerParams<'_, B> {
        params(&self.vectors, &self.matrices)
    }

    pub fn layer(&self, case: &Case) -> Tensor<B, 3> {
        with_precision(case.precision, || {
            layer(&self.x, self.params(), &case.spec())
        })
        .expect("a kernel for this case")
    }

    /// The layer applied so often, prepared once where it can be.
    pub fn looped(&self, case: &Case, iterations: usize) -> Tensor<B, 3> {
        let spec = case.spec();
        with_precision(case.precision, || {
            let prepared = prepare_layer(self.params(), case.heads);
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
    pub fn run(&self, case: &Case) -> Vec<(&'static str, Vec<f32>)> {
        self.results(case, self.layer(case))
    }

    pub fn results(&self, case: &Case, out: Tensor<B, 3>) -> Vec<(&'static str, Vec<f32>)> {
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

/// A layer's parameters of its vectors and matrices.
pub fn params<'a, B: Backend>(
    vectors: &'a [Tensor<B, 1>; 6],
    matrices: &'a [Tensor<B, 2>; 6],
) -> LayerParams<'a, B> {
    let [gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias] = vectors;
    let [query, key, value, output, up, down] = matrices;
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
