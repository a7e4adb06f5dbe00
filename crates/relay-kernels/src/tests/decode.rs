//! Decoding against a plain implementation in f64 that reads the whole text, and against itself.

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;

use super::{Case, assert_same_on_threads, doubles, noise, reference};
use crate::greedy::ReadoutParams;
use crate::isa::Isa;
use crate::pool::Buffer;
use crate::{Decoder, DecoderSpec, LayerParams, Written};

/// A model in plain floats.
struct Model {
    case: Case,
    vocab: usize,
    /// As [`Case::tensors`] gives them; the input is not used.
    layers: Vec<Vec<Vec<f32>>>,
    embedding: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    head: Vec<f32>,
    bias: Vec<f32>,
}

fn tensor<const D: usize>(data: &[f32], shape: [usize; D]) -> Tensor<Flex, D> {
    Tensor::from_data(TensorData::new(data.to_vec(), shape), &Default::default())
}

impl Model {
    fn new([d, heads, layers, vocab]: [usize; 4], rope: bool) -> Self {
        let case = Case {
            batch: 1,
            width: 1,
            d,
            m: 3 * d,
            heads,
            causal: true,
            rope,
            slopes: Vec::new(),
            pads: vec![0],
            dropout: None,
        };
        let seed = (d * 100 + vocab) as u64;
        Self {
            layers: (0..layers)
                .map(|layer| case.tensors(seed + 50 * layer as u64).0)
                .collect(),
            embedding: noise(seed + 1, vocab * d),
            gamma: noise(seed + 2, d).iter().map(|x| 1.0 + 0.2 * x).collect(),
            beta: noise(seed + 3, d).iter().map(|x| 0.2 * x).collect(),
            head: noise(seed + 4, d * vocab).iter().map(|x| 0.5 * x).collect(),
            bias: noise(seed + 5, vocab),
            case,
            vocab,
        }
    }

    fn decoder(&self, isa: Isa) -> Decoder {
        let (d, m) = (self.case.d, self.case.m);
        let readout = ReadoutParams {
            norm: Some([&tensor(&self.gamma, [d]), &tensor(&self.beta, [d])]),
            weight: &tensor(&self.head, [d, self.vocab]),
            bias: &tensor(&self.bias, [self.vocab]),
            epsilon: 1e-5,
        };
        let spec = DecoderSpec {
            heads: self.case.heads,
            rope: self.case.rope,
            rope_base: 10_000.0,
            epsilon: 1e-5,
        };
        let embedding = tensor(&self.embedding, [self.vocab, d]);
        let decoder = Decoder::on(isa, &embedding, readout, &spec).unwrap();
        self.layers.iter().fold(decoder, |decoder, t| {
            let params = LayerParams {
                norm_attention_gamma: &tensor(&t[1], [d]),
                norm_attention_beta: &tensor(&t[2], [d]),
                query: &tensor(&t[3], [d, d]),
                key: &tensor(&t[4], [d, d]),
                value: &tensor(&t[5], [d, d]),
                output: &tensor(&t[6], [d, d]),
                norm_mlp_gamma: &tensor(&t[7], [d]),
                norm_mlp_beta: &tensor(&t[8], [d]),
                up: &tensor(&t[9], [d, m]),
                up_bias: &tensor(&t[10], [m]),
                down: &tensor(&t[11], [m, d]),
                down_bias: &tensor(&t[12], [d]),
            };
            decoder.layer(params).unwrap()
        })
    }

    /// Logits after each token of a text.
    fn logits(&self, text: &[u32]) -> Vec<Vec<f64>> {
        let d = self.case.d;
        let case = Case {
            width: text.len(),
            ..self.case.clone()
        };
        let rows = text
            .iter()
            .flat_map(|token| &self.embedding[*token as usize * d..][..d]);
        let mut x: Vec<f64> = rows.copied().map(f64::from).collect();
        for layer in &self.layers {
            let mut t: Vec<_> = layer.iter().map(|t| doubles(t)).collect();
            t[0] = x;
            x = reference::forward(&case, &t);
        }
        let x = reference::norm(&x, &doubles(&self.gamma), &doubles(&self.beta));
        let logits = reference::matmul(&x, &doubles(&self.head), d);
        let bias = doubles(&self.bias);
        let rows = logits.chunks_exact(self.vocab);
        rows.map(|row| row.iter().zip(&bias).map(|(x, bias)| x + bias).collect())
            .collect()
    }

