//! Numbers that look random, and how far two results are apart.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use relay_kernels::Precision;

/// Largest relative distance between results that round in other places: to bf16, or to two of them, which only the GPU does
/// and which keep twice as many bits.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 3e-4,
        Precision::Bf16 => 2e-2,
    }
}

/// Numbers between -1 and 1 that look random.
pub fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..len).map(|_| next()).collect()
}

pub fn tensor<B: Backend, const D: usize>(data: &[f32], shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(data.to_vec(), shape), &Default::default())
}

/// The same as another leaf of the graph.
pub fn leaf<B: AutodiffBackend, const D: usize>(data: &[f32], shape: [usize; D]) -> Tensor<B, D> {
    tensor(data, shape).require_grad()
}

pub fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

/// The results of an operation, by name.
pub type Results<'a> = [(&'a str, Vec<f32>)];

/// Prints the relative distances of all results, and asserts that they are small for bf16.
pub fn agree(what: &str, found: &Results<'_>, expected: &Results<'_>) {
    agree_in(Precision::Bf16, what, found, expected);
}

/// As [`agree`], for a precision.
pub fn agree_in(precision: Precision, what: &str, found: &Results<'_>, expected: &Results<'_>) {
    let what = &format!("{precision}, {what}");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let names = |results: &Results<'_>| -> Vec<String> {
        let names = results.iter().map(|(name, _)| (*name).to_owned());
        names.collect()
    };
    assert_eq!(names(found), names(expected), "{what}");
    let mut wrong = Vec::new();
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}: {name}");
        let pairs = found.iter().zip(expected);
        let distance = norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let distance = distance / norm(&mut expected.iter().map(|b| f64::from(*b))).max(1e-6);
        println!("{what}: {name} differs by {distance:.2e}");
        // A number that is none is no small distance either.
        if distance.is_nan() || distance >= tolerance(precision) {
            wrong.push(format!("{name} by {distance:.2e}"));
        }
    }
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
}
