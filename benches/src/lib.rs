//! What the benches and the comparison with other libraries share.
//!
//! | module | what is in it |
//! |---|---|
//! | `shape` | sizes of a model and of its batches, and models of them |
//! | `looped` | losses and gradients of a looped model without a trainer |
//! | `stepwise` | a training run of the real trainer that makes one update when asked |
//! | `memory` | peak memory of the process |

mod looped;
mod memory;
mod shape;
mod stepwise;

pub use looped::LoopedWork;
pub use memory::PeakMemory;
pub use shape::Shape;
pub use stepwise::StepwiseRun;

/// The backend that everything here is measured on: burn's CPU backend, with the hand-written kernels.
#[cfg(not(feature = "cuda"))]
pub type Measured = burn_flex::Flex;

/// The backend that everything here is measured on: the first GPU.
#[cfg(feature = "cuda")]
pub type Measured = burn::backend::Cuda;

/// What fails in a bench says so and ends it.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
