//! Matrix products of bf16, or of sums of two, on the device, with what follows them.
//!
//! Left operands are `[m, k]`, right ones `[n, k]`: both have the inner dimension in their rows.

use cubecl::server::Handle;

use super::launch::{Params, Queue, narrow};
use super::source::{File, Kernel};
use crate::dropout::DropoutMask;

/// Threads of a block: two warpgroups that multiply, and one that loads.
const THREADS: u32 = 384;
/// How deep a slice of the inner dimension is, and the rows that a warpgroup multiplies with it.
const SLICE: usize = 64;
/// Bytes of such a piece of an operand.
const PIECE: usize = SLICE * SLICE * 2;
/// Slices in shared memory: of the left operand alone, and of both.
const LEFT_STAGES: usize = 8;
const STAGES: usize = 4;
/// Bytes of shared memory through which results are written: 16 rows of 256 bytes, and 16 more each, for eight warps.
const PLACES: u32 = 8 * 16 * (256 + 16);
/// Deepest right operand whose columns stay in shared memory.
const RESIDENT: usize = 256;
/// Blocks at work at the same time: one on each of an H100's multiprocessors.
const BLOCKS: usize = 132;

/// Both operands, and `m, n, k`.
#[derive(Debug)]
pub(super) struct Product<'a> {
    pub left: &'a Handle,
    pub right: &'a Handle,
    pub sizes: [usize; 3],
}

/// A product over rows, whose operands are `[rows, i]` and `[rows, j]`.
#[derive(Debug)]
pub(super) struct Gradient<'a> {
    pub left: &'a Handle,
    pub right: &'a Handle,
    pub rows: usize,
    pub sizes: [usize; 2],
}

/// Columns that a block computes together, which the kernels are written for.
const NARROW: usize = 128;
const WIDE: usize = 256;

/// Those for `n` columns of a result: the wider ones if they leave few without use.
fn columns(n: usize) -> usize {
    if n.next_multiple_of(WIDE) - n < NARROW {
        WIDE
    } else {
        NARROW
    }
}

/// Bytes of `stages` with pieces of 64 rows or columns and two barriers each, and of what is kept beside them.
fn shared(stages: usize, pieces: usize, kept: usize) -> u32 {
    narrow(stages * (pieces * PIECE + 16) + kept * PIECE)
}

impl Product<'_> {
    /// Whether the columns of the right operand that a block takes stay in shared memory.
    fn resident(&self) -> bool {
        self.sizes[2] <= RESIDENT
    }

    /// Starts a kernel whose blocks take some columns of all rows, by turns. The columns change first from block to block, so
    /// that blocks at work share their rows.
    fn launch(
        &self,
        queue: &Queue,
        (name, define): (&'static str, Option<(&'static str, bool)>),
        columns: usize,
        buffers: &[&Handle],
        params: Params,
    ) {
        let [m, n, _] = self.sizes;
        let (rows, shared) = if self.resident() {
            let kept = RESIDENT * queue.bytes() * columns / PIECE;
            (SLICE, shared(LEFT_STAGES, 1, kept))
        } else {
            (2 * SLICE, shared(STAGES, 2 + columns / SLICE, 0))
        };
        let mut defines = vec![
            ("COLUMNS", narrow(columns)),
            ("RESIDENT", u32::from(self.resident())),
            queue.split(),
        ];
        defines.extend(define.map(|(name, on)| (name, u32::from(on))));
        let kernel = Kernel {
            file: File::Gemm,
            name,
            defines,
            threads: THREADS,
            shared: shared + PLACES,
        };
        let across = n.div_ceil(columns);
        let down = (BLOCKS / across).clamp(1, m.div_ceil(rows));
        let operands = [self.left, self.right];
        let buffers: Vec<_> = operands.iter().chain(buffers).copied().collect();
        queue.launch(kernel, [across * down, 1, 1], &buffers, params);
    }

    fn run(
        &self,
        queue: &Queue,
        name: &'static str,
        define: Option<(&'static str, bool)>,
        buffers: &[&Handle],
    ) {
        let params = Params::sizes(self.sizes);
        // Twice as many bytes of them leave room for half as many columns.
        let columns = if self.resident() && queue.bytes() > 2 {
            NARROW
        } else {
            columns(self.sizes[1])
        };
        self.launch(queue, (name, define), columns, buffers, params);
    }

    /// The product as others read it.
    pub fn rounded(&self, queue: &Queue, out: &Handle) {
        self.run(queue, "gemm_store", None, &[out]);
    }

    /// The product in f32, times a number on the device.
    pub fn scaled(&self, queue: &Queue, scale: &Handle, out: &Handle) {
        self.run(queue, "gemm_scaled", None, &[scale, out]);
    }

    /// The GELU of the product with `bias`, and its slope there if there is room for it, both rounded.
    pub fn gelu(&self, queue: &Queue, bias: &Handle, slope: Option<&Handle>, after: &Handle) {
        let keep = Some(("KEEP", slope.is_some()));
        let buffers = [bias, slope.unwrap_or(after), after];
        self.run(queue, "gemm_gelu", keep, &buffers);
    }

    /// `residual + mask * (product + bias)` in f32.
    pub fn residual(
        &self,
        queue: &Queue,
        bias: Option<&Handle>,
        residual: &Handle,
        mask: Option<DropoutMask>,
        out: &Handle,
    ) {
        let define = Some(("BIAS", bias.is_some()));
        // Where the memory is what limits, more blocks that read and write at different times were faster.
        let columns = if self.resident() {
            NARROW
        } else {
            columns(self.sizes[1])
        };
        // Without a bias its place is taken by what is there anyway.
        let buffers = [bias.unwrap_or(residual), residual, out];
        let params = Params::sizes(self.sizes).mask(mask);
        let kernel = ("gemm_residual", define);
        self.launch(queue, kernel, columns, &buffers, params);
    }

    /// The product times the slope of GELU, rounded; the sums of its columns are added to `sums`.
    pub fn through_gelu(&self, queue: &Queue, slope: &Handle, sums: &Handle, out: &Handle) {
        let (kernel, params) = (("gemm_dgelu", None), Params::sizes(self.sizes));
        self.launch(queue, kernel, NARROW, &[slope, out, sums], params);
    }
}

impl Gradient<'_> {
    /// Adds the product to `out`, `[i, j]` in f32.
    pub fn add_to(&self, queue: &Queue, out: &Handle) {
        let [i, j] = self.sizes;
        let tiles = |columns| [i.div_ceil(2 * SLICE), j.div_ceil(columns)];
        // With few tiles many blocks add to the same one: so the smaller ones then.
        let [down, across] = tiles(WIDE);
        let columns = if down * across < 4 {
            NARROW
        } else {
            columns(j)
        };
        let kernel = Kernel {
            file: File::Gradient,
            name: "gemm_grad",
            defines: vec![("COLUMNS", narrow(columns)), queue.split()],
            threads: THREADS,
            shared: shared(STAGES, 2 + columns / SLICE, 0),
        };
        let [down, across] = tiles(columns);
        let splits = (BLOCKS / (down * across)).max(1);
        let rows_per_split = self.rows.div_ceil(splits).next_multiple_of(SLICE);
        let grid = [down, across, self.rows.div_ceil(rows_per_split)];
        let params = Params::sizes([self.rows, i, j, rows_per_split]);
        queue.launch(kernel, grid, &[self.left, self.right, out], params);
    }
}
