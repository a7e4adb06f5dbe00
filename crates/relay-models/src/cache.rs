//! Keys and values of the columns that were already seen, one cache a layer.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::indices::indices;

/// Columns that are collected before they are joined to the others.
const TAIL: usize = 32;

/// Keys (already rotated) and values, `[rows, heads, columns, head_dim]` each.
pub(crate) type KeysValues<B> = [Tensor<B, 4>; 2];

/// The keys and values of one layer, in two parts.
///
/// Every write of a column copies the tensor it goes to, as some backends cannot write in place. So
/// new columns go to a short tail, and only once in [`TAIL`] columns is all that is held copied.
#[derive(Debug)]
pub(crate) struct LayerCache<B: Backend> {
    held: KeysValues<B>,
    tail: Option<KeysValues<B>>,
}

impl<B: Backend> LayerCache<B> {
    /// A cache that holds the columns of a prompt.
    pub fn new(prompt: KeysValues<B>) -> Self {
        Self {
            held: prompt,
            tail: None,
        }
    }

    /// Adds one column.
    pub fn push(&mut self, column: KeysValues<B>) {
        let tail = match self.tail.take() {
            Some(tail) => join(tail, column),
            None => column,
        };
        if tail[0].dims()[2] < TAIL {
            self.tail = Some(tail);
        } else {
            self.held = join(self.held.clone(), tail);
        }
    }

    /// All columns so far, from left to right, in one part or two.
    pub fn parts(&self) -> impl Iterator<Item = &KeysValues<B>> {
        core::iter::once(&self.held).chain(&self.tail)
    }

    /// Drops all rows but `rows`.
    pub fn keep(&mut self, rows: &[usize]) {
        let rows = indices(rows, &self.held[0].device());
        for part in core::iter::once(&mut self.held).chain(&mut self.tail) {
            *part = part.clone().map(|x| x.select(0, rows.clone()));
        }
    }
}

fn join<B: Backend>([keys, values]: KeysValues<B>, [key, value]: KeysValues<B>) -> KeysValues<B> {
    [
        Tensor::cat(vec![keys, key], 2),
        Tensor::cat(vec![values, value], 2),
    ]
}
