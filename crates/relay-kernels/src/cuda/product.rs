//! Matrix products of bf16 on the device, with what follows them.
//!
//! Left operands are `[m, k]`, right ones `[n, k]`: both have the inner dimension in their rows.

use cubecl::server::Handle;

use super::launch::{Params, Queue, narrow};
use super::source::{File, Kernel};
use crate::dropout::DropoutMask;

/// Rows and columns of the results of a block, and its threads: see `gemm.cu`.
const TILE: usize = 128;
const THREADS: u32 = 256;
/// Slices of the inner dimension in shared memory, and how deep each is.
const STAGES: usize = 3;
const SLICE: usize = 64;
/// Blocks that a gradient of a matrix is split into: two on each of an H100's multiprocessors.
const BLOCKS: usize = 2 * 132;

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

fn kernel(name: &'static str, defines: Vec<(&'static str, u32)>) -> Kernel {
    Kernel {
        file: File::Gemm,
        name,
        defines,
        threads: THREADS,
        shared: narrow(STAGES * 2 * TILE * SLICE * 2),
    }
}

impl Product<'_> {
    /// The columns of the result change first from block to block, so that blocks at work share their rows.
    fn grid(&self) -> [usize; 3] {
        let [m, n, _] = self.sizes;
        [n.div_ceil(TILE), m.div_ceil(TILE), 1]
    }

    /// The product in bf16.
    pub fn rounded(&self, queue: &Queue, out: &Handle) {
        queue.launch(
            kernel("gemm_store", Vec::new()),
            self.grid(),
            &[self.left, self.right, out],
            Params::sizes(self.sizes),
        );
    }

    /// The product in f32, times a number on the device.
    pub fn scaled(&self, queue: &Queue, scale: &Handle, out: &Handle) {
        queue.launch(
            kernel("gemm_scaled", Vec::new()),
            self.grid(),
            &[self.left, self.right, scale, out],
            Params::sizes(self.sizes),
        );
    }

    /// The GELU of the product with `bias`, and its slope there if there is room for it, both in bf16.
    pub fn gelu(&self, queue: &Queue, bias: &Handle, slope: Option<&Handle>, after: &Handle) {
        let defines = vec![("KEEP", u32::from(slope.is_some()))];
        queue.launch(
            kernel("gemm_gelu", defines),
            self.grid(),
            &[self.left, self.right, bias, slope.unwrap_or(after), after],
            Params::sizes(self.sizes),
        );
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
        let defines = vec![("BIAS", u32::from(bias.is_some()))];
        // Without a bias its place is taken by what is there anyway.
        let bias = bias.unwrap_or(residual);
        queue.launch(
            kernel("gemm_residual", defines),
            self.grid(),
            &[self.left, self.right, bias, residual, out],
            Params::sizes(self.sizes).mask(mask),
        );
    }

    /// The product times the slope of GELU, in bf16; the sums of its columns are added to `sums`.
    pub fn through_gelu(&self, queue: &Queue, slope: &Handle, sums: &Handle, out: &Handle) {
        queue.launch(
            kernel("gemm_dgelu", Vec::new()),
            self.grid(),
            &[self.left, self.right, slope, out, sums],
            Params::sizes(self.sizes),
        );
    }
}

impl Gradient<'_> {
    /// Adds the product to `out`, `[i, j]` in f32.
    pub fn add_to(&self, queue: &Queue, out: &Handle) {
        let [i, j] = self.sizes;
        let tiles = [i.div_ceil(TILE), j.div_ceil(TILE)];
        let splits = (BLOCKS / (tiles[0] * tiles[1])).max(1);
        let rows_per_split = self.rows.div_ceil(splits).next_multiple_of(SLICE);
        let splits = self.rows.div_ceil(rows_per_split);
        queue.launch(
            kernel("gemm_grad", Vec::new()),
            [tiles[0], tiles[1], splits],
            &[self.left, self.right, out],
            Params::sizes([self.rows, i, j, rows_per_split, j, 0]),
        );
    }
}
