//! Rows of a table as one op.

use burn::tensor::{Int, Tensor, backend::Backend};

/// The rows of `table` that `tokens` name, or `None` where there is no kernel.
///
/// There is one on `burn::backend::Cuda` with the feature `cuda`; it computes in f32 in any [`Precision`](crate::Precision). A
/// token outside the table gets zeros there.
///
/// # Shapes
/// - `table`: `[entries, d]`; `tokens`: `[size, width]`; the result: `[size, width, d]`.
pub fn embedding<B: Backend>(
    table: &Tensor<B, 2>,
    tokens: &Tensor<B, 2, Int>,
) -> Option<Tensor<B, 3>> {
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        let table = crate::node::float_tensor(table);
        return crate::cuda::embedding::<B>(table, tokens.clone().into_primitive());
    }
    let _ = (table, tokens);
    None
}
