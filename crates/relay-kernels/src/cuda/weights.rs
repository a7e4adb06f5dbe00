//! Matrices as the products read them, made once for all calls between two updates.

use std::sync::{Mutex, PoisonError};

use burn::tensor::DType;
use burn_ir::TensorId;
use cubecl::server::Handle;

use super::launch::{Params, Queue};
use super::op::{Lazy, exactly, submit};
use super::source::{File, Kernel};

/// Layers and readouts whose matrices are remembered.
const REMEMBERED: usize = 16;

/// With the identities of the matrices that they were made of. No tensor gets the identity of another, and none changes.
static CACHE: Mutex<Vec<(Vec<TensorId>, Vec<Packed>)>> = Mutex::new(Vec::new());

/// A matrix, or some side by side, in bf16.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// `[inputs, total]`.
    pub rows: Lazy,
    /// `[total, inputs]`.
    pub transposed: Lazy,
}

/// The four matrices of a layer: queries, keys and values side by side, output, up, down.
pub(super) fn of_layer(matrices: [&Lazy; 6]) -> [Packed; 4] {
    let [query, key, value, output, up, down] = matrices;
    let packed = remembered(&matrices, || {
        vec![
            pack(&[query, key, value], 1),
            pack(&[output], 1),
            pack(&[up], 1),
            pack(&[down], 1),
        ]
    });
    exactly(packed)
}

/// The matrix of a readout with columns of zeros up to a multiple of `columns`.
pub(super) fn of_readout(matrix: &Lazy, columns: usize) -> Packed {
    let mut packed = remembered(&[matrix], || vec![pack(&[matrix], columns)]);
    packed.swap_remove(0)
}

fn remembered(matrices: &[&Lazy], make: impl FnOnce() -> Vec<Packed>) -> Vec<Packed> {
    let key: Vec<TensorId> = matrices.iter().map(|matrix| matrix.id).collect();
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = match cache.iter().position(|known| known.0 == key) {
        Some(index) => cache.remove(index),
        None => (key, make()),
    };
    let packed = entry.1.clone();
    cache.push(entry);
    let surplus = cache.len().saturating_sub(REMEMBERED);
    cache.drain(..surplus);
    packed
}

/// Matrices with as many rows each, side by side, with columns of zeros up to a multiple of `columns`.
fn pack(matrices: &[&Lazy], columns: usize) -> Packed {
    let inputs = matrices[0].shape[0];
    let outputs: Vec<usize> = matrices.iter().map(|matrix| matrix.shape[1]).collect();
    let used: usize = outputs.iter().sum();
    let total = used.next_multiple_of(columns);
    let shapes = [
        (DType::BF16, vec![inputs, total]),
        (DType::BF16, vec![total, inputs]),
    ];
    let matrices = matrices.iter().map(|matrix| (*matrix).clone()).collect();
    let [rows, transposed] = submit("relay_pack", matrices, shapes, move |queue, matrices| {
        let packed = [(); 2].map(|()| queue.halves(inputs * total));
        if used < total {
            for all in &packed {
                queue.zero(all, 2 * inputs * total);
            }
        }
        let mut column = 0;
        for (matrix, outputs) in matrices.iter().zip(&outputs) {
            place(queue, matrix, &packed, [inputs, *outputs, column, total]);
            column += outputs;
        }
        packed.into()
    });
    Packed { rows, transposed }
}

/// Writes a matrix to its columns in both forms: inputs, outputs, first column, columns of all.
fn place(queue: &Queue, matrix: &Handle, [rows, transposed]: &[Handle; 2], sizes: [usize; 4]) {
    let kernel = Kernel {
        file: File::Pack,
        name: "pack",
        defines: Vec::new(),
        threads: 256,
        shared: 0,
    };
    let grid = [sizes[1].div_ceil(32), sizes[0].div_ceil(32), 1];
    queue.launch(
        kernel,
        grid,
        &[matrix, rows, transposed],
        Params::sizes(sizes),
    );
}
