//! The optimizers' step in ordinary ops, for backends without kernels.

use burn::tensor::{Tensor, backend::Backend};
use relay_kernels::{Rule, Update};

use crate::adamw::{AdamW, AdamWState};
use crate::muon::{Moving, Muon};

/// [`relay_kernels::update`] in ordinary ops, but for what AdamW moves where there is a kernel for that alone.
pub(crate) fn ordinary_steps<B: Backend>(updates: Vec<Update<B>>) -> Vec<Update<B>> {
    each_by_its_rule(updates, |adamw| {
        relay_kernels::update(adamw).unwrap_or_else(adamw_steps)
    })
}

fn each_by_its_rule<B: Backend>(
    updates: Vec<Update<B>>,
    adamw_steps: impl FnOnce(Vec<Update<B>>) -> Vec<Update<B>>,
) -> Vec<Update<B>> {
    let is_adamw = |update: &Update<B>| matches!(update.rule, Rule::AdamW { .. });
    let order: Vec<bool> = updates.iter().map(is_adamw).collect();
    let (adamw, muon) = updates.into_iter().partition(is_adamw);
    let (mut adamw, mut muon) = (adamw_steps(adamw).into_iter(), muon_steps(muon).into_iter());
    let next = |by_adamw| if by_adamw { adamw.next() } else { muon.next() };
    order.into_iter().filter_map(next).collect()
}

fn adamw_steps<B: Backend>(updates: Vec<Update<B>>) -> Vec<Update<B>> {
    let step = |update: Update<B>| match &update.rule {
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
            let (direction, rule) = adamw(*betas, *epsilon, slope(&update), state);
            moved(update, direction, rule)
        }
        Rule::Muon { .. } => update,
    };
    updates.into_iter().map(step).collect()
}

/// Matrices with the same settings go together.
fn muon_steps<B: Backend>(mut updates: Vec<Update<B>>) -> Vec<Update<B>> {
    let mut groups: Vec<(Muon, Vec<usize>)> = Vec::new();
    for (index, update) in updates.iter().enumerate() {
        if let Rule::Muon {
            momentum,
            iterations,
            ..
        } = &update.rule
        {
            let muon = Muon {
                momentum: *momentum,
                newton_schulz_steps: *iterations,
            };
            match groups.iter_mut().find(|group| group.0 == muon) {
                Some(group) => group.1.push(index),
                None => groups.push((muon, vec![index])),
            }
        }
    }
    for (muon, members) in groups {
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
            updates[*index] = moved(updates[*index].clone(), direction, rule);
        }
    }
    updates
}

/// The parameter against `direction`, with the rule as it is after that.
fn moved<B: Backend>(update: Update<B>, direction: Tensor<B, 1>, rule: Rule<B>) -> Update<B> {
    let value = update.value.mul_scalar(update.keep) - direction.mul_scalar(update.learning_rate);
    Update {
        value,
        rule,
        ..update
    }
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
            ordinary = each_by_its_rule(ordinary, adamw_steps);
            ours = relay_kernels::update(ours).unwrap();
        }
        for (a, b) in ordinary.into_iter().zip(ours) {
            let error = (a.value - b.value).abs().max().into_scalar();
            assert!(error < 1e-5, "{error}, {:?}", a.rule);
        }
    }
}
