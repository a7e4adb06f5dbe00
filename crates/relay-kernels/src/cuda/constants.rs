//! Small buffers that are the same for many calls: they travel to the device once.

use std::sync::{Mutex, PoisonError};

use cubecl::cuda::CudaDevice;
use cubecl::server::Handle;

use super::attention::{Columns, HEAD};
use super::launch::Queue;
use super::layer::Plan;

/// Buffers that are remembered.
const REMEMBERED: usize = 32;

static CACHE: Mutex<Vec<(CudaDevice, Key, Handle)>> = Mutex::new(Vec::new());

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
    let angles = plan.rope_base.map(|base| Key::Angles {
        columns: plan.sizes.width.next_power_of_two(),
        head: HEAD,
        base: base.to_bits(),
    });
    let slopes = plan.slopes.iter().map(|slope| slope.to_bits()).collect();
    let slopes = (!plan.slopes.is_empty()).then_some(Key::Words(slopes));
    let or_any = |key: Option<Key>| key.map_or_else(|| pads.clone(), |key| buffer(queue, key));
    Columns {
        angles: or_any(angles),
        slopes: or_any(slopes),
        pads: pads.clone(),
    }
}

fn buffer(queue: &Queue, key: Key) -> Handle {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |known: &(CudaDevice, Key, Handle)| known.0 == *queue.device() && known.1 == key;
    let entry = match cache.iter().position(same) {
        Some(index) => cache.remove(index),
        None => {
            let buffer = queue.upload(&key.words());
            (queue.device().clone(), key, buffer)
        }
    };
    let buffer = entry.2.clone();
    cache.push(entry);
    let surplus = cache.len().saturating_sub(REMEMBERED);
    cache.drain(..surplus);
    buffer
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
    let step = |i: usize| f64::from(base).powf(-2.0 * i as f64 / head as f64);
    let columns =
        (0..columns).flat_map(|column| (0..head / 2).map(move |i| column as f64 * step(i)));
    columns
        .flat_map(|angle| [angle.cos() as f32, angle.sin() as f32])
        .map(f32::to_bits)
        .collect()
}
