//! Matrices as the products read them: in bf16 or split, as they are and transposed.

use burn::tensor::DType;
use burn_ir::TensorId;
use cubecl::server::Handle;

use super::cache::Cache;
use super::launch::{Params, Queue};
use super::op::{Lazy, submit};
use super::source::{File, Kernel};
use crate::switch::Precision;

/// Matrices that are remembered, a few for each of the devices that share a training: with the identities of those that they
/// were made of, what their columns are a multiple of, and the precision. No tensor gets the identity of another, and none
/// changes.
static CACHE: Cache<(TensorId, usize, Precision), Packed> = Cache::new(64);

/// A matrix in a precision, whose parts are a dimension of their own behind that of the rows where there are two.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// `[inputs, total]`.
    pub rows: Lazy,
    /// `[total, inputs]`.
    pub transposed: Lazy,
}

/// A matrix with columns of zeros up to a multiple of `columns`, made once for all calls between two updates.
pub(super) fn padded(matrix: &Lazy, columns: usize, precision: Precision) -> Packed {
    let key = (matrix.id, columns, precision);
    CACHE.get(key, || pack(matrix, columns, precision))
}

fn pack(matrix: &Lazy, columns: usize, precision: Precision) -> Packed {
    let (inputs, outputs) = (matrix.shape[0], matrix.shape[1]);
    let total = outputs.next_multiple_of(columns);
    let shape = |rows, columns| match precision {
        Precision::F32 => (DType::BF16, vec![rows, 2, columns]),
        Precision::Bf16 => (DType::BF16, vec![rows, columns]),
    };
    let shapes = [shape(inputs, total), shape(total, inputs)];
    let matrices = vec![matrix.clone()];
    let name = ("relay_pack", precision);
    let [rows, transposed] = submit(name, matrices, shapes, move |queue, matrices| {
        let packed = [(); 2].map(|()| queue.operands(inputs * total));
        if outputs < total {
            for all in &packed {
                queue.zero(all, queue.bytes() * inputs * total);
            }
        }
        place(queue, &matrices[0], &packed, [inputs, outputs, 0, total]);
        packed.into()
    });
    Packed { rows, transposed }
}

/// Writes a matrix to its columns in both forms: inputs, outputs, first column, columns of all.
pub(super) fn place(
    queue: &Queue,
    matrix: &Handle,
    [rows, transposed]: &[Handle; 2],
    sizes: [usize; 4],
) {
    let grid = [sizes[1].div_ceil(32), sizes[0].div_ceil(32), 1];
    let buffers = [matrix, rows, transposed];
    let kernel = Kernel {
        defines: vec![queue.split()],
        ..kernel("pack")
    };
    queue.launch(kernel, grid, &buffers, Params::sizes(sizes));
}

/// Copies the columns of one matrix out of several that stand side by side: the same sizes.
pub(super) fn take_columns(queue: &Queue, all: &Handle, out: &Handle, sizes: [usize; 4]) {
    let grid = [(sizes[0] * sizes[1]).div_ceil(256), 1, 1];
    let buffers = [all, out];
    queue.launch(kernel("take_columns"), grid, &buffers, Params::sizes(sizes));
}

fn kernel(name: &'static str) -> Kernel {
    Kernel {
        file: File::Pack,
        name,
        defines: Vec::new(),
        threads: 256,
        shared: 0,
    }
}
