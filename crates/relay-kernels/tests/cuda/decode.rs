//! Generation of texts.

use std::time::Instant;

use burn::backend::{Autodiff, Cuda, Flex};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use relay_kernels::{Decoder, DecoderSpec, Precision, ReadoutParams, Written, with_precision};

use crate::case::{Case, Leaves};
use crate::numbers::{noise, tensor};

/// How far probabilities of both may be apart: one is of f32, the other of bf16.
const NEAR: f32 = 0.05;

/// The sizes of a model.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    d: usize,
    heads: usize,
    m: usize,
    layers: usize,
    vocab: usize,
    rope: bool,
    norm: bool,
}

fn decoder<B: Backend>(sizes: Sizes) -> Option<Decoder> {
    decoder_in::<B>(Precision::Bf16, sizes)
}

fn decoder_in<B: Backend>(precision: Precision, sizes: Sizes) -> Option<Decoder> {
    let Sizes { d, vocab, .. } = sizes;
    let vector = |seed, len| -> Tensor<B, 1> { tensor(&noise(seed, len), [len]) };
    let embedding: Tensor<B, 2> = tensor(&noise(71, vocab * d), [vocab, d]);
    let weight: Vec<f32> = noise(72, d * vocab).iter().map(|x| 0.2 * x).collect();
    let weight = tensor(&weight, [d, vocab]);
    let norm = [vector(73, d), vector(74, d)];
    let readout = ReadoutParams {
        norm: sizes.norm.then(|| norm.each_ref()),
        weight: &weight,
        bias: &vector(75, vocab),
        epsilon: 1e-5,
    };
    let spec = DecoderSpec {
        heads: sizes.heads,
        rope: sizes.rope,
        rope_base: 10_000.0,
        epsilon: 1e-5,
    };
    let case = Case {
        d,
        heads: sizes.heads,
        m: sizes.m,
        ..Case::new(1, 1)
    };
    with_precision(precision, || {
        let decoder = Decoder::new(&embedding, readout, &spec);
        (0..sizes.layers as u64).fold(decoder, |decoder, layer| {
            let leaves = Leaves::<Autodiff<B>>::new(&case, &case.data(100 * layer));
            let vectors = leaves.vectors.map(Tensor::inner);
            let matrices = leaves.matrices.map(Tensor::inner);
            decoder?.layer(crate::case::params(&vectors, &matrices))
        })
    })
}

fn prompts(count: usize, vocab: usize) -> Vec<Vec<u32>> {
    let token = |at: usize| ((at * at * 7 + at * 3) % vocab) as u32;
    let prompt = |text: usize| (0..1 + text * 13 % 70).map(|at| token(text + at)).collect();
    (0..count).map(prompt).collect()
}

/// Both say the same up to where two tokens are nearly as probable; gives the place of the first other token, behind which the
/// texts are others.
fn check(what: &str, found: &Written, expected: &Written) -> Option<usize> {
    let pairs = found.probabilities.iter().zip(&expected.probabilities);
    for (at, (a, b)) in pairs.enumerate() {
        assert!(
            (a - b).abs() < NEAR,
            "{what} {at}: probability {a} instead of {b}"
        );
        if found.tokens[at] != expected.tokens[at] {
            assert!(
                *b < 0.5 + NEAR,
                "{what} {at}: another token than one of {b}"
            );
            return Some(at);
        }
    }
    assert_eq!(found.tokens.len(), expected.tokens.len(), "{what}");
    None
}

/// Both say the same to the end of every text: where another token was as good, both go on from the one that was expected.
fn agree(
    what: &str,
    [gpu, cpu]: [&Decoder; 2],
    prompts: Vec<Vec<u32>>,
    limits: Vec<usize>,
    end: u32,
) {
    let mut texts: Vec<_> = (0..).zip(prompts).zip(limits).collect();
    while !texts.is_empty() {
        let (numbered, limits): (Vec<(usize, Vec<u32>)>, Vec<usize>) = texts.into_iter().unzip();
        let prompts: Vec<Vec<u32>> = numbered.iter().map(|(_, prompt)| prompt.clone()).collect();
        let [found, expected] = [gpu, cpu].map(|decoder| decoder.generate(&prompts, end, &limits));
        let pairs = found.iter().zip(&expected);
        type Text = ((usize, Vec<u32>), usize);
        let rest = |text: Text, (found, expected): (&Written, &Written)| {
            let ((number, mut prompt), limit) = text;
            let at = check(&format!("{what} text {number}"), found, expected)?;
            prompt.extend(&expected.tokens[..=at]);
            Some(((number, prompt), limit - at - 1))
        };
        texts = numbered
            .into_iter()
            .zip(limits)
            .zip(pairs)
            .filter_map(|(text, pair)| rest(text, pair))
            .collect();
    }
}

