//! Hand-written CPU kernels for the hot path of looped transformers on burn.
//!
//! Two operations, each one node of the autodiff graph: a whole transformer layer ([`layer`]) and the masked
//! cross-entropy ([`cross_entropy`]). Both are generic over `B: Backend` and answer `None` wherever they have nothing
//! better to offer than ordinary burn ops, so that a model asks first and falls back:
//!
//! ```
//! use burn::tensor::Tensor;
//! use burn_flex::Flex;
//!
//! let device = Default::default();
//! let logits = Tensor::<Flex, 2>::from_floats([[2.0, 0.0], [0.0, 1.0]], &device);
//! let loss = relay_kernels::cross_entropy(&logits, &[0, 1], &[1.0, 0.0]);
//! assert!((loss.map_or(0.127, |loss| loss.into_scalar()) - 0.1269).abs() < 1e-3);
//! ```

mod attention;
mod block;
mod block_backward;
mod cross_entropy;
mod dropout;
mod floats;
mod isa;
mod layer;
mod layer_op;
mod math;
mod pack;
mod pool;
mod prefetch;
mod product;
mod rope;
mod rows;
mod switch;
mod weight_gradients;
mod weights;

pub use cross_entropy::cross_entropy;
pub use dropout::{DropoutMask, LayerDropout};
pub use layer::{LayerParams, LayerSpec, layer};
pub use switch::{enabled, set_enabled};

#[cfg(test)]
mod tests;
