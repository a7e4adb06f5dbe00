//! AdamW (Loshchilov and Hutter), one parameter at a time.

use burn::tensor::{Tensor, backend::Backend};

/// Settings of AdamW without learning rate and decay, which change by step and parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
}

/// What AdamW remembers of a parameter.
#[derive(Debug, Clone)]
pub(crate) struct AdamWState<B: Backend> {
    /// Updates that the moments have seen.
    pub time: i64,
    /// Running mean of gradients.
    pub moment_1: Tensor<B, 1>,
    /// Running mean of squared gradients.
    pub moment_2: Tensor<B, 1>,
}

impl<B: Backend> AdamWState<B> {
    /// Before the first update of a parameter like `value`.
    pub fn new(value: &Tensor<B, 1>) -> Self {
        Self {
            time: 0,
            moment_1: value.zeros_like(),
            moment_2: value.zeros_like(),
        }
    }
}

impl AdamW {
    /// What is subtracted from a parameter, times the learning rate.
    pub fn direction<B: Backend>(
        &self,
        gradient: Tensor<B, 1>,
        state: AdamWState<B>,
    ) -> (Tensor<B, 1>, AdamWState<B>) {
        let fresh_1 = gradient.clone().mul_scalar(1.0 - self.beta1);
        let fresh_2 = (gradient.clone() * gradient).mul_scalar(1.0 - self.beta2);
        let state = AdamWState {
            time: state.time + 1,
            moment_1: state.moment_1.mul_scalar(self.beta1) + fresh_1,
            moment_2: state.moment_2.mul_scalar(self.beta2) + fresh_2,
        };
        let unbiased = |beta: f64| 1.0 - beta.powf(state.time as f64);
        let mean = state.moment_1.clone().div_scalar(unbiased(self.beta1));
        let root = state
            .moment_2
            .clone()
            .div_scalar(unbiased(self.beta2))
            .sqrt();
        (mean / root.add_scalar(self.epsilon), state)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::optim::{AdamWConfig, SimpleOptimizer};

    use super::*;

    #[test]
    fn agrees_with_burns_own() {
        let device = Default::default();
        let own = AdamW {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
        };
        let other = AdamWConfig::new()
            .with_beta_2(0.99)
            .with_epsilon(1e-8)
            .with_weight_decay(0.0)
            .build();
        let mut a = Tensor::<Flex, 1>::from_floats([0.5, -2.0, 1.0], &device);
        let mut b = AdamWState::new(&a);
        let (mut c, mut d) = (a.clone(), None);
        for gradient in [[0.3, -0.2, 4.0], [-1.0, 0.0, 0.1], [1e-3, 2.0, -0.7]] {
            let gradient = Tensor::from_floats(gradient, &device);
            let (direction, state) = own.direction(gradient.clone(), b);
            (a, b) = (a - direction.mul_scalar(0.1), state);
            (c, d) = other.step(0.1, c, gradient, d);
        }
        let (a, c): (Vec<f32>, Vec<f32>) = (
            a.into_data().to_vec().unwrap(),
            c.into_data().to_vec().unwrap(),
        );
        assert!(
            a.iter().zip(&c).all(|(a, c)| (a - c).abs() < 1e-6),
            "{a:?} {c:?}"
        );
    }
}
