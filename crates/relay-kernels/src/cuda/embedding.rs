//! Picking the rows of a table as an operation on the tensors of burn's CUDA backend, whose own goes through all tokens one
//! after the other on the way back.

use burn::tensor::DType;

use super::launch::{Params, Queue};
use super::op::{Lazy, Operation, Saved, exactly, submit};
use super::rows::{blocks, kernel};
use super::source::File;
use crate::switch::Precision;

/// Tokens `[size, width]`, and a table of which each names a row.
#[derive(Debug)]
pub(super) struct Call {
    table: Lazy,
    tokens: Lazy,
}

impl Call {
    /// None if the table is not of `f32` or the tokens not of 32 bits, or if there are no kernels for such sizes.
    pub fn new([table]: [Lazy; 1], tokens: Lazy) -> Option<Self> {
        let types = table.dtype == DType::F32 && matches!(tokens.dtype, DType::I32 | DType::U32);
        let d = table.shape[1];
        let count = tokens.shape[0] * tokens.shape[1];
        let fits = count > 0 && d > 0 && d.is_multiple_of(2) && count * d < 1 << 31;
        (types && fits).then_some(Self { table, tokens })
    }

    fn sizes(&self) -> [usize; 3] {
        let tokens = self.tokens.shape[0] * self.tokens.shape[1];
        [tokens, self.table.shape[0], self.table.shape[1]]
    }
}

impl Operation<1> for Call {
    type Saved = ForBackward;

    fn forward(self) -> (Lazy, ForBackward) {
        let sizes = self.sizes();
        let shape = vec![self.tokens.shape[0], self.tokens.shape[1], sizes[2]];
        let inputs = vec![self.table, self.tokens.clone()];
        let outputs = [(DType::F32, shape)];
        let [out] = submit(
            ("relay_embed", Precision::F32),
            inputs,
            outputs,
            move |queue: &Queue, inputs| {
                let [table, tokens] = exactly(inputs);
                let out = queue.floats(sizes[0] * sizes[2]);
                queue.launch(
                    kernel(File::Embedding, "embed", Vec::new(), 0),
                    blocks(sizes[0], usize::MAX),
                    &[&table, &tokens, &out],
                    Params::sizes(sizes),
                );
                vec![out]
            },
        );
        let left = ForBackward {
            tokens: self.tokens,
            sizes,
        };
        (out, left)
    }
}

/// What the forward pass leaves.
#[derive(Debug, Clone)]
pub(super) struct ForBackward {
    tokens: Lazy,
    sizes: [usize; 3],
}

impl Saved<1> for ForBackward {
    fn backward(self, grad: Lazy) -> [Option<Lazy>; 1] {
        let sizes = self.sizes;
        let outputs = [(DType::F32, vec![sizes[1], sizes[2]])];
        let inputs = vec![grad, self.tokens];
        let gradients = submit(
            ("relay_embed_backward", Precision::F32),
            inputs,
            outputs,
            move |queue, inputs| {
                let [grad, tokens] = exactly(inputs);
                let [table] = queue.zeros([sizes[1] * sizes[2]]);
                queue.launch(
                    kernel(File::Embedding, "embed_backward", Vec::new(), 0),
                    blocks(sizes[0], usize::MAX),
                    &[&grad, &tokens, &table],
                    Params::sizes(sizes),
                );
                vec![table]
            },
        );
        gradients.map(Some)
    }
}
