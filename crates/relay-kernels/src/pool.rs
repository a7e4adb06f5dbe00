//! Reuse of memory between steps: fresh pages cost more than the passes that fill them.

use core::cell::RefCell;
use core::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Floats from the pool; they go back to it when dropped. What they hold at first is arbitrary.
#[derive(Debug)]
pub(crate) struct Buffer {
    floats: Vec<f32>,
    len: usize,
}

#[derive(Debug)]
struct Pool {
    free: Vec<Vec<f32>>,
    free_floats: usize,
    used_floats: usize,
    /// Most floats that were in use at once; no more than that are kept.
    peak_floats: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: Vec::new(),
    free_floats: 0,
    used_floats: 0,
    peak_floats: 0,
});

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    /// `len` floats of arbitrary content.
    pub fn take(len: usize) -> Self {
        let mut pool = pool();
        // The smallest that fits, unless it would waste more than half while there is room for another.
        let room = pool.free_floats + pool.used_floats + len <= pool.peak_floats;
        let most = if room { 2 * len } else { usize::MAX };
        let best = (0..pool.free.len())
            .filter(|i| (len..=most).contains(&pool.free[*i].len()))
            .min_by_key(|i| pool.free[*i].len());
        let reused = best.map(|i| pool.free.swap_remove(i));
        pool.free_floats -= reused.as_ref().map_or(0, Vec::len);
        pool.used_floats += reused.as_ref().map_or(len, Vec::len);
        pool.peak_floats = pool.peak_floats.max(pool.used_floats);
        drop(pool);
        Self {
            floats: reused.unwrap_or_else(|| vec![0.0; len]),
            len,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let floats = core::mem::take(&mut self.floats);
        let mut pool = pool();
        pool.used_floats -= floats.len();
        pool.free_floats += floats.len();
        pool.free.push(floats);
        let mut surplus = Vec::new();
        while pool.free_floats > pool.peak_floats {
            let oldest = pool.free.remove(0);
            pool.free_floats -= oldest.len();
            surplus.push(oldest);
        }
        drop(pool);
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.floats[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[..self.len]
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with `len` floats of this thread, of arbitrary content.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out while in use, so that a nested call finds an empty one instead of a borrowed one.
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let result = work(&mut scratch[..len]);
    SCRATCH.set(scratch);
    result
}

/// Cuts the first `len` floats off.
pub(crate) fn cut<'a>(rest: &mut &'a [f32], len: usize) -> &'a [f32] {
    let (first, last) = rest.split_at(len);
    *rest = last;
    first
}

/// Cuts the first `len` floats off.
pub(crate) fn cut_mut<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, last) = core::mem::take(rest).split_at_mut(len);
    *rest = last;
    first
}
