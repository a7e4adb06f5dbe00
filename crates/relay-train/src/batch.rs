//! Host batches to tensors, and to the columns that a loss looks at.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

/// Tokens `[size, width]`.
///
/// # Panics
/// When there are not `size * width` of them.
pub(crate) fn tokens<B: Backend>(
    tokens: &[i32],
    size: usize,
    width: usize,
    device: &B::Device,
) -> Tensor<B, 2, Int> {
    Tensor::from_data(TensorData::new(tokens.to_vec(), [size, width]), device)
}

/// The last `columns` columns of `rows` rows of `width` values.
pub(crate) fn last_columns<T: Copy>(values: &[T], width: usize, columns: usize) -> Vec<T> {
    values
        .chunks_exact(width)
        .flat_map(|row| &row[width - columns..])
        .copied()
        .collect()
}

/// The last `columns` columns of states: `[size, width, d_model]` to `[size, columns, d_model]`.
pub(crate) fn last_states<B: Backend>(states: &Tensor<B, 3>, columns: usize) -> Tensor<B, 3> {
    let [size, width, d_model] = states.dims();
    if columns == width {
        return states.clone();
    }
    states
        .clone()
        .slice([0..size, width - columns..width, 0..d_model])
}
