//! The optimizers' steps against plain implementations in f64.

use burn::backend::Flex;
use burn::tensor::{Tensor, TensorData};

use super::{SWITCH, assert_close, assert_same_on_threads, doubles, noise};
use crate::isa::Isa;
use crate::squares::squares;
use crate::{Rule, Update, update};

const QUINTIC: [f64; 3] = [3.4445, -4.775, 2.0315];

/// What a parameter has at the start.
struct Start {
    value: Vec<f32>,
    gradient: Vec<f32>,
    /// Velocity, or first moment.
    first: Vec<f32>,
    /// Second moment, no number negative.
    second: Vec<f32>,
}

impl Start {
    fn new(seed: u64, len: usize) -> Self {
        let second = noise(seed + 3, len).iter().map(|x| x * x).collect();
        Self {
            value: noise(seed, len),
            gradient: noise(seed + 1, len),
            first: noise(seed + 2, len),
            second,
        }
    }

    fn update(&self, rule: Rule<Flex>) -> Update<Flex> {
        Update {
            value: tensor(&self.value),
            gradient: tensor(&self.gradient),
            clip: 0.5,
            learning_rate: 0.02,
            keep: 0.998,
            rule,
        }
    }

    fn adamw(&self, time: i64) -> Update<Flex> {
        self.update(Rule::AdamW {
            moments: [tensor(&self.first), tensor(&self.second)],
            time,
            betas: [0.9, 0.99],
            epsilon: 1e-8,
        })
    }

    fn muon(&self, shape: [usize; 2]) -> Update<Flex> {
        self.update(Rule::Muon {
            velocity: tensor(&self.first),
            shape,
            momentum: 0.95,
            iterations: 5,
        })
    }
}

fn tensor(values: &[f32]) -> Tensor<Flex, 1> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [values.len()]),
        &Default::default(),
    )
}

fn floats(tensor: &Tensor<Flex, 1>) -> Vec<f32> {
    tensor.to_data().to_vec().unwrap()
}

/// Value and what is remembered, one after the other.
fn all(update: &Update<Flex>) -> Vec<f32> {
    let mut all = floats(&update.value);
    match &update.rule {
        Rule::AdamW { moments, .. } => moments.iter().for_each(|m| all.extend(floats(m))),
        Rule::Muon { velocity, .. } => all.extend(floats(velocity)),
    }
    all
}

#[test]
fn adamw_agrees_with_f64_on_every_instruction_set() {
    for (len, time) in [(1, 0), (7, 1), (16, 30), (1000, 2), (40_001, 5)] {
        let start = Start::new(len as u64, len);
        let [value, gradient, first, second] =
            [&start.value, &start.gradient, &start.first, &start.second].map(|x| doubles(x));
        let unbiased = |beta: f64| 1.0 - beta.powf((time + 1) as f64);
        let (mut new, mut moment_1, mut moment_2) = (vec![], vec![], vec![]);
        for i in 0..len {
            let g = gradient[i] * 0.5;
            let (m, v) = (0.9 * first[i] + 0.1 * g, 0.99 * second[i] + 0.01 * g * g);
            let direction = m / unbiased(0.9) / ((v / unbiased(0.99)).sqrt() + 1e-8);
            new.push(value[i] * 0.998 - 0.02 * direction);
            moment_1.push(m);
            moment_2.push(v);
        }
        let expected = [new, moment_1, moment_2].concat();
        for isa in Isa::available() {
            let found = start.adamw(time).step(isa);
            assert_close(&format!("{isa:?} {len}"), &all(&found), &expected, 1e-6);
            assert!(matches!(found.rule, Rule::AdamW { time: now, .. } if now == time + 1));
        }
    }
}

