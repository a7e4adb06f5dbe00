//! Attention of a layer: a head at once where its scores fit one block, by tiles where they do not.

use cubecl::server::Handle;

use super::launch::{Params, Queue, bytes, narrow, split};
use super::layer::Plan;
use super::source::{File, Kernel};

/// Width of a head.
pub(super) const HEAD: usize = 64;
/// Most columns of a head that one block takes: its scores of a row stay in the registers of a warp.
pub(super) const WHOLE: usize = 128;
/// Columns of a tile of scores.
const TILE: usize = 16;

/// Of a long head, threads of a block, and rows that it owns, of as many as pass by at a time: as in `attention_long.cuh`.
const THREADS: u32 = 128;
const OWN: usize = 64;

/// Angles, padding and slopes on the device.
#[derive(Debug)]
pub(super) struct Columns {
    pub angles: Handle,
    pub pads: Handle,
    pub slopes: Handle,
}

/// What attention brings together, rounded, and the logarithm of each row's sum of exponentials.
///
/// Queries and keys of long heads are rotated where they are, for the backward pass as well.
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
    if plan.sizes.width <= WHOLE {
        let buffers = [qkv, angles, pads, slopes, out, sums];
        return launch_whole(queue, plan, ("attention_forward", false), &buffers);
    }
    if plan.rope_base.is_some() {
        // A thread for 8 numbers and their partners half a head further.
        let units = plan.sizes.rows() * 2 * plan.sizes.heads * HEAD / 16;
        let rotate = Kernel {
            threads: 256,
            ..long_kernel(plan, File::AttentionLong, "rotate_heads", 0)
        };
        let grid = [units.div_ceil(256), 1, 1];
        queue.launch(rotate, grid, &[qkv, angles], params(plan));
    }
    let forward = long_kernel(
        plan,
        File::AttentionLong,
        "attention_long_forward",
        rows(plan, 5 * OWN),
    );
    launch_long(queue, plan, forward, &[qkv, pads, slopes, out, sums]);
}

/// What attention of at most [`WHOLE`] columns brings together, in [slabs](super::slabs); no sums are kept.
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
    let buffers = [qkv, angles, pads, slopes, out, out];
    launch_whole(queue, plan, ("attention_forward", true), &buffers);
}

/// The gradient of queries, keys and values, `[rows, 3 d]`, rounded.
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
    if plan.sizes.width <= WHOLE {
        let buffers = [qkv, angles, pads, slopes, out, grad, sums, grad_qkv];
        return launch_whole(queue, plan, ("attention_backward", false), &buffers);
    }
    // What the first kernel leaves for the second: a number a row, and with dropout a bit for each score.
    let deltas = &queue.floats(plan.sizes.rows() * plan.sizes.heads);
    let words = blocks(plan) * plan.sizes.width.div_ceil(OWN) * THREADS as usize;
    let bits = plan.dropout.map(|_| queue.floats(words));
    let bits = bits.as_ref().unwrap_or(deltas);
    let (file, shared) = (File::AttentionLongBackward, rows(plan, 6 * OWN));
    let queries = long_kernel(plan, file, "attention_long_queries", shared + 4 * OWN);
    let buffers = [
        qkv, angles, pads, slopes, out, grad, sums, deltas, bits, grad_qkv,
    ];
    launch_long(queue, plan, queries, &buffers);
    let keys = long_kernel(plan, file, "attention_long_keys", shared + 32 * OWN);
    let buffers = [
        qkv, angles, pads, slopes, grad, sums, deltas, bits, grad_qkv,
    ];
    launch_long(queue, plan, keys, &buffers);
}

/// One block takes a head of a sample, with a warp for each tile of columns.
fn launch_whole(
    queue: &Queue,
    plan: &Plan,
    (name, slabs): (&'static str, bool),
    buffers: &[&Handle],
) {
    let sizes = &plan.sizes;
    let tiles = sizes.width.div_ceil(TILE);
    let kernel = Kernel {
        file: File::Attention,
        name,
        defines: vec![
            ("TILES", narrow(tiles)),
            ("HD", narrow(HEAD)),
            ("POSSIBLE", narrow(flags(plan))),
            ("SLABS", u32::from(slabs)),
            split(plan.precision),
        ],
        threads: narrow(32 * tiles),
        shared: narrow(whole_shared(plan, tiles, name == "attention_backward")),
    };
    let grid = [sizes.batch * sizes.heads, 1, 1];
    queue.launch(kernel, grid, buffers, params(plan));
}

/// Bytes of shared memory, as `attention.cu` lays it out.
fn whole_shared(plan: &Plan, tiles: usize, backward: bool) -> usize {
    let count = TILE * tiles;
    if backward {
        rows(plan, 3 * count) + count * row(plan, HEAD.max(count)) + count * 8
    } else {
        rows(plan, 3 * count)
    }
}

/// A kernel that takes heads by tiles.
fn long_kernel(plan: &Plan, file: File, name: &'static str, shared: usize) -> Kernel {
    let defines = vec![
        ("HD", narrow(HEAD)),
        ("WITH_SLOPES", u32::from(!plan.slopes.is_empty())),
        ("WITH_DROPOUT", u32::from(plan.dropout.is_some())),
        split(plan.precision),
    ];
    Kernel {
        file,
        name,
        defines,
        threads: THREADS,
        shared: narrow(shared),
    }
}

fn launch_long(queue: &Queue, plan: &Plan, kernel: Kernel, buffers: &[&Handle]) {
    queue.launch(kernel, [blocks(plan), 1, 1], buffers, params(plan));
}

/// Blocks that take long heads, each some rows of one.
fn blocks(plan: &Plan) -> usize {
    let sizes = &plan.sizes;
    sizes.batch * sizes.heads * sizes.width.div_ceil(OWN)
}

/// Bytes of so many rows of a head in shared memory.
fn rows(plan: &Plan, count: usize) -> usize {
    count * row(plan, HEAD)
}

/// Bytes from one row of so many numbers to the next there.
fn row(plan: &Plan, numbers: usize) -> usize {
    bytes(plan.precision) * numbers + 16
}

fn params(plan: &Plan) -> Params {
    let sizes = &plan.sizes;
    Params::sizes([sizes.batch, sizes.width, sizes.heads, flags(plan)])
        .float(1.0 / (HEAD as f32).sqrt())
        .mask(plan.dropout.map(|dropout| dropout.probabilities))
}

/// What there is, by the bits of `attention.cuh`.
fn flags(plan: &Plan) -> usize {
    let flags = [
        plan.causal,
        plan.rope_base.is_some(),
        !plan.slopes.is_empty(),
        plan.dropout.is_some(),
    ];
    flags
        .iter()
        .rev()
        .fold(0, |all, on| all * 2 + usize::from(*on))
}
