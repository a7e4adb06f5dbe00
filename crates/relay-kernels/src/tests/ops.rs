//! The public functions against ordinary ops of burn.

use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::Param;
use burn::tensor::activation::{gelu, log_softmax, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::{Case, SWITCH, assert_close, doubles, noise};
use crate::{DropoutMask, LayerParams, LayerSpec, cross_entropy, layer};

pub(super) type Tracked = Autodiff<Flex>;

pub(super) struct Inputs<B: Backend> {
    pub x: Tensor<B, 3>,
    vectors: Vec<Tensor<B, 1>>,
    pub matrices: Vec<Tensor<B, 2>>,
}

impl<B: Backend> Inputs<B> {
    pub fn new(case: &Case, t: &[Vec<f32>]) -> Self {
        let device = B::Device::default();
        let (d, m) = (case.d, case.m);
        let vector =
            |i: usize| Tensor::from_data(TensorData::new(t[i].clone(), [t[i].len()]), &device);
        let matrix = |(i, shape): (usize, [usize; 2])| {
            Param::from_tensor(Tensor::from_data(
                TensorData::new(t[i].clone(), shape),
                &device,
            ))
            .val()
        };
        let matrices = [
            (3, [d, d]),
            (4, [d, d]),
            (5, [d, d]),
            (6, [d, d]),
            (9, [d, m]),
            (11, [m, d]),
        ];
        Self {
            x: Tensor::from_data(
                TensorData::new(t[0].clone(), [case.batch, case.width, d]),
                &device,
            ),
            vectors: [1, 2, 7, 8, 10, 12].map(vector).to_vec(),
            matrices: matrices.map(matrix).to_vec(),
        }
    }

    pub fn params(&self) -> LayerParams<'_, B> {
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

pub(super) fn spec(case: &Case) -> LayerSpec<'_> {
    LayerSpec {
        heads: case.heads,
        causal: case.causal,
        pads: &case.pads,
        rope: case.rope,
        rope_base: 10_000.0,
        slopes: &case.slopes,
        dropout: case.dropout,
        epsilon: 1e-5,
    }
}

/// The layer of ordinary ops.
fn ordinary<B: Backend>(case: &Case, x: &Tensor<B, 3>, inputs: &Inputs<B>) -> Tensor<B, 3> {
    let (rows, hd) = (case.batch * case.width, case.d / case.heads);
    let device = x.device();
    let norm = |x: Tensor<B, 2>, i: usize| {
        let centred = x.clone() - x.mean_dim(1);
        let variance = centred.clone().powi_scalar(2).mean_dim(1);
        centred / (variance + 1e-5).sqrt() * inputs.vectors[i].clone().unsqueeze()
            + inputs.vectors[i + 1].clone().unsqueeze()
    };
    let angles: Vec<f32> = (0..case.width)
        .flat_map(|n| {
            (0..hd).map(move |i| {
                n as f32 * 10_000f32.powf(-2.0 * (i % (hd / 2).max(1)) as f32 / hd as f32)
            })
        })
        .collect();
    let angles = Tensor::<B, 2>::from_data(TensorData::new(angles, [case.width, hd]), &device)
        .unsqueeze::<4>();
    let rotate = |x: Tensor<B, 4>| {
        if !case.rope {
            return x;
        }
        let halves = x.clone().split(hd / 2, 3);
        let turned = Tensor::cat(vec![-halves[1].clone(), halves[0].clone()], 3);
        x * angles.clone().cos() + turned * angles.clone().sin()
    };
    let split = |x: Tensor<B, 2>| {
        x.reshape([case.batch, case.width, case.heads, hd])
            .swap_dims(1, 2)
    };
    let mut mask = vec![0.0f32; case.batch * case.heads * case.width * case.width];
    let mut seeing = vec![1.0f32; rows];
    for (b, i) in (0..case.batch).flat_map(|b| (0..case.width).map(move |i| (b, i))) {
        for (j, h) in (0..case.width).flat_map(|j| (0..case.heads).map(move |h| (j, h))) {
            let hidden = j < case.pads[b] || case.causal && j > i;
            let slope = case.slopes.get(h).copied().unwrap_or_default();
            mask[((b * case.heads + h) * case.width + i) * case.width + j] = if hidden {
                -1e9
            } else {
                -slope * i.abs_diff(j) as f32
            };
        }
        if case.pads[b] >= if case.causal { i + 1 } else { case.width } {
            seeing[b * case.width + i] = 0.0;
        }
    }
    let mask = Tensor::<B, 4>::from_data(
        TensorData::new(mask, [case.batch, case.heads, case.width, case.width]),
        &device,
    );
    let seeing = Tensor::<B, 2>::from_data(TensorData::new(seeing, [rows, 1]), &device);

    let x = x.clone().reshape([rows, case.d]);
    let h = norm(x.clone(), 0);
    let [q, k, v] = [0, 1, 2].map(|i: usize| split(h.clone().matmul(inputs.matrices[i].clone())));
    let scores = rotate(q).matmul(rotate(k).swap_dims(2, 3)) / (hd as f32).sqrt() + mask;
    let dropped = |mask: Option<DropoutMask>, x: Tensor<B, 2>| {
        let Some(mask) = mask else { return x };
        let shape = x.dims();
        x * Tensor::from_data(
            TensorData::new(mask.factors(shape[0] * shape[1]), shape),
            &device,
        )
    };
    let [probabilities, attention, mlp] = case.dropout.map_or([None; 3], |dropout| {
        [dropout.probabilities, dropout.attention, dropout.mlp].map(Some)
    });
    let flat = [case.batch * case.heads * case.width, case.width];
    let attended = dropped(probabilities, softmax(scores, 3).reshape(flat))
        .reshape([case.batch, case.heads, case.width, case.width])
        .matmul(v)
        .swap_dims(1, 2)
        .reshape([rows, case.d])
        * seeing;
    let x = x + dropped(attention, attended.matmul(inputs.matrices[3].clone()));
    let h = norm(x.clone(), 2).matmul(inputs.matrices[4].clone())
        + inputs.vectors[4].clone().unsqueeze();
    let h = gelu(h).matmul(inputs.matrices[5].clone()) + inputs.vectors[5].clone().unsqueeze();
    (x + dropped(mlp, h)).reshape([case.batch, case.width, case.d])
}

pub(super) fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

impl Inputs<Tracked> {
    /// Inputs that are recorded.
    pub fn recorded(case: &Case, t: &[Vec<f32>]) -> Self {
        let Self {
            x,
            vectors,
            matrices,
        } = Self::new(case, t);
        Self {
            x: x.require_grad(),
            vectors: vectors.into_iter().map(Tensor::require_grad).collect(),
            matrices: matrices.into_iter().map(Tensor::require_grad).collect(),
        }
    }

    /// The gradients of input, vectors and matrices from that of what came of them.
    pub fn gradients(&self, out: Tensor<Tracked, 3>, grad: Vec<f32>) -> Vec<Vec<f32>> {
        let grad = Tensor::from_data(TensorData::new(grad, out.dims()), &Default::default());
        let graph = (out * grad).sum().backward();
        let mut all = vec![floats(self.x.grad(&graph).unwrap())];
        let vectors = self.vectors.iter();
        all.extend(vectors.map(|v| floats(v.grad(&graph).unwrap())));
        let matrices = self.matrices.iter();
        all.extend(matrices.map(|m| floats(m.grad(&graph).unwrap())));
        all
    }
}

/// Output and gradients of `times` applications with the same parameters.
fn gradients(case: &Case, seed: u64, times: usize, fused: bool) -> (Vec<f32>, Vec<Vec<f32>>) {
    let (t, grad) = case.tensors(seed);
    let inputs = Inputs::recorded(case, &t);
    let mut x = inputs.x.clone();
    for _ in 0..times {
        x = if fused {
            layer(&x, inputs.params(), &spec(case)).unwrap()
        } else {
            ordinary(case, &x, &inputs)
        };
    }
    (floats(x.clone()), inputs.gradients(x, grad))
}

#[test]
fn layer_agrees_with_ordinary_ops() {
    let _on = SWITCH.lock();
    let cases: Vec<_> = Case::small().into_iter().chain(Case::large()).collect();
    for (index, case) in cases.iter().enumerate() {
        let times = [1, 3, 12][index % 3];
        let (out, all) = gradients(case, index as u64, times, true);
        let (expected, expected_all) = gradients(case, index as u64, times, false);
        assert_close(&format!("{case:?}"), &out, &doubles(&expected), 1e-4);
        for (index, (found, expected)) in all.iter().zip(&expected_all).enumerate() {
            assert_close(
                &format!("{case:?} x{times} gradient {index}"),
                found,
                &doubles(expected),
                1e-3,
            );
        }
    }
}

#[test]
fn inference_gives_what_training_gives() {
    let _on = SWITCH.lock();
    for case in Case::small() {
        let (t, _) = case.tensors(3);
        let plain = Inputs::<Flex>::new(&case, &t);
        let tracked = Inputs::<Tracked>::new(&case, &t);
        let plain = floats(layer(&plain.x, plain.params(), &spec(&case)).unwrap());
        assert_eq!(
            plain,
            floats(layer(&tracked.x, tracked.params(), &spec(&case)).unwrap())
        );
    }
}

#[test]
fn changed_weights_are_packed_again() {
    let _on = SWITCH.lock();
    let case = &Case::small()[0];
    let (t, _) = case.tensors(3);
    let mut inputs = Inputs::<Flex>::new(case, &t);
    let first = floats(layer(&inputs.x, inputs.params(), &spec(case)).unwrap());
    // The only handle moves into the op, which could then write in place.
    let up = inputs.matrices.remove(4).mul_scalar(2.0);
    inputs.matrices.insert(4, up);
    let second = floats(layer(&inputs.x, inputs.params(), &spec(case)).unwrap());
    assert_ne!(first, second);
}

#[test]
fn others_are_left_to_ordinary_ops() {
    let _alone = SWITCH.lock();
    let case = &Case::small()[0];
    let (t, _) = case.tensors(3);
    let inputs = Inputs::<NdArray>::new(case, &t);
    assert!(layer(&inputs.x, inputs.params(), &spec(case)).is_none());
    let inputs = Inputs::<Tracked>::new(case, &t);
    crate::set_enabled(false);
    let off = layer(&inputs.x, inputs.params(), &spec(case)).is_none();
    crate::set_enabled(true);
    assert!(off && crate::enabled());
}

#[test]
fn cross_entropy_agrees_with_ordinary_ops() {
    let _on = SWITCH.lock();
    for (rows, vocab) in [(1, 1), (3, 2), (70, 33), (130, 300), (5, 16)] {
        let device = Default::default();
        let logits = noise(5, rows * vocab)
            .iter()
            .map(|x| x * 9.0)
            .collect::<Vec<_>>();
        let logits = || {
            Tensor::<Tracked, 2>::from_data(TensorData::new(logits.clone(), [rows, vocab]), &device)
                .require_grad()
        };
        let weights: Vec<f32> = noise(6, rows).iter().map(|w| w.max(0.0)).collect();
        let targets: Vec<i32> = (0..rows).map(|row| (row * 7 % vocab) as i32).collect();

        let ours = logits();
        let loss = cross_entropy(&ours, &targets, &weights).unwrap() * 0.5;
        let graph = loss.backward();

        let theirs = logits();
        let index =
            Tensor::<Tracked, 1, Int>::from_ints(targets.as_slice(), &device).reshape([rows, 1]);
        let chosen = log_softmax(theirs.clone(), 1)
            .gather(1, index)
            .reshape([rows]);
        let expected = (chosen * Tensor::from_floats(weights.as_slice(), &device)).sum() * -0.5;
        let expected_graph = expected.backward();

        let (loss, expected) = (loss.into_scalar(), expected.into_scalar());
        assert!(
            (loss - expected).abs() <= 1e-5 * expected.abs() + 1e-6,
            "{loss} {expected}"
        );
        let expected = floats(theirs.grad(&expected_graph).unwrap());
        let expected: Vec<f64> = expected.iter().copied().map(f64::from).collect();
        assert_close(
            "gradient",
            &floats(ours.grad(&graph).unwrap()),
            &expected,
            1e-5,
        );

        let plain = Tensor::<Flex, 2>::from_data(theirs.into_data(), &device);
        assert_eq!(
            cross_entropy(&plain, &targets, &weights)
                .unwrap()
                .into_scalar()
                * 0.5,
            loss
        );
    }
}

#[test]
fn rows_without_weight_may_have_any_target() {
    let _on = SWITCH.lock();
    let logits = Tensor::<Flex, 2>::zeros([2, 4], &Default::default());
    let loss = cross_entropy(&logits, &[-1, 2], &[0.0, 1.0])
        .unwrap()
        .into_scalar();
    assert!((loss - 4f32.ln()).abs() < 1e-6);
}
