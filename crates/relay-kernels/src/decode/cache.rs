//! Keys and values of the columns that a text has seen.

use crate::pool::Buffer;

/// Columns of a page: a whole number of vectors on every machine.
pub(super) const PAGE: usize = 64;

/// How the floats of a page are arranged, and how wide things are.
///
/// A page holds the keys and values of [`PAGE`] columns of one text, of all layers and heads, so that a text grows
/// without ever being copied. Of each layer and head it holds first the keys `[head_dim, PAGE]`, whose products with a
/// query are then sums of whole vectors, and then the values `[PAGE, padded]`. Both are read from one end to the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub layers: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// Width of a head rounded up to whole vectors.
    pub padded: usize,
}

impl Layout {
    fn head(&self) -> usize {
        PAGE * (self.head_dim + self.padded)
    }

    /// Width of the model.
    pub fn d(&self) -> usize {
        self.heads * self.head_dim
    }

    /// A page of arbitrary content: what stands beyond the last column is never used.
    pub fn page(&self) -> Buffer {
        Buffer::take(self.layers * self.heads * self.head())
    }

    /// Where the keys of a layer's head stand in a page.
    pub fn keys(&self, layer: usize, head: usize) -> core::ops::Range<usize> {
        let at = (layer * self.heads + head) * self.head();
        at..at + PAGE * self.head_dim
    }

    /// Where the values of a layer's head stand in a page.
    pub fn values(&self, layer: usize, head: usize) -> core::ops::Range<usize> {
        let at = self.keys(layer, head).end;
        at..at + PAGE * self.padded
    }

    /// Writes a column's keys and values of one head.
    #[inline(always)]
    pub fn write(
        &self,
        page: &mut [f32],
        [layer, head, column]: [usize; 3],
        key: &[f32],
        value: &[f32],
    ) {
        let within = column % PAGE;
        let keys = &mut page[self.keys(layer, head)];
        for (key, keys) in key.iter().zip(keys.chunks_exact_mut(PAGE)) {
            keys[within] = *key;
        }
        let values = &mut page[self.values(layer, head)];
        values[within * self.padded..][..self.head_dim].copy_from_slice(value);
    }
}