    /// Asserts that each token was the most probable one, and as probable as is said.
    fn check(&self, what: &str, prompt: &[u32], written: &Written) {
        let text = [prompt, &written.tokens].concat();
        let logits = self.logits(&text);
        let tokens = written.tokens.iter().zip(&written.probabilities);
        for (index, (token, probability)) in tokens.enumerate() {
            let row = &logits[prompt.len() - 1 + index];
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
            let chosen = row[*token as usize];
            assert!(most - chosen < 1e-4, "{what} {index}: {chosen} of {most}");
            assert!(
                (f64::from(*probability) - sum.recip()).abs() < 1e-4,
                "{what} {index}: {probability} instead of {}",
                sum.recip()
            );
        }
    }

    fn prompts(&self) -> Vec<Vec<u32>> {
        let token = |at: usize| ((at * at * 7 + at * 3) % self.vocab) as u32;
        // More than a pass takes at once, and more than a page holds.
        let lengths = [1, 6, 2, 70, 1, 133, 3, 64];
        let prompts = lengths.iter().enumerate();
        prompts
            .map(|(text, length)| (0..*length).map(|at| token(text + at)).collect())
            .collect()
    }

    /// No token ends a text.
    fn free(&self) -> u32 {
        self.vocab as u32
    }
}

const LIMITS: [usize; 8] = [70, 0, 9, 3, 1, 2, 130, 66];

/// Width, heads, layers and vocabulary: whole and broken vectors, from one vector a head to more than four.
fn models() -> Vec<Model> {
    let shapes = [
        ([8, 2, 2, 11], true),
        ([6, 3, 1, 3], true),
        ([12, 1, 3, 40], true),
        ([5, 1, 2, 7], false),
        ([7, 7, 1, 20], false),
        ([64, 4, 2, 64], true),
        ([96, 3, 1, 300], true),
        ([144, 3, 1, 33], false),
        ([200, 2, 1, 17], true),
    ];
    let models = shapes.into_iter();
    models
        .map(|(shape, rope)| Model::new(shape, rope))
        .collect()
}

#[test]
fn agrees_with_reading_the_whole_text() {
    for model in models() {
        let prompts = model.prompts();
        for isa in Isa::available() {
            let written = model.decoder(isa).generate(&prompts, model.free(), &LIMITS);
            for (text, written) in written.iter().enumerate() {
                let what = format!("{:?} {isa:?} text {text}", model.case);
                assert_eq!(written.tokens.len(), LIMITS[text], "{what}");
                assert!(!written.ended);
                model.check(&what, &prompts[text], written);
            }
        }
    }
}

#[test]
fn is_the_same_alone_and_in_any_batch() {
    for model in models() {
        let (decoder, prompts) = (model.decoder(Isa::best()), model.prompts());
        let together = decoder.generate(&prompts, model.free(), &LIMITS);
        for text in 0..prompts.len() {
            let range = text..text + 1;
            let alone = decoder.generate(
                &prompts[range.clone()],
                model.free(),
                &LIMITS[range.clone()],
            );
            assert_eq!(alone, together[range], "{:?} text {text}", model.case);
        }
    }
}

#[test]
fn is_the_same_on_any_number_of_threads() {
    for model in models() {
        let decoder = model.decoder(Isa::best());
        // More texts than slots.
        let prompts = [model.prompts(), model.prompts(), model.prompts()].concat();
        let limits = [LIMITS, LIMITS, LIMITS].concat();
        assert_same_on_threads(|| decoder.generate(&prompts, model.free(), &limits));
    }
}

