//! Muon (Jordan): momentum whose matrix is made orthogonal by Newton-Schulz iterations.
//!
//! burn has it too, but keeps its velocity to itself, where a checkpoint does not reach it, and scales its step by rows
//! over columns, which is outputs over inputs only for matrices that are stored transposed to ours.

use burn::tensor::{Tensor, backend::Backend};

/// Settings of Muon without its learning rate, which changes by step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Muon {
    pub momentum: f64,
    pub newton_schulz_steps: usize,
}

/// Coefficients of the quintic iteration, chosen for a steep slope at zero.
const QUINTIC: [f64; 3] = [3.4445, -4.775, 2.0315];

impl Muon {
    /// What is subtracted from an `[in, out]` matrix, times the learning rate, and the new velocity; all flat.
    ///
    /// Its root mean square is that of an orthogonal matrix, times sqrt(out / in) where the matrix widens.
    pub fn direction<B: Backend>(
        &self,
        [inputs, outputs]: [usize; 2],
        gradient: Tensor<B, 1>,
        velocity: Tensor<B, 1>,
    ) -> (Tensor<B, 1>, Tensor<B, 1>) {
        let velocity = velocity.mul_scalar(self.momentum) + gradient.clone();
        // Nesterov's look ahead.
        let ahead = velocity.clone().mul_scalar(self.momentum) + gradient;
        let orthogonal = self.orthogonalise(ahead.reshape([inputs, outputs]));
        let scale = (outputs as f64 / inputs as f64).max(1.0).sqrt();
        (
            orthogonal.mul_scalar(scale).reshape([inputs * outputs]),
            velocity,
        )
    }

    /// The nearest orthogonal matrix, roughly: singular values end between about 0.7 and 1.2.
    fn orthogonalise<B: Backend>(&self, matrix: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, columns] = matrix.dims();
        let tall = rows > columns;
        let x = if tall { matrix.transpose() } else { matrix };
        let norm = (x.clone() * x.clone()).sum().sqrt().clamp_min(1e-7);
        let mut x = x / norm.unsqueeze();
        let [a, b, c] = QUINTIC;
        for _ in 0..self.newton_schulz_steps {
            let gram = x.clone().matmul(x.clone().transpose());
            let square = gram.clone().matmul(gram.clone());
            x = x.clone().mul_scalar(a) + (gram.mul_scalar(b) + square.mul_scalar(c)).matmul(x);
        }
        if tall { x.transpose() } else { x }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::optim::{MuonConfig, SimpleOptimizer};

    use super::*;

    const MUON: Muon = Muon {
        momentum: 0.95,
        newton_schulz_steps: 5,
    };

    #[test]
    fn agrees_with_burns_own_on_a_square_matrix() {
        let device = Default::default();
        let other = MuonConfig::new().build::<Flex>();
        let mut a = Tensor::<Flex, 1>::from_floats([0.5, -2.0, 1.0, 0.2], &device);
        let mut b = a.zeros_like();
        let (mut c, mut d) = (a.clone().reshape([2, 2]), None);
        for gradient in [
            [0.3, -0.2, 4.0, 1.0],
            [-1.0, 0.0, 0.1, 0.5],
            [1e-3, 2.0, -0.7, -0.1],
        ] {
            let gradient: Tensor<Flex, 1> = Tensor::from_floats(gradient, &device);
            let (direction, velocity) = MUON.direction([2, 2], gradient.clone(), b);
            (a, b) = (a - direction.mul_scalar(0.1), velocity);
            (c, d) = other.step::<2>(0.1, c, gradient.reshape([2, 2]), d);
        }
        let (a, c): (Vec<f32>, Vec<f32>) = (
            a.into_data().to_vec().unwrap(),
            c.into_data().to_vec().unwrap(),
        );
        assert!(
            a.iter().zip(&c).all(|(a, c)| (a - c).abs() < 1e-5),
            "{a:?} {c:?}"
        );
    }

    #[test]
    fn a_widening_matrix_moves_by_the_root_of_its_ratio() {
        let device = Default::default();
        let gradient =
            Tensor::<Flex, 1>::from_floats([3.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0], &device);
        let size = |shape| {
            let (direction, _) = MUON.direction(shape, gradient.clone(), gradient.zeros_like());
            (direction.clone() * direction).sum().into_scalar().sqrt()
        };
        assert!(
            (size([2, 4]) / size([4, 2]) - 2f32.sqrt()).abs() < 0.3,
            "{} {}",
            size([2, 4]),
            size([4, 2])
        );
    }
}
