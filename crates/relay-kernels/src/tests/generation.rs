//! The public functions of generation against ordinary ops of burn.

use burn::backend::{Autodiff, Flex, NdArray};
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::SWITCH;
use super::noise;
use super::ops::floats;
use crate::{Decoder, DecoderSpec, ReadoutParams, greedy};

/// Norm, head and bias for states of width `d`.
fn readout<B: Backend>(d: usize, vocab: usize) -> ([Tensor<B, 1>; 3], Tensor<B, 2>) {
    let device = Default::default();
    let vector = |seed, len| Tensor::from_data(TensorData::new(noise(seed, len), [len]), &device);
    let head = TensorData::new(noise(4, d * vocab), [d, vocab]);
    (
        [vector(1, d), vector(2, d), vector(3, vocab)],
        Tensor::from_data(head, &device),
    )
}

fn readout_params<'a, B: Backend>(
    (vectors, weight): &'a ([Tensor<B, 1>; 3], Tensor<B, 2>),
    norm: bool,
) -> ReadoutParams<'a, B> {
    ReadoutParams {
        norm: norm.then_some([&vectors[0], &vectors[1]]),
        weight,
        bias: &vectors[2],
        epsilon: 1e-5,
    }
}

#[test]
fn greedy_agrees_with_ordinary_ops() {
    let _on = SWITCH.lock();
    for (rows, d, vocab) in [(1, 1, 1), (3, 5, 2), (70, 20, 33), (130, 64, 300)] {
        for normed in [false, true] {
            let parameters = readout::<Flex>(d, vocab);
            let states = TensorData::new(noise(9, rows * d), [rows, d]);
            let states = Tensor::<Flex, 2>::from_data(states, &Default::default());
            let chosen = greedy(&states, readout_params(&parameters, normed));
            let chosen = chosen.unwrap().read();

            let (vectors, weight) = parameters;
            let [gamma, beta, bias] = vectors.map(|vector| vector.unsqueeze::<2>());
            let normal = if normed {
                let centred = states.clone() - states.mean_dim(1);
                let variance = centred.clone().powi_scalar(2).mean_dim(1);
                centred / (variance + 1e-5).sqrt() * gamma + beta
            } else {
                states
            };
            let expected = softmax(normal.matmul(weight) + bias, 1);
            let tokens: Vec<i32> = expected.clone().argmax(1).into_data().to_vec().unwrap();
            let probabilities = floats(expected.max_dim(1));
            for (row, (token, probability)) in chosen.iter().enumerate() {
                assert_eq!(*token as i32, tokens[row]);
                assert!((probability - probabilities[row]).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn generation_is_left_to_ordinary_ops_elsewhere() {
    fn offers<B: Backend>() -> [bool; 2] {
        let parameters = readout::<B>(8, 5);
        let states = Tensor::<B, 2>::zeros([5, 8], &Default::default());
        let spec = DecoderSpec {
            heads: 2,
            rope: true,
            rope_base: 1e4,
            epsilon: 1e-5,
        };
        let params = || readout_params(&parameters, true);
        [
            greedy(&states, params()).is_some(),
            Decoder::new(&states, params(), &spec).is_some(),
        ]
    }
    let _alone = SWITCH.lock();
    assert_eq!(offers::<NdArray>(), [false; 2]);
    assert_eq!(offers::<Autodiff<Flex>>(), [false; 2]);
    assert_eq!(offers::<Flex>(), [true; 2]);
    crate::set_enabled(false);
    let off = offers::<Flex>();
    crate::set_enabled(true);
    assert_eq!(off, [false; 2]);
}