#[test]
fn writing_on_is_reading_again() {
    for model in models() {
        let (decoder, prompts) = (model.decoder(Isa::best()), model.prompts());
        let all = decoder.generate(&prompts, model.free(), &LIMITS);
        for ((prompt, written), limit) in prompts.iter().zip(&all).zip(LIMITS) {
            for done in [1, limit / 2, limit - limit.min(1)] {
                if done >= limit {
                    continue;
                }
                let text = [&prompt[..], &written.tokens[..done]].concat();
                let rest = &decoder.generate(&[text], model.free(), &[limit - done])[0];
                assert_eq!(rest.tokens, written.tokens[done..]);
                assert_eq!(rest.probabilities, written.probabilities[done..]);
            }
        }
    }
}

#[test]
fn texts_end_at_the_end_token() {
    for model in models() {
        let (decoder, prompts) = (model.decoder(Isa::best()), model.prompts());
        let free = decoder.generate(&prompts, model.free(), &LIMITS);
        let end = free[6].tokens[LIMITS[6] / 2];
        let stopped = decoder.generate(&prompts, end, &LIMITS);
        for (free, stopped) in free.iter().zip(&stopped) {
            let before = free.tokens.iter().position(|token| *token == end);
            let length = before.unwrap_or(free.tokens.len());
            assert_eq!(stopped.tokens, free.tokens[..length]);
            assert_eq!(stopped.probabilities, free.probabilities[..length]);
            assert_eq!(stopped.ended, before.is_some());
        }
        assert!(stopped[6].ended);
    }
}

#[test]
fn limits_may_be_beyond_all_memory() {
    let model = Model::new([8, 2, 2, 11], true);
    let decoder = model.decoder(Isa::best());
    let free = decoder.generate(&[vec![3, 1]], model.free(), &[1100]);
    let end = free[0].tokens[0];
    let stopped = decoder.generate(&[vec![3, 1]], end, &[usize::MAX]);
    assert!(stopped[0].ended && stopped[0].tokens.is_empty());
    model.check("long", &[3, 1], &free[0]);
    assert_eq!(decoder.generate(&[], end, &[]), vec![]);
}

#[test]
fn old_memory_does_not_matter() {
    let model = Model::new([20, 2, 1, 11], true);
    let (decoder, prompts) = (model.decoder(Isa::best()), model.prompts());
    let expected = decoder.generate(&prompts, model.free(), &LIMITS);
    let mut buffers: Vec<_> = (0..40)
        .flat_map(|_| [20, 64, 128, 1300, 2560, 5376, 4000].map(Buffer::take))
        .collect();
    buffers.iter_mut().for_each(|buffer| buffer.fill(f32::NAN));
    drop(buffers);
    assert_eq!(decoder.generate(&prompts, model.free(), &LIMITS), expected);
}

#[test]
fn tokens_that_cannot_be_read_are_not_chosen_from() {
    let spec = DecoderSpec {
        heads: 1,
        rope: true,
        rope_base: 10_000.0,
        epsilon: 1e-5,
    };
    let with = |embedded: usize, chosen: usize| {
        let readout = ReadoutParams {
            norm: None,
            weight: &tensor(&noise(1, 4 * chosen), [4, chosen]),
            bias: &tensor(&noise(2, chosen), [chosen]),
            epsilon: 1e-5,
        };
        let embedding = tensor(&noise(3, 4 * embedded), [embedded, 4]);
        Decoder::on(Isa::best(), &embedding, readout, &spec)
    };
    assert!(with(5, 6).is_none());
    assert!(with(5, 5).is_some() && with(6, 5).is_some());
}

#[test]
fn what_is_no_number_is_no_token() {
    let mut model = Model::new([8, 2, 1, 11], true);
    model.embedding[3 * 8] = f32::NAN;
    let written =
        model
            .decoder(Isa::best())
            .generate(&[vec![1, 3], vec![1]], model.free(), &[2, 2]);
    assert_eq!(written[0].tokens, [0, 0]);
    assert_eq!(written[0].probabilities, [0.0, 0.0]);
    assert!(written[1].probabilities[0] > 0.0);
}
