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

/// Memory of one type, kept for whoever needs it next.
///
/// `idle + used <= peak`: no more is held than was in use at once.
#[derive(Debug)]
pub(crate) struct Pool<E> {
    /// What nobody uses, the longest unused first.
    free: Vec<Vec<E>>,
    /// Elements in `free`.
    idle: usize,
    /// Elements in use.
    used: usize,
    /// Most elements that were in use at once.
    peak: usize,
}

impl<E> Pool<E> {
    const fn new() -> Self {
        Self {
            free: Vec::new(),
            idle: 0,
            used: 0,
            peak: 0,
        }
    }

    /// At least `len` elements if some are free, else room for `len` new ones; and what is to be freed for it.
    fn take(&mut self, len: usize) -> (Option<Vec<E>>, Vec<Vec<E>>) {
        let reused = self.best_fit(len).map(|i| self.free.remove(i));
        if let Some(elements) = &reused {
            self.idle -= elements.len();
        }
        self.used += reused.as_ref().map_or(len, Vec::len);
        self.peak = self.peak.max(self.used);
        (reused, self.surplus())
    }

    fn give(&mut self, elements: Vec<E>) {
        self.used -= elements.len();
        self.idle += elements.len();
        self.free.push(elements);
    }

    /// The smallest that fits, unless it would waste more than half while there is room for another.
    fn best_fit(&self, len: usize) -> Option<usize> {
        let room = self.idle + self.used + len <= self.peak;
        let most = if room { 2 * len } else { usize::MAX };
        (0..self.free.len())
            .filter(|i| (len..=most).contains(&self.free[*i].len()))
            .min_by_key(|i| self.free[*i].len())
    }

    /// What is free beyond the peak.
    fn surplus(&mut self) -> Vec<Vec<E>> {
        let mut count = 0;
        while self.idle + self.used > self.peak {
            self.idle -= self.free[count].len();
            count += 1;
        }
        self.free.drain(..count).collect()
    }
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
                static POOL: Mutex<Pool<$element>> = Mutex::new(Pool::new());
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
        let (reused, surplus) = pool::<E>().take(len);
        // Freed before more is asked for, and when nobody has to wait for it.
        drop(surplus);
        Self {
            elements: reused.unwrap_or_else(|| vec![E::default(); len]),
            len,
        }
    }
}

impl<E: Pooled> Drop for Buffer<E> {
    fn drop(&mut self) {
        pool().give(core::mem::take(&mut self.elements));
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
        // Freed first, and made anew: nobody wants what was in it.
        drop(scratch);
        scratch = vec![E::default(); len];
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

/// Cuts the first `len` elements off.
pub(crate) fn cut_mut<'a, E>(rest: &mut &'a mut [E], len: usize) -> &'a mut [E] {
    let (first, last) = core::mem::take(rest).split_at_mut(len);
    *rest = last;
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the pool has for somebody who asks for `len`, and how long the pieces are that it frees.
    fn take(pool: &mut Pool<u8>, len: usize) -> (Option<usize>, Vec<usize>, Vec<u8>) {
        let (reused, surplus) = pool.take(len);
        assert!(pool.idle + pool.used <= pool.peak);
        let found = reused.as_ref().map(Vec::len);
        let freed = surplus.iter().map(Vec::len).collect();
        (found, freed, reused.unwrap_or_else(|| vec![0; len]))
    }

    #[test]
    fn the_smallest_that_fits_is_used_again() {
        let mut pool = Pool::new();
        let buffers = [30, 20, 10].map(|len| take(&mut pool, len).2);
        buffers.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.peak, 60);
        let (found, freed, _kept) = take(&mut pool, 15);
        assert_eq!((found, freed.len()), (Some(20), 0));
        assert_eq!((pool.used, pool.idle), (20, 40));
    }

    #[test]
    fn much_is_not_wasted_on_little_while_there_is_room() {
        let mut pool = Pool::new();
        let small: Vec<_> = [100, 60].map(|len| take(&mut pool, len).2).into();
        small.into_iter().for_each(|buffer| pool.give(buffer));
        let (_, freed, buffer) = take(&mut pool, 110);
        assert_eq!(freed, [100, 60]);
        pool.give(buffer);
        // 110 of at most 160 are held: room for 10 more, not for 60.
        let (found, _, small) = take(&mut pool, 10);
        assert_eq!(found, None);
        pool.give(small);
        assert_eq!(take(&mut pool, 60).0, Some(110));
    }

    #[test]
    fn what_is_too_small_makes_room_before_more_is_made() {
        let mut pool = Pool::new();
        let small: Vec<_> = (0..4).map(|_| take(&mut pool, 10).2).collect();
        small.into_iter().for_each(|buffer| pool.give(buffer));
        let (found, freed, _) = take(&mut pool, 25);
        assert_eq!((found, freed), (None, vec![10, 10, 10]));
        assert_eq!((pool.used, pool.idle, pool.peak), (25, 10, 40));
    }

    #[test]
    fn sizes_that_take_turns_end_in_buffers_for_all() {
        let mut pool = Pool::new();
        for round in 0..6 {
            for lens in [&[10; 8][..], &[60], &[7, 33, 12]] {
                let taken: Vec<_> = lens.iter().map(|len| take(&mut pool, *len)).collect();
                let found = taken.iter().all(|(found, ..)| found.is_some());
                assert!(round < 3 || found, "round {round}, {lens:?}");
                taken.into_iter().for_each(|(.., buffer)| pool.give(buffer));
            }
        }
        assert!(pool.peak <= 160, "{}", pool.peak);
    }
}