const MODELS: [Sizes; 3] = [
    Sizes {
        d: 256,
        heads: 4,
        m: 1024,
        layers: 3,
        vocab: 300,
        rope: true,
        norm: true,
    },
    Sizes {
        d: 128,
        heads: 4,
        m: 192,
        layers: 2,
        vocab: 40,
        rope: false,
        norm: false,
    },
    Sizes {
        d: 192,
        heads: 3,
        m: 1216,
        layers: 1,
        vocab: 1100,
        rope: true,
        norm: true,
    },
];

#[test]
fn there_is_none_in_f32() {
    assert!(decoder_in::<Cuda>(Precision::F32, MODELS[0]).is_none());
}

#[test]
fn texts_agree() {
    for sizes in MODELS {
        let (gpu, cpu) = (
            decoder::<Cuda>(sizes).unwrap(),
            decoder::<Flex>(sizes).unwrap(),
        );
        for count in [3, 40, 300] {
            let prompts = prompts(count, sizes.vocab);
            let limits: Vec<usize> = (0..count).map(|text| text * 17 % 90).collect();
            let end = sizes.vocab as u32;
            let what = format!("{sizes:?}, {count} texts:");
            agree(&what, [&gpu, &cpu], prompts, limits, end);
        }
    }
}

#[test]
fn company_and_ends_do_not_matter() {
    let sizes = MODELS[0];
    let decoder = decoder::<Cuda>(sizes).unwrap();
    let prompts = prompts(200, sizes.vocab);
    let free = decoder.generate(&prompts, 300, &[80; 200]);
    for text in [0, 57, 199] {
        let alone = decoder.generate(&prompts[text..=text], 300, &[80]);
        assert_eq!(alone[0], free[text]);
    }
    let end = free[5].tokens[40];
    let stopped = decoder.generate(&prompts, end, &[80; 200]);
    for (free, stopped) in free.iter().zip(&stopped) {
        let before = free.tokens.iter().position(|token| *token == end);
        let length = before.unwrap_or(80);
        assert_eq!(stopped.tokens, free.tokens[..length]);
        assert_eq!(stopped.probabilities, free.probabilities[..length]);
        assert_eq!(stopped.ended, before.is_some());
    }
}

#[test]
fn limits_may_be_beyond_all_memory() {
    let sizes = MODELS[1];
    let decoder = decoder::<Cuda>(sizes).unwrap();
    let free = decoder.generate(&[vec![3, 1]], 40, &[4200]);
    // Beyond what there is room for at first, a text is read again.
    assert_eq!(free[0].tokens.len(), 4200);
    let end = free[0].tokens[0];
    let stopped = decoder.generate(&[vec![3, 1]], end, &[usize::MAX]);
    assert!(stopped[0].ended && stopped[0].tokens.is_empty());
    assert_eq!(decoder.generate(&[], end, &[]), vec![]);
}

/// Prints how long a token of all texts takes.
#[test]
#[ignore = "measures and checks nothing: --ignored --nocapture, on a device that nobody else uses"]
fn time_of_a_token() {
    let sizes = MODELS[0];
    let decoder = decoder::<Cuda>(sizes).unwrap();
    for count in [64, 512] {
        let prompts = vec![vec![1; 45]; count];
        let limits = vec![460; count];
        drop(decoder.generate(&prompts, 300, &limits));
        let start = Instant::now();
        drop(decoder.generate(&prompts, 300, &limits));
        let time = start.elapsed().as_secs_f64() / 504.0;
        println!("a token of {count} texts: {:.1} us", 1e6 * time);
    }
}
