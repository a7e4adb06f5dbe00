//! Hand-written kernels for the hot path of looped transformers on burn, for CPUs and for some of it also for GPUs.
//!
//! Operations that are one node of the autodiff graph each: a whole transformer layer ([`layer`], or for several calls in a
//! graph [`prepare_layer`]), layer norm ([`norm`]), the linear input injection ([`blend`]), rows of a table ([`embedding`]), the
//! masked cross-entropy ([`cross_entropy`]), also together with the readout before it ([`readout_cross_entropy`]) and the
//! number of right guesses ([`readout_judged`]). What an optimizer does: the step of AdamW and Muon ([`update`]) and the norm of
//! gradients ([`sum_of_squares`], or [`squares_of_each`], left on the device). And generation: the most probable token of a
//! state ([`greedy`]), and the whole way of texts from their prompts to their ends ([`Decoder`]). All are generic over
//! `B: Backend` and answer `None` wherever they have nothing better to offer than ordinary burn ops ([`update`] gives back what it
//! was given), so that a model asks first and falls back:
//!
//! ```
//! use burn::tensor::Tensor;
//! use burn_flex::Flex;
//!
//! let device = Default::default();
//! let logits = Tensor::<Flex, 2>::from_floats([[2.0, 0.0], [0.0, 1.0]], &device);
//! let loss = relay_kernels::cross_entropy(&logits, &[0, 1], &[1.0, 0.0]);
//! let loss: f32 = loss.expect("there is a kernel for burn-flex").into_scalar();
//! assert!((loss - (1.0 + (-2.0f32).exp()).ln()).abs() < 1e-6);
//! ```
//!
//! With the feature `cuda` there are also kernels for `burn::backend::Cuda`, on NVIDIA Hopper (compute capability 9.0): of
//! [`layer`], [`norm`], [`blend`], [`embedding`], [`greedy`], [`readout_cross_entropy`], [`readout_judged`], [`update`] and
//! [`squares_of_each`], and in bf16 a [`Decoder`], see there. [`Precision`] says what they multiply.
//!
//! From the outside in:
//!
//! | modules | what is in them |
//! |---|---|
//! | `layer`, `prepared`, `norm`, `blend`, `embedding`, `cross_entropy`, `readout`, `greedy`, `choices`, `update`, `squares`, `dropout`, `switch` | the operations that are public, their options, and what turns them off |
//! | `node`, `floats`, `layer_op` | operations as nodes of burn's autodiff graph, on tensors of its CPU backend |
//! | `block`, `block_backward`, `attention`, `sides`, `weight_gradients`, `weights` | a layer on slices of floats, forward and backward |
//! | `product`, `pack`, `dot`, `form`, `bf16` | matrix products in panels, in f32 and bf16 |
//! | `rows`, `softmax`, `rope`, `math`, `adamw`, `muon` | passes over rows, and the functions that they compute |
//! | `decode` | texts from their prompts to their ends, with pages of keys and values |
//! | `isa`, `pool`, `prefetch` | instruction sets, memory that is kept, hints to the processor |
//! | `cuda` | the kernels for GPUs |

mod adamw;
mod attention;
mod bf16;
mod blend;
mod block;
mod block_backward;
mod choices;
mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
mod decode;
mod dot;
mod dropout;
mod embedding;
mod floats;
mod form;
mod greedy;
mod isa;
mod layer;
mod layer_op;
mod math;
mod muon;
mod node;
mod norm;
mod pack;
mod pool;
mod prefetch;
mod prepared;
mod product;
mod readout;
mod rope;
mod rows;
mod sides;
mod softmax;
mod squares;
mod switch;
mod update;
mod weight_gradients;
mod weights;

pub use blend::blend;
pub use choices::Choices;
pub use cross_entropy::cross_entropy;
pub use decode::{Decoder, DecoderSpec, Written};
pub use dropout::{DropoutMask, LayerDropout};
pub use embedding::embedding;
pub use greedy::{ReadoutParams, greedy};
pub use layer::{LayerParams, LayerSpec, layer};
pub use norm::norm;
pub use prepared::{PreparedLayer, prepare_layer, prepared_layer};
pub use readout::{readout_cross_entropy, readout_judged};
pub use squares::{squares_of_each, sum_of_squares};
pub use switch::{Precision, enabled, precision, set_enabled, with_generation_of, with_precision};
pub use update::{Rule, Update, update};

#[cfg(test)]
mod tests;
