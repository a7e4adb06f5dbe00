//! Muon (Jordan): momentum whose matrix is made orthogonal by Newton-Schulz iterations.
//!
//! burn has it too, but keeps its velocity to itself, where a checkpoint does not reach it, and scales its step by rows
//! over columns, which is outputs over inputs only for matrices that are stored transposed to ours.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};

/// Settings of Muon without its learning rate, which changes by step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Muon {
    pub momentum: f64,
    pub newton_schulz_steps: usize,
}

/// Coefficients of the quintic iteration, chosen for a steep slope at zero.
const QUINTIC: [f64; 3] = [3.4445, -4.775, 2.0315];

/// A matrix that Muon moves.
#[derive(Debug)]
pub(crate) struct Moving<B: Backend> {
    /// `[in, out]`.
    pub shape: [usize; 2],
    /// Flat, as the velocity is.
    pub gradient: Tensor<B, 1>,
    pub velocity: Tensor<B, 1>,
}

impl Muon {
    /// Of each matrix what is subtracted, times the learning rate, and the new velocity; all flat.
    ///
    /// The root mean square of a direction is that of an orthogonal matrix, times sqrt(out / in) where the matrix widens.
    /// Matrices of one shape, or of its transpose, are computed together: on a GPU the products of one alone are too small
    /// to be worth their start.
    pub fn directions<B: Backend>(
        &self,
        matrices: Vec<Moving<B>>,
    ) -> Vec<(Tensor<B, 1>, Tensor<B, 1>)> {
        let (mut wide, mut velocities) = (Vec::new(), Vec::new());
        for matrix in &matrices {
            let gradient = &matrix.gradient;
            let velocity = matrix.velocity.clone().mul_scalar(self.momentum) + gradient.clone();
            // Nesterov's look ahead.
            let ahead = velocity.clone().mul_scalar(self.momentum) + gradient.clone();
            wide.push(lying(ahead.reshape(matrix.shape)));
            velocities.push(velocity);
        }
        let mut groups: BTreeMap<[usize; 2], Vec<usize>> = BTreeMap::new();
        for (index, matrix) in wide.iter().enumerate() {
            groups.entry(matrix.dims()).or_default().push(index);
        }
        for (shape, members) in groups {
            let stack = members.iter().map(|index| wide[*index].clone()).collect();
            let stack: Tensor<B, 3> = Tensor::stack(stack, 0);
            let stack = self.orthogonalise(stack);
            for (place, index) in members.into_iter().enumerate() {
                let one = stack.clone().narrow(0, place, 1);
                wide[index] = one.reshape(shape);
            }
        }
        let directions = matrices.iter().zip(wide).map(|(matrix, orthogonal)| {
            let [inputs, outputs] = matrix.shape;
            let scale = (outputs as f64 / inputs as f64).max(1.0).sqrt();
            let standing = if inputs > outputs {
                orthogonal.transpose()
            } else {
                orthogonal
            };
            standing.mul_scalar(scale).reshape([inputs * outputs])
        });
        directions.zip(velocities).collect()
    }

    /// The nearest orthogonal matrices, roughly: singular values end between about 0.7 and 1.2.
    fn orthogonalise<B: Backend>(&self, matrices: Tensor<B, 3>) -> Tensor<B, 3> {
        let squares = matrices.clone() * matrices.clone();
        let norms = squares.sum_dim(2).sum_dim(1).sqrt().clamp_min(1e-7);
        let mut x = matrices / norms;
        let [a, b, c] = QUINTIC;
        for _ in 0..self.newton_schulz_steps {
            let gram = x.clone().matmul(x.clone().swap_dims(1, 2));
            let square = gram.clone().matmul(gram.clone());
            x = x.clone().mul_scalar(a) + (gram.mul_scalar(b) + square.mul_scalar(c)).matmul(x);
        }
        x
    }
}

/// The matrix or its transpose, with no more rows than columns.
fn lying<B: Backend>(matrix: Tensor<B, 2>) -> Tensor<B, 2> {
    let [rows, columns] = matrix.dims();
    if rows > columns {
        matrix.transpose()
    } else {
        matrix
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

    fn direction(
        shape: [usize; 2],
        gradient: Tensor<Flex, 1>,
        velocity: Tensor<Flex, 1>,
    ) -> (Tensor<Flex, 1>, Tensor<Flex, 1>) {
        let matrix = Moving {
            shape,
            gradient,
            velocity,
        };
        MUON.directions(vec![matrix]).swap_remove(0)
    }

    #[test]
    fn matrices_together_move_as_each_alone() {
        let device = Default::default();
        let numbers = |seed: usize, len: usize| {
            let numbers: Vec<f32> = (0..len).map(|i| ((seed + i) as f32 * 0.71).sin()).collect();
            Tensor::<Flex, 1>::from_floats(numbers.as_slice(), &device)
        };
        let shapes = [[3, 5], [4, 4], [5, 3], [3, 5]];
        let matrix = |(seed, shape): (usize, &[usize; 2])| Moving {
            shape: *shape,
            gradient: numbers(seed, shape[0] * shape[1]),
            velocity: numbers(seed + 9, shape[0] * shape[1]),
        };
        let together = MUON.directions(shapes.iter().enumerate().map(matrix).collect());
        for (one, together) in shapes.iter().enumerate().zip(together) {
            let one = matrix(one);
            let (a, b) = direction(one.shape, one.gradient, one.velocity);
            for (alone, together) in [(a, together.0), (b, together.1)] {
                let error = (alone - together).abs().max().into_scalar();
                assert!(error < 1e-6, "{error}");
            }
        }
    }

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
            let (direction, velocity) = direction([2, 2], gradient.clone(), b);
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
            let (direction, _) = direction(shape, gradient.clone(), gradient.zeros_like());
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
