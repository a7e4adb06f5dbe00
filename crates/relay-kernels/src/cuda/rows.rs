//! Work on rows: layer norm, rounding, and attention, which are bound by memory rather than by products.

use cubecl::server::Handle;

use super::launch::{Params, Queue, narrow};
use super::layer::Plan;
use super::source::{File, Kernel};
use crate::dropout::DropoutMask;

/// Threads of a block that takes a row with each of its warps.
const THREADS: u32 = 256;
const ROWS: usize = 8;
/// Blocks that take rows again and again, so that few have sums to add: four on each of an H100's multiprocessors.
const BLOCKS: usize = 4 * 132;
/// Width of a head.
pub(super) const HEAD: usize = 64;
/// Columns of a tile of scores.
const COLUMNS: usize = 16;

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
    /// Normalised rows in bf16, and mean and reciprocal deviation of each.
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
    /// Gradient of the result, in bf16 or, if it is `wide`, in f32.
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

    /// The gradient of `x`, and what dropout leaves of it in bf16.
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

/// What dropout leaves of `x` in bf16; the sums of its columns are added to `sums`.
pub(super) fn round(
    queue: &Queue,
    [rows, d]: [usize; 2],
    x: &Handle,
    mask: Option<DropoutMask>,
    [out, sums]: [&Handle; 2],
) {
    queue.launch(
        kernel(File::Narrow, "narrow", vec![("D", narrow(d))], 0),
        blocks(rows, BLOCKS),
        &[x, out, sums],
        Params::sizes([rows]).mask(mask),
    );
}

/// Angles, padding and slopes on the device.
#[derive(Debug)]
pub(super) struct Columns {
    pub angles: Handle,
    pub pads: Handle,
    pub slopes: Handle,
}

/// What attention brings together in bf16, and the logarithm of each row's sum of exponentials.
pub(super) fn attention(
    queue: &Queue,
    plan: &Plan,
    columns: &Columns,
    [qkv, out, sums]: [&Handle; 3],
) {
    let Columns {
        angles,
        pads,
        slopes,
    } = columns;
    launch_attention(
        queue,
        plan,
        ("attention_forward", false),
        &[qkv, angles, pads, slopes, out, sums],
    );
}

/// What attention brings together, in slabs.
pub(super) fn attention_in_slabs(
    queue: &Queue,
    plan: &Plan,
    columns: &Columns,
    [qkv, out]: [&Handle; 2],
) {
    let Columns {
        angles,
        pads,
        slopes,
    } = columns;
    launch_attention(
        queue,
        plan,
        ("attention_forward", true),
        // No sums are kept.
        &[qkv, angles, pads, slopes, out, out],
    );
}

/// The gradient of queries, keys and values, `[rows, 3 d]` in bf16.
pub(super) fn attention_backward(
    queue: &Queue,
    plan: &Plan,
    columns: &Columns,
    [qkv, out, grad, sums]: [&Handle; 4],
    grad_qkv: &Handle,
) {
    let Columns {
        angles,
        pads,
        slopes,
    } = columns;
    launch_attention(
        queue,
        plan,
        ("attention_backward", false),
        &[qkv, angles, pads, slopes, out, grad, sums, grad_qkv],
    );
}

/// One block takes a head of a sample, with a warp for each tile of columns.
fn launch_attention(
    queue: &Queue,
    plan: &Plan,
    (name, slabs): (&'static str, bool),
    buffers: &[&Handle],
) {
    let sizes = &plan.sizes;
    let tiles = sizes.width.div_ceil(COLUMNS);
    let kernel = Kernel {
        file: File::Attention,
        name,
        defines: vec![
            ("TILES", narrow(tiles)),
            ("HD", narrow(HEAD)),
            ("SLABS", u32::from(slabs)),
        ],
        threads: narrow(32 * tiles),
        shared: narrow(attention_shared(tiles, name == "attention_backward")),
    };
    let dropout = plan.dropout.map(|dropout| dropout.probabilities);
    let flags = [
        plan.causal,
        plan.rope_base.is_some(),
        !plan.slopes.is_empty(),
        dropout.is_some(),
    ];
    let flags = flags
        .iter()
        .rev()
        .fold(0, |all, on| all * 2 + usize::from(*on));
    let params = Params::sizes([sizes.batch, sizes.width, sizes.heads, flags])
        .float(1.0 / (HEAD as f32).sqrt())
        .mask(dropout);
    queue.launch(kernel, [sizes.batch * sizes.heads, 1, 1], buffers, params);
}

/// Bytes of shared memory, as `attention.cu` lays it out.
fn attention_shared(tiles: usize, backward: bool) -> usize {
    let (rows, pitch, score_pitch) = (COLUMNS * tiles, HEAD + 8, COLUMNS * tiles + 8);
    let three = 3 * rows * pitch * 2;
    if backward {
        three + rows * pitch.max(score_pitch) * 2 + rows * 8
    } else {
        three
    }
}
