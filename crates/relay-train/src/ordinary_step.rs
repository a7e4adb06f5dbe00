//! The optimizers' step in ordinary ops, for backends without kernels.

use burn::tensor::{Tensor, backend::Backend};
use relay_kernels::{Rule, Update};

use crate::adamw::{AdamW, AdamWState};
use crate::muon::{Moving, Muon};

/// [`relay_kernels::update`] in ordinary ops.
pub(crate) fn ordinary_steps<B: Backend>(updates: Vec<Update<B>>) -> Vec<Update<B>> {
    let mut moving: Vec<(Muon, Vec<usize>)> = Vec::new();
    let mut directions = Vec::with_capacity(updates.len());
    for (index, update) in updates.iter().enumerate() {
        directions.push(None);
        match &update.rule {
            Rule::AdamW {
                moments: [moment_1, moment_2],
                time,
                betas,
                epsilon,
            } => {
                let state = AdamWState {
                    time: *time,
                    moment_1: moment_1.clone(),
                    moment_2: moment_2.clone(),
                };
                directions[index] = Some(adamw(*betas, *epsilon, slope(update), state));
            }
            Rule::Muon {
                momentum,
                iterations,
                ..
            } => {
                let muon = Muon {
                    momentum: *momentum,
                    newton_schulz_steps: *iterations,
                };
                match moving.iter_mut().find(|group| group.0 == muon) {
                    Some(group) => group.1.push(index),
                    None => moving.push((muon, vec![index])),
                }
            }
        }
    }
    for (muon, members) in moving {
        let matrices = members.iter().filter_map(|index| matrix(&updates[*index]));
        let (shapes, matrices): (Vec<_>, Vec<_>) =
            matrices.map(|matrix| (matrix.shape, matrix)).unzip();
        let results = muon.directions(matrices);
        for ((index, shape), (direction, velocity)) in members.iter().zip(shapes).zip(results) {
            let rule = Rule::Muon {
                velocity,
                shape,
                momentum: muon.momentum,
                iterations: muon.newton_schulz_steps,
            };
            directions[*index] = Some((direction, rule));
        }
    }
    let steps = updates.into_iter().zip(directions);
    steps
        .map(|(update, step)| match step {
            Some((direction, rule)) => Update {
                value: update.value.mul_scalar(update.keep)
                    - direction.mul_scalar(update.learning_rate),
                rule,
                ..update
            },
            None => unreachable!("every rule gives a direction"),
        })
        .collect()
}

/// The clipped gradient.
fn slope<B: Backend>(update: &Update<B>) -> Tensor<B, 1> {
    if update.clip < 1.0 {
        update.gradient.clone().mul_scalar(update.clip)
    } else {
        update.gradient.clone()
    }
}

fn adamw<B: Backend>(
    betas: [f64; 2],
    epsilon: f64,
    slope: Tensor<B, 1>,
    state: AdamWState<B>,
) -> (Tensor<B, 1>, Rule<B>) {
    let [beta1, beta2] = betas;
    let adamw = AdamW {
        beta1,
        beta2,
        epsilon,
    };
    let (direction, state) = adamw.direction(slope, state);
    let rule = Rule::AdamW {
        moments: [state.moment_1, state.moment_2],
        time: state.time,
        betas,
        epsilon,
    };
    (direction, rule)
}

/// What Muon moves, if it moves this parameter.
fn matrix<B: Backend>(update: &Update<B>) -> Option<Moving<B>> {
    match &update.rule {
        Rule::Muon {
            velocity, shape, ..
        } => Some(Moving {
            shape: *shape,
            gradient: slope(update),
            velocity: velocity.clone(),
        }),
        Rule::AdamW { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    fn numbers(seed: u32, len: usize) -> Tensor<Flex, 1> {
        let number = |i: usize| (seed as f32 * 1.7 + i as f32 * 0.61).sin();
        let numbers: Vec<f32> = (0..len).map(number).collect();
        Tensor::from_floats(numbers.as_slice(), &Default::default())
    }

    fn update(len: usize, rule: Rule<Flex>) -> Update<Flex> {
        Update {
            value: numbers(1, len),
            gradient: numbers(2, len),
            clip: 0.3,
            learning_rate: 0.02,
            keep: 0.998,
            rule,
        }
    }

    #[test]
    fn the_kernels_agree_with_ordinary_ops_over_several_steps() {
        let adamw = |len| {
            let zeros = || numbers(1, len).zeros_like();
            let moments = [zeros(), zeros()];
            let rule = Rule::AdamW {
                moments,
                time: 0,
                betas: [0.9, 0.99],
                epsilon: 1e-8,
            };
            update(len, rule)
        };
        let muon = |inputs, outputs| {
            let velocity = numbers(1, inputs * outputs).zeros_like();
            let rule = Rule::Muon {
                velocity,
                shape: [inputs, outputs],
                momentum: 0.95,
                iterations: 5,
            };
            update(inputs * outputs, rule)
        };
        let mut ordinary = vec![
            adamw(1),
            adamw(37),
            muon(24, 24),
            muon(17, 50),
            muon(50, 17),
        ];
        let mut ours = ordinary.clone();
        for step in 0..4 {
            for (a, b) in ordinary.iter_mut().zip(&mut ours) {
                a.gradient = numbers(step + 3, a.value.dims()[0]);
                b.gradient = a.gradient.clone();
            }
            ordinary = ordinary_steps(ordinary);
            ours = relay_kernels::update(ours).unwrap();
        }
        for (a, b) in ordinary.into_iter().zip(ours) {
            let error = (a.value - b.value).abs().max().into_scalar();
            assert!(error < 1e-5, "{error}, {:?}", a.rule);
        }
    }
}
