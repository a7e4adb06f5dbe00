//! Numbers of rows, to choose rows of a tensor by.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

/// Row numbers as a tensor.
pub(crate) fn indices<B: Backend>(rows: &[usize], device: &B::Device) -> Tensor<B, 1, Int> {
    let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
    let length = rows.len();
    Tensor::from_data(TensorData::new(rows, [length]), device)
}
