//! The optimizers' step in ordinary ops, for backends without kernels.

use burn::tensor::backend::Backend;
use relay_kernels::{Rule, Update};

use crate::adamw::{AdamW, AdamWState};
use crate::muon::Muon;

/// [`relay_kernels::update`] of one parameter in ordinary ops.
pub(crate) fn ordinary_step<B: Backend>(update: Update<B>) -> Update<B> {
    let Update {
        value,
        gradient,
        clip,
        learning_rate,
        keep,
        rule,
    } = update;
    let slope = if clip < 1.0 {
        gradient.clone().mul_scalar(clip)
    } else {
        gradient.clone()
    };
    let (direction, rule) = match rule {
        Rule::AdamW {
            moments: [moment_1, moment_2],
            time,
            betas,
            epsilon,
        } => {
            let [beta1, beta2] = betas;
            let adamw = AdamW {
                beta1,
                beta2,
                epsilon,
            };
            let state = AdamWState {
                time,
                moment_1,
                moment_2,
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
        Rule::Muon {
            velocity,
            shape,
            momentum,
            iterations,
        } => {
            let muon = Muon {
                momentum,
                newton_schulz_steps: iterations,
            };
            let (direction, velocity) = muon.direction(shape, slope, velocity);
            let rule = Rule::Muon {
                velocity,
                shape,
                momentum,
                iterations,
            };
            (direction, rule)
        }
    };
    Update {
        value: value.mul_scalar(keep) - direction.mul_scalar(learning_rate),
        gradient,
        clip,
        learning_rate,
        keep,
        rule,
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::Tensor;

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
            ordinary = ordinary.into_iter().map(ordinary_step).collect();
            ours = relay_kernels::update(ours).unwrap();
        }
        for (a, b) in ordinary.into_iter().zip(ours) {
            let error = (a.value - b.value).abs().max().into_scalar();
            assert!(error < 1e-5, "{error}, {:?}", a.rule);
        }
    }
}
