//! One run on several machines: one leads, the others follow.
//!
//! Every machine makes the batches of an update, which are a pure function of seed and update, and its workers take their
//! shares of them. Only gradients and numbers travel: each machine adds up those of its workers, the leader adds up those of
//! the machines in the order in which they joined, and gives the sum to all.

use std::time::Duration;

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::tensors::values;

mod followers;
mod leader;

pub use followers::Followers;
pub use leader::Leader;
pub(crate) use leader::{Next, Start};

const PROGRAM: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// How often a machine looks whether another one is there.
const LOOK: Duration = Duration::from_millis(50);

fn data<B: Backend>(values: Tensor<B, 1>) -> TensorData {
    values.into_data().convert::<f32>()
}

fn tensor<B: Backend>(
    bytes: &[u8],
    length: usize,
    device: &B::Device,
) -> Result<Tensor<B, 1>, String> {
    let right = 4 * length;
    if bytes.len() != right {
        return Err(format!("it sent {} bytes instead of {right}", bytes.len()));
    }
    let data = TensorData::new(values(bytes, f32::from_le_bytes), [length]);
    Ok(Tensor::from_data(data, device))
}