#[test]
fn muon_agrees_with_f64_on_every_instruction_set() {
    let shapes = [
        [1, 1],
        [1, 9],
        [9, 1],
        [2, 3],
        [16, 16],
        [17, 33],
        [33, 17],
        [64, 64],
        [65, 65],
        [64, 256],
        [256, 64],
        [70, 130],
        [150, 140],
    ];
    for [inputs, outputs] in shapes {
        let start = Start::new(inputs as u64, inputs * outputs);
        let (new, velocity) = reference(&start, [inputs, outputs]);
        let moved = |new: &[f64]| -> Vec<f64> {
            new.iter()
                .zip(&start.value)
                .map(|(new, old)| new - f64::from(*old))
                .collect()
        };
        for isa in Isa::available() {
            let found = start.muon([inputs, outputs]).step(isa);
            let what = format!("{isa:?} {inputs} {outputs}");
            let found = all(&found);
            let (value, rest) = found.split_at(new.len());
            assert_close(&what, rest, &velocity, 1e-6);
            // How far it has moved, so that errors do not hide behind the value. That is rounded to the value's own
            // last place.
            let way: Vec<f32> = moved(&doubles(value)).iter().map(|x| *x as f32).collect();
            let largest = moved(&new).iter().fold(0.0f64, |most, x| most.max(x.abs()));
            assert_close(&what, &way, &moved(&new), 1e-5 + 6e-8 / largest);
        }
    }
}

/// The step in f64, by the definition: `x = a x + (b g + c g g) x` with `g = x transpose(x)`.
fn reference(start: &Start, [inputs, outputs]: [usize; 2]) -> (Vec<f64>, Vec<f64>) {
    let (value, gradient, first) = (
        doubles(&start.value),
        doubles(&start.gradient),
        doubles(&start.first),
    );
    let gradient: Vec<f64> = gradient.iter().map(|g| g * 0.5).collect();
    let velocity: Vec<f64> = first
        .iter()
        .zip(&gradient)
        .map(|(v, g)| v * 0.95 + g)
        .collect();
    let mut x: Vec<f64> = velocity
        .iter()
        .zip(&gradient)
        .map(|(v, g)| v * 0.95 + g)
        .collect();
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    x.iter_mut().for_each(|x| *x /= norm);
    let product = |a: &[f64], b: &[f64], rows: usize, depth: usize, cols: usize| -> Vec<f64> {
        let mut out = vec![0.0; rows * cols];
        for i in 0..rows {
            for k in 0..depth {
                for j in 0..cols {
                    out[i * cols + j] += a[i * depth + k] * b[k * cols + j];
                }
            }
        }
        out
    };
    for _ in 0..5 {
        let mut turned = vec![0.0; x.len()];
        for i in 0..inputs {
            for j in 0..outputs {
                turned[j * inputs + i] = x[i * outputs + j];
            }
        }
        let gram = product(&x, &turned, inputs, outputs, inputs);
        let square = product(&gram, &gram, inputs, inputs, inputs);
        let [a, b, c] = QUINTIC;
        let both: Vec<f64> = gram
            .iter()
            .zip(&square)
            .map(|(g, s)| b * g + c * s)
            .collect();
        let more = product(&both, &x, inputs, inputs, outputs);
        x = x.iter().zip(&more).map(|(x, more)| a * x + more).collect();
    }
    let scale = (outputs as f64 / inputs as f64).max(1.0).sqrt();
    let new = value
        .iter()
        .zip(&x)
        .map(|(value, x)| value * 0.998 - 0.02 * scale * x);
    (new.collect(), velocity)
}

#[test]
fn squares_are_the_same_on_every_instruction_set() {
    for len in [0, 1, 15, 33, 70_000, 200_001] {
        let x = noise(3, len);
        let exact: f64 = doubles(&x).iter().map(|x| x * x).sum();
        for isa in Isa::available() {
            let found = squares(isa, &x);
            assert_eq!(found.to_bits(), squares(Isa::Plain, &x).to_bits());
            assert!((found - exact).abs() <= 1e-12 * exact, "{found} {exact}");
        }
    }
}

#[test]
fn steps_do_not_depend_on_the_number_of_threads() {
    let _on = SWITCH.lock();
    assert_same_on_threads(|| {
        let updates = vec![
            Start::new(1, 100_003).adamw(3),
            Start::new(2, 70 * 130).muon([70, 130]),
            Start::new(3, 5).adamw(0),
            Start::new(4, 64 * 64).muon([64, 64]),
        ];
        let updates = update(updates).unwrap();
        let norm = squares(Isa::best(), &noise(3, 300_000));
        (updates.iter().map(all).collect::<Vec<_>>(), norm.to_bits())
    });
}

#[test]
fn what_others_hold_is_left_alone() {
    let _on = SWITCH.lock();
    let start = Start::new(9, 12);
    let before = start.muon([3, 4]);
    let updates = update(vec![before.clone()]).unwrap();
    assert_eq!(floats(&before.value), start.value);
    assert_eq!(all(&before)[12..], start.first);
    assert_ne!(all(&updates[0]), all(&before));
}
