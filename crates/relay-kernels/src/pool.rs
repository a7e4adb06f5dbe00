//! Reuse of memory between steps: fresh pages cost more than the passes that fill them.

use core::cell::RefCell;
use core::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::LocalKey;

use crate::bf16::Duo;

/// Elements from the pool; they go back to it when dropped. What they hold at first is arbitrary.
#[derive(Debug)]
pub(crate) struct Buffer<E: Pooled = f32> {
    elements: Vec<E>,
    len: usize,
}

/// Memory of one type that nobody uses.
#[derive(Debug)]
pub(crate) struct Pool<E> {
    free: Vec<Vec<E>>,
    /// Elements in `free`.
    idle: usize,
    used: usize,
    /// Most elements that were in use at once; no more than that are kept.
    peak: usize,
}

/// What memory is kept of.
pub(crate) trait Pooled: Copy + Default + 'static {
    fn pool() -> &'static Mutex<Pool<Self>>;

    /// What [`with_scratch`] keeps for a thread.
    fn scratch() -> &'static LocalKey<RefCell<Vec<Self>>>;
}

macro_rules! pooled {
    ($element:ty) => {
        impl Pooled for $element {
            fn pool() -> &'static Mutex<Pool<Self>> {
                static POOL: Mutex<Pool<$element>> = Mutex::new(Pool {
                    free: Vec::new(),
                    idle: 0,
                    used: 0,
                    peak: 0,
                });
                &POOL
            }

            fn scratch() -> &'static LocalKey<RefCell<Vec<Self>>> {
                thread_local! {
                    static SCRATCH: RefCell<Vec<$element>> = const { RefCell::new(Vec::new()) };
                }
                &SCRATCH
            }
        }
    };
}

pooled!(f32);
pooled!(Duo);

fn pool<E: Pooled>() -> MutexGuard<'static, Pool<E>> {
    E::pool().lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: Pooled> Buffer<E> {
    /// `len` elements of arbitrary content.
    pub fn take(len: usize) -> Self {
        let mut pool = pool::<E>();
        // The smallest that fits, unless it would waste more than half while there is room for another.
        let room = pool.idle + pool.used + len <= pool.peak;
        let most = if room { 2 * len } else { usize::MAX };
        let best = (0..pool.free.len())
            .filter(|i| (len..=most).contains(&pool.free[*i].len()))
            .min_by_key(|i| pool.free[*i].len());
        let reused = best.map(|i| pool.free.swap_remove(i));
        pool.idle -= reused.as_ref().map_or(0, Vec::len);
        pool.used += reused.as_ref().map_or(len, Vec::len);
        pool.peak = pool.peak.max(pool.used);
        drop(pool);
        Self {
            elements: reused.unwrap_or_else(|| vec![E::default(); len]),
            len,
        }
    }
}

impl<E: Pooled> Drop for Buffer<E> {
    fn drop(&mut self) {
        let elements = core::mem::take(&mut self.elements);
        let mut pool = pool::<E>();
        pool.used -= elements.len();
        pool.idle += elements.len();
        pool.free.push(elements);
        let mut surplus = Vec::new();
        while pool.idle > pool.peak {
            let oldest = pool.free.remove(0);
            pool.idle -= oldest.len();
            surplus.push(oldest);
        }
        drop(pool);
    }
}

impl<E: Pooled> Deref for Buffer<E> {
    type Target = [E];
    fn deref(&self) -> &[E] {
        &self.elements[..self.len]
    }
}

impl<E: Pooled> DerefMut for Buffer<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        &mut self.elements[..self.len]
    }
}

/// Runs `work` with `len` elements of this thread, of arbitrary content.
pub(crate) fn with_scratch<E: Pooled, R>(len: usize, work: impl FnOnce(&mut [E]) -> R) -> R {
    // Taken out while in use, so that a nested call finds an empty one instead of a borrowed one.
    let mut scratch = E::scratch().take();
    if scratch.len() < len {
        scratch.resize(len, E::default());
    }
    let result = work(&mut scratch[..len]);
    E::scratch().set(scratch);
    result
}

/// Cuts the first `len` elements off.
pub(crate) fn cut<'a, E>(rest: &mut &'a [E], len: usize) -> &'a [E] {
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
