//! Tests of the layer against a plain implementation in f64 and against ordinary ops.

mod bf16;
mod decode;
mod generation;
mod layer;
mod not_finite;
mod ops;
mod optimizer;
mod outside;
mod precision;
mod reference;

use core::fmt::Debug;

use crate::{DropoutMask, LayerDropout};

/// The switch is process-wide: who turns it and who needs it on take turns.
pub(crate) static SWITCH: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Numbers between -1 and 1 that look random.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        })
        .collect()
}

/// The same numbers as those of the references.
pub(crate) fn doubles(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// Asserts that `work` gives the same, to the last bit, on one, two and three threads.
pub(crate) fn assert_same_on_threads<T: PartialEq + Debug + Send>(work: impl Fn() -> T + Sync) {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(&work)
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(3));
}

/// A shape to test.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub batch: usize,
    pub width: usize,
    pub d: usize,
    pub m: usize,
    pub heads: usize,
    pub causal: bool,
    pub rope: bool,
    pub slopes: Vec<f32>,
    pub pads: Vec<usize>,
    pub dropout: Option<LayerDropout>,
}

impl Case {
    /// Small shapes with everything that is odd about them.
    pub fn small() -> Vec<Self> {
        let case = |batch, width, d, heads, causal, rope, pads: &[usize]| Self {
            batch,
            width,
            d,
            m: 4 * d,
            heads,
            causal,
            rope,
            slopes: Vec::new(),
            pads: pads.to_vec(),
            dropout: None,
        };
        vec![
            case(2, 5, 8, 2, false, true, &[0, 2]),
            case(3, 7, 12, 1, false, true, &[6, 0, 3]),
            case(2, 1, 6, 3, false, true, &[0, 0]),
            case(2, 6, 8, 4, true, true, &[0, 3]),
            case(1, 3, 10, 5, true, false, &[1]),
            case(2, 4, 5, 1, false, false, &[0, 3]),
            case(2, 3, 7, 7, true, false, &[2, 0]),
            case(2, 3, 4, 1, false, true, &[3, 0]),
            case(2, 5, 8, 2, false, true, &[0, 2]).dropping(0.3),
            case(3, 6, 10, 5, true, true, &[0, 3, 6]).dropping(0.2),
            case(2, 4, 5, 1, false, false, &[0, 3]).dropping(0.5),
            case(2, 5, 8, 2, false, false, &[0, 2]).sloping(),
            case(2, 6, 8, 4, true, false, &[0, 3]).sloping(),
        ]
    }

    /// Shapes with whole and broken vectors and panels.
    pub fn large() -> Vec<Self> {
        let case = |batch, width, d, heads, causal, rope| Self {
            batch,
            width,
            d,
            m: 4 * d,
            heads,
            causal,
            rope,
            slopes: Vec::new(),
            pads: (0..batch).map(|b| b * 5 % width).collect(),
            dropout: None,
        };
        vec![
            case(5, 33, 64, 4, false, true),
            case(3, 20, 32, 4, false, true),
            case(9, 17, 96, 3, true, true),
            case(3, 48, 100, 5, false, true),
            case(2, 70, 128, 2, true, false),
            case(5, 33, 64, 4, false, true).dropping(0.1),
            case(9, 17, 96, 3, true, true).dropping(0.3),
            case(4, 100, 32, 2, true, true).padded(&[0, 37, 99, 100]),
            case(3, 70, 24, 2, true, false)
                .padded(&[32, 31, 1])
                .dropping(0.2),
            case(2, 40, 24, 3, false, false).sloping(),
            case(2, 70, 32, 2, true, false).sloping().dropping(0.2),
            // Chunks of an odd number of rows, a short one behind whole ones in a round of the backward pass.
            case(17, 21, 16, 2, true, true),
            // More rows in a round than a weight gradient takes at a time, and an odd MLP.
            case(2, 260, 12, 2, false, true).with_mlp(13),
        ]
    }

    /// The case with an MLP of another width.
    fn with_mlp(self, m: usize) -> Self {
        Self { m, ..self }
    }

    /// The case with other columns at the left.
    fn padded(self, pads: &[usize]) -> Self {
        let pads = pads.to_vec();
        Self { pads, ..self }
    }

    /// The case with distances that count.
    fn sloping(self) -> Self {
        let slopes = (0..self.heads).map(|head| 0.5 / (head + 1) as f32);
        Self {
            slopes: slopes.collect(),
            ..self
        }
    }

    /// The case with masks.
    fn dropping(self, rate: f32) -> Self {
        let mask = |place| DropoutMask::new(&[self.width as u64, place], rate);
        let dropout = Some(LayerDropout {
            probabilities: mask(0),
            attention: mask(1),
            mlp: mask(2),
        });
        Self { dropout, ..self }
    }

    /// Input and parameters in the order of the op, and a gradient of the output.
    pub fn tensors(&self, seed: u64) -> (Vec<Vec<f32>>, Vec<f32>) {
        let (d, m) = (self.d, self.m);
        let rows = self.batch * self.width;
        let sizes = [
            rows * d,
            d,
            d,
            d * d,
            d * d,
            d * d,
            d * d,
            d,
            d,
            d * m,
            m,
            m * d,
            d,
        ];
        let tensors = sizes.iter().enumerate().map(|(index, len)| {
            let scale = match index {
                0 => 2.0,
                1 | 7 => 0.3,
                3..=6 | 9 => 2.0 / (d as f32).sqrt(),
                11 => 2.0 / (m as f32).sqrt(),
                _ => 0.2,
            };
            let shift = if matches!(index, 1 | 7) { 1.0 } else { 0.0 };
            noise(seed + index as u64, *len)
                .iter()
                .map(|x| x * scale + shift)
                .collect()
        });
        (tensors.collect(), noise(seed + 99, rows * d))
    }
}

/// Asserts closeness relative to the largest number of the expected.
pub(crate) fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let most = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / most;
        assert!(
            error <= tolerance,
            "{what}[{index}]: {found} instead of {expected}, largest {most}"
        );
    }
}
