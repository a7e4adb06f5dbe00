//! Both sides of a layer's weight gradients, as its backward pass leaves them.
//!
//! A chunk copies each side as soon as it has made it, while that is in cache, into panels of columns that go through all
//! rows of a round: so products read them, and nothing has to be gathered from far apart.

use crate::form::Form;
use crate::isa::Isa;
use crate::pool::cut;

/// Both sides of each weight gradient, or one thing for each.
#[derive(Debug)]
pub(crate) struct Sides<T> {
    /// Output of the first norm.
    pub normal_attention: T,
    /// Gradients of queries, keys and values.
    pub grad_qkv: [T; 3],
    /// Attention before the output product.
    pub attended: T,
    /// Gradient of what attention adds to the stream.
    pub grad_attention: T,
    /// Output of the second norm.
    pub normal_mlp: T,
    /// Gradient of the MLP before GELU.
    pub grad_hidden: T,
    /// The MLP after GELU.
    pub active: T,
    /// Gradient of what the MLP adds to the stream.
    pub grad_mlp: T,
}

impl<T> Sides<T> {
    /// Each of what `next` makes of its columns, in their order in memory.
    fn of([d, m]: [usize; 2], mut next: impl FnMut(usize) -> T) -> Self {
        Self {
            normal_attention: next(d),
            grad_qkv: [next(d), next(d), next(d)],
            attended: next(d),
            grad_attention: next(d),
            normal_mlp: next(d),
            grad_hidden: next(m),
            active: next(m),
            grad_mlp: next(d),
        }
    }
}

/// The sides of a round of chunks in memory: panels one after the other, each `[depth, panel]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub isa: Isa,
    /// Widths of the model and of the MLP.
    pub widths: [usize; 2],
    /// Rows of a chunk, in elements; the last chunk may have fewer.
    pub chunk: usize,
    /// Rows of all chunks, in elements.
    pub depth: usize,
}

impl Layout {
    /// Elements of all sides.
    pub fn elements(&self) -> usize {
        let mut panels = 0;
        Sides::of(self.widths, |cols| panels += self.panels(cols));
        panels * self.panel()
    }

    fn panels(&self, cols: usize) -> usize {
        cols.div_ceil(self.isa.panel())
    }

    /// Elements of a panel.
    fn panel(&self) -> usize {
        self.depth * self.isa.panel()
    }

    /// Where each chunk's rows go.
    pub fn slots<'a, E>(&self, elements: &'a mut [E]) -> Vec<Sides<Slot<'a, E>>> {
        let mut panels: Vec<_> = elements
            .chunks_exact_mut(self.panel())
            .map(|panel| panel.chunks_mut(self.chunk * self.isa.panel()))
            .collect();
        let chunk = |_| {
            let mut panels = panels.iter_mut();
            Sides::of(self.widths, |cols| {
                let own = panels.by_ref().take(self.panels(cols));
                let panels = own.filter_map(Iterator::next).collect();
                Slot { cols, panels }
            })
        };
        (0..self.depth.div_ceil(self.chunk)).map(chunk).collect()
    }

    /// The sides, once all chunks have left them.
    pub fn sides<'a, E>(&self, mut elements: &'a [E]) -> Sides<Side<'a, E>> {
        Sides::of(self.widths, |cols| Side {
            cols,
            elements: cut(&mut elements, self.panels(cols) * self.panel()),
            panel: self.panel(),
        })
    }
}

/// A chunk's part of each panel of a side.
#[derive(Debug)]
pub(crate) struct Slot<'a, E> {
    cols: usize,
    panels: Vec<&'a mut [E]>,
}

impl<E: Form> Slot<'_, E> {
    /// Copies the side from rows of `stride` floats, where it begins at column `first`.
    pub fn fill(&mut self, isa: Isa, x: &[f32], stride: usize, first: usize) {
        let (panel, end) = (isa.panel(), first + self.cols);
        for (start, to) in (first..end).step_by(panel).zip(&mut self.panels) {
            E::columns(isa, x, stride, start..end.min(start + panel), to, panel);
        }
    }
}

/// One side of a weight gradient, its columns in panels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a, E> {
    pub cols: usize,
    elements: &'a [E],
    /// Elements of a panel.
    panel: usize,
}

impl<'a, E> Side<'a, E> {
    pub fn panels(&self) -> impl Iterator<Item = &'a [E]> {
        self.elements.chunks_exact(self.panel)
    }
}
