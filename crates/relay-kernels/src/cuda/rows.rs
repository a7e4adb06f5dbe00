//! Work on rows: layer norm and rounding, which are bound by memory rather than by products.

use cubecl::server::Handle;

use super::launch::{Params, Queue, narrow};
use super::source::{File, Kernel};
use crate::dropout::DropoutMask;

/// Threads of a block that takes a row with each of its warps.
const THREADS: u32 = 256;
const ROWS: usize = 8;
/// Blocks that take rows again and again, so that few have sums to add: three on each of an H100's multiprocessors.
const BLOCKS: usize = 3 * 132;

/// So many that each takes its rows once, or as many as `most`, that take some again and again.
pub(super) fn blocks(rows: usize, most: usize) -> [usize; 3] {
    [rows.div_ceil(ROWS).min(most), 1, 1]
}

/// A kernel with one warp a row.
pub(super) fn kernel(
    file: File,
    name: &'static str,
    defines: Vec<(&'static str, u32)>,
    shared: usize,
) -> Kernel {
    Kernel {
        file,
        name,
        defines,
        threads: THREADS,
        shared: narrow(shared),
    }
}

/// A norm of rows.
#[derive(Debug)]
pub(super) struct Norm<'a> {
    /// Rows that are normalised, and their width.
    pub sizes: [usize; 2],
    pub epsilon: f32,
    pub x: &'a Handle,
    /// Scale and shift.
    pub vectors: [&'a Handle; 2],
    /// The rows of `x` that are normalised, if not all are.
    pub chosen: Option<&'a Handle>,
}

impl Norm<'_> {
    /// Normalised rows as products read them, and mean and reciprocal deviation of each.
    pub fn rounded(&self, queue: &Queue, out: &Handle, stats: &Handle) {
        self.launch(queue, false, out, stats);
    }

    /// Normalised rows in f32, and mean and reciprocal deviation of each.
    pub fn wide(&self, queue: &Queue, out: &Handle, stats: &Handle) {
        self.launch(queue, true, out, stats);
    }

    fn launch(&self, queue: &Queue, wide: bool, out: &Handle, stats: &Handle) {
        let ([rows, d], [gamma, beta]) = (self.sizes, self.vectors);
        let defines = vec![
            ("D", narrow(d)),
            ("CHOSEN", u32::from(self.chosen.is_some())),
            ("WIDE", u32::from(wide)),
            queue.split(),
        ];
        // A buffer that is not read has its place taken by one that is there anyway.
        let chosen = self.chosen.unwrap_or(gamma);
        queue.launch(
            kernel(File::Norm, "norm_forward", defines, 0),
            blocks(rows, usize::MAX),
            &[self.x, gamma, beta, chosen, out, stats],
            Params::sizes([rows]).float(self.epsilon),
        );
    }
}

/// What the backward pass of a norm needs.
#[derive(Debug)]
pub(super) struct NormBackward<'a> {
    pub sizes: [usize; 2],
    /// Gradient of the result, as products write it or, if it is `wide`, in f32.
    pub grad: &'a Handle,
    pub wide: bool,
    pub x: &'a Handle,
    pub stats: &'a Handle,
    pub gamma: &'a Handle,
    /// What goes past the norm, added to the gradient of `x`.
    pub skip: Option<&'a Handle>,
    /// The rows of `x` that were normalised, if not all were.
    pub chosen: Option<&'a Handle>,
    /// What all gradients are multiplied by.
    pub scale: Option<&'a Handle>,
    /// Of scale and shift: what is added to.
    pub sums: [&'a Handle; 2],
}

impl NormBackward<'_> {
    /// The gradient of `x`, whose rows that were not chosen stay as they are.
    pub fn run(&self, queue: &Queue, out: &Handle) {
        self.launch(queue, false, out, out, None);
    }

    /// The gradient of `x`, and what dropout leaves of it as products read it.
    pub fn run_dropping(
        &self,
        queue: &Queue,
        mask: Option<DropoutMask>,
        out: &Handle,
        dropped: &Handle,
    ) {
        self.launch(queue, true, out, dropped, mask);
    }

    fn launch(
        &self,
        queue: &Queue,
        dropping: bool,
        out: &Handle,
        dropped: &Handle,
        mask: Option<DropoutMask>,
    ) {
        let [rows, d] = self.sizes;
        let on = |handle: Option<&Handle>| u32::from(handle.is_some());
        let defines = vec![
            ("D", narrow(d)),
            ("SKIP", on(self.skip)),
            ("DROPPED", u32::from(dropping)),
            ("CHOSEN", on(self.chosen)),
            ("SCALED", on(self.scale)),
            ("WIDE", u32::from(self.wide)),
            queue.split(),
        ];
        let [gamma, beta] = self.sums;
        let or_any = |handle: Option<&'_ Handle>| handle.unwrap_or(self.gamma).clone();
        let [skip, chosen, scale] = [self.skip, self.chosen, self.scale].map(or_any);
        let buffers = [
            self.grad, self.x, self.stats, self.gamma, &skip, &chosen, &scale, out, dropped, gamma,
            beta,
        ];
        queue.launch(
            kernel(File::Norm, "norm_backward", defines, 0),
            blocks(rows, BLOCKS),
            &buffers,
            Params::sizes([rows]).mask(mask),
        );
    }
}

/// What dropout leaves of `x` as products read it; the sums of its columns are added to `sums`.
pub(super) fn round(
    queue: &Queue,
    [rows, d]: [usize; 2],
    x: &Handle,
    mask: Option<DropoutMask>,
    [out, sums]: [&Handle; 2],
) {
    let defines = vec![("D", narrow(d)), queue.split()];
    queue.launch(
        kernel(File::Narrow, "narrow", defines, 0),
        blocks(rows, BLOCKS),
        &[x, out, sums],
        Params::sizes([rows]).mask(mask),
    );
}
