//! The texts that wait for a worker.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::model::Model;

/// Floats of keys and values that the texts of one worker may come to: what stays in the last-level cache is read
/// several times faster.
const CACHED_FLOATS: usize = 3 << 20;
/// Texts of a worker, if there are so many: fewer leave the weights to be read too often, more gain nothing.
const SLOTS: [usize; 2] = [4, 16];

/// Texts in the order in which workers take them.
#[derive(Debug)]
pub(super) struct Queue<'a> {
    pub prompts: &'a [Vec<u32>],
    pub end: u32,
    pub limits: &'a [usize],
    /// The longest first, so that none is left over at the end.
    order: Vec<usize>,
    taken: AtomicUsize,
    /// Columns that the longest text may come to.
    pub longest: usize,
    /// Texts that a worker has at a time.
    slots: usize,
}

impl<'a> Queue<'a> {
    /// All texts that have something to write.
    pub fn new(model: &Model, prompts: &'a [Vec<u32>], end: u32, limits: &'a [usize]) -> Self {
        // The last token that is written is never read.
        let columns = |text: usize| (prompts[text].len() - 1).saturating_add(limits[text]);
        let mut order: Vec<usize> = (0..prompts.len())
            .filter(|text| limits[*text] > 0)
            .collect();
        order.sort_by_key(|text| core::cmp::Reverse(columns(*text)));
        let longest = order.first().map_or(0, |text| columns(*text));
        let layout = &model.layout;
        let floats = (2 * layout.layers * layout.d()).saturating_mul(longest);
        Self {
            prompts,
            end,
            limits,
            order,
            taken: AtomicUsize::new(0),
            longest,
            slots: (CACHED_FLOATS / floats.max(1)).clamp(SLOTS[0], SLOTS[1]),
        }
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Texts that one of so many workers should have at a time.
    pub fn slots(&self, workers: usize) -> usize {
        self.slots.min(self.len().div_ceil(workers))
    }

    /// The next text.
    pub fn next(&self) -> Option<usize> {
        let next = self.taken.fetch_add(1, Ordering::Relaxed);
        self.order.get(next).copied()
    }
}
