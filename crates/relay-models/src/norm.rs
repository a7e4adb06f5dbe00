//! Layer normalisation over the last dimension.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::init::Init;

/// Added to the variance under the root.
pub(crate) const EPSILON: f32 = 1e-5;

/// Layer normalisation with gain and offset.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// Gain, `[d_model]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// Offset, `[d_model]`.
    pub beta: Param<Tensor<B, 1>>,
}

impl<B: Backend> LayerNorm<B> {
    pub(crate) fn init(init: &Init<'_, B>, path: &str, d_model: usize) -> Self {
        Self {
            gamma: init.vector(&format!("{path}.gamma"), d_model, 1.0),
            beta: init.vector(&format!("{path}.beta"), d_model, 0.0),
        }
    }

    /// Normalises every row.
    ///
    /// # Shapes
    /// `[rows, d_model]` to the same.
    pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        if let Some(normal) = relay_kernels::norm(&x, &gamma, &beta, EPSILON) {
            return normal;
        }
        let centred = x.clone() - x.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        let normal = centred / variance.add_scalar(EPSILON).sqrt();
        normal * gamma.unsqueeze() + beta.unsqueeze()
    }
}
