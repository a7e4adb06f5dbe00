//! Matrices as the kernels of `infer.cu` read them: in bf16, in slabs of 128 rows and 64 columns, each as the tensor cores want it.

use burn::tensor::DType;
use burn_ir::TensorId;
use cubecl::server::Handle;

use super::cache::Cache;
use super::launch::{Params, Parts, Queue, narrow};
use super::op::{Lazy, submit};
use super::parameters::{fields, forms};
use super::source::{File, Kernel};
use super::weights;
use crate::switch::Precision;

/// Rows and columns of a slab, and its bytes.
pub(super) const ROWS: usize = 128;
const COLUMNS: usize = 64;
const BYTES: usize = 2 * ROWS * COLUMNS;
/// Slabs in shared memory: as many as there is room for beside rows 256 wide.
const SLOTS: usize = 9;
/// Numbers of f32 that there is room for too.
pub(super) const NUMBERS: usize = 4096;
/// A block on each of an H100's multiprocessors, which takes tiles of rows again and again.
const BLOCKS: usize = 132;
const THREADS: u32 = 384;

/// Packed layers and matrices that are remembered: a few for each of several devices.
static LAYERS: Cache<TensorId, Lazy> = Cache::new(64);
static MATRICES: Cache<TensorId, Lazy> = Cache::new(64);

/// Which slabs lie one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Those of the same rows.
    ByRows,
    /// Those of the same columns.
    ByColumns,
}

/// The matrices behind the attention of a layer: of the output, up and down.
pub(super) type Matrices = Parts<3>;

/// The matrices of a layer of width `d` with an MLP of width `m`.
pub(super) fn matrices(d: usize, m: usize) -> Matrices {
    Parts::of([d * d, d * m, m * d].map(|count| 2 * count))
}

/// The matrices behind the attention of a layer, transposed, in slabs, from its parameters packed in bf16.
pub(super) fn of_layer(packed: &Lazy, d: usize, m: usize) -> Lazy {
    LAYERS.get(packed.id, || {
        let parts = matrices(d, m);
        let inputs = vec![packed.clone()];
        let work = move |queue: &Queue, inputs: Vec<Handle>| {
            let [.., output, up, down] = fields(d, m, Precision::Bf16).cut(&inputs[0]);
            let all = queue.room(&parts);
            let sizes = [
                (output, [d, d], Order::ByColumns),
                (up, [d, m], Order::ByRows),
                (down, [m, d], Order::ByColumns),
            ];
            for ((matrix, [inner, outer], order), out) in sizes.iter().zip(parts.cut(&all)) {
                let [_, transposed] = forms(matrix, queue.bytes() * inner * outer);
                arrange(queue, &transposed, [*outer, *inner], *order, &out);
            }
            vec![all]
        };
        let [out] = submit(
            ("relay_arrange_layer", Precision::Bf16),
            inputs,
            [parts.form()],
            work,
        );
        out
    })
}

/// A matrix `[inner, outer]`, transposed, in slabs, with rows of zeros up to a whole slab.
pub(super) fn of_matrix(matrix: &Lazy) -> Lazy {
    MATRICES.get(matrix.id, || {
        let transposed = weights::padded(matrix, ROWS, Precision::Bf16).transposed;
        let sizes = [transposed.shape[0], transposed.shape[1]];
        let outputs = [(DType::BF16, sizes.to_vec())];
        let inputs = vec![transposed];
        let work = move |queue: &Queue, inputs: Vec<Handle>| {
            let out = queue.operands(sizes[0] * sizes[1]);
            arrange(queue, &inputs[0], sizes, Order::ByRows, &out);
            vec![out]
        };
        let [out] = submit(("relay_arrange", Precision::Bf16), inputs, outputs, work);
        out
    })
}

/// A matrix of bf16 in slabs.
fn arrange(
    queue: &Queue,
    matrix: &Handle,
    [rows, columns]: [usize; 2],
    order: Order,
    out: &Handle,
) {
    let kernel = Kernel {
        file: File::Pack,
        name: "arrange",
        defines: Vec::new(),
        threads: 256,
        shared: 0,
    };
    let by_columns = usize::from(order == Order::ByColumns);
    queue.launch(
        kernel,
        [columns / COLUMNS, rows.div_ceil(ROWS), 1],
        &[matrix, out],
        Params::sizes([rows, columns, by_columns]),
    );
}

/// A kernel of `infer.cu` for streams of width `d`, with so many `numbers` of f32 in shared memory.
pub(super) fn kernel(name: &'static str, d: usize, numbers: usize, norm: bool) -> Kernel {
    let defines = [("D", d), ("SLOTS", SLOTS), ("NORM", usize::from(norm))];
    Kernel {
        file: File::Infer,
        name,
        defines: defines.map(|(name, value)| (name, narrow(value))).into(),
        threads: THREADS,
        // For each slab and for the tile of rows there are two barriers.
        shared: narrow(2 * ROWS * d + SLOTS * (BYTES + 16) + 16 + 4 * numbers),
    }
}

/// Blocks for so many rows.
pub(super) fn grid(rows: usize) -> [usize; 3] {
    [rows.div_ceil(ROWS).min(BLOCKS), 1, 1]
}
