//! Small buffers that are the same for many calls: they travel to the device once.

use cubecl::cuda::CudaDevice;
use cubecl::server::Handle;

use super::attention::{Columns, HEAD};
use super::cache::Cache;
use super::launch::Queue;
use super::layer::Plan;
use crate::rope::frequency;

/// Buffers that are remembered, those of all devices together.
static CACHE: Cache<(CudaDevice, Key), Handle> = Cache::new(32);

/// What is in a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    /// Cosine and sine of each column's angles in a head, the same buffer for many widths; the base by its bits.
    Angles {
        columns: usize,
        head: usize,
        base: u32,
    },
    Words(Vec<u32>),
}

impl Key {
    fn words(&self) -> Vec<u32> {
        match self {
            Self::Words(words) => words.clone(),
            Self::Angles {
                columns,
                head,
                base,
            } => rotations(*columns, *head, f32::from_bits(*base)),
        }
    }
}

/// What attention needs to know of columns. What a plan is without has a buffer that is not read.
pub(super) fn columns(queue: &Queue, plan: &Plan) -> Columns {
    let pads = buffer(queue, Key::Words(plan.pads.clone()));
    let width = plan.sizes.width.next_power_of_two();
    let angles = plan.rope_base.map(|base| angles(queue, width, HEAD, base));
    let slopes = plan.slopes.iter().map(|slope| slope.to_bits()).collect();
    let slopes = (!plan.slopes.is_empty()).then(|| buffer(queue, Key::Words(slopes)));
    Columns {
        angles: angles.unwrap_or_else(|| pads.clone()),
        slopes: slopes.unwrap_or_else(|| pads.clone()),
        pads,
    }
}

fn buffer(queue: &Queue, key: Key) -> Handle {
    let of = (queue.device().clone(), key.clone());
    CACHE.get(of, || queue.upload(&key.words()))
}

/// The angles of RoPE for so many columns and a width of heads.
pub(super) fn angles(queue: &Queue, columns: usize, head: usize, base: f32) -> Handle {
    let base = base.to_bits();
    buffer(
        queue,
        Key::Angles {
            columns,
            head,
            base,
        },
    )
}

/// The angles of RoPE, `[columns, head / 2]` pairs of cosine and sine.
fn rotations(columns: usize, head: usize, base: f32) -> Vec<u32> {
    let step = move |i| frequency(base, i, head);
    let columns =
        (0..columns).flat_map(|column| (0..head / 2).map(move |i| column as f64 * step(i)));
    columns
        .flat_map(|angle| [angle.cos() as f32, angle.sin() as f32])
        .map(f32::to_bits)
        .collect()
}
