//! Both sides of a layer's weight gradients, as its backward pass leaves them.
//!
//! A chunk copies each side into panels of columns that go through all rows of a round, most of them as soon as it has made
//! them, while they are in cache: so products read them, and nothing has to be gathered from far apart.

use core::ops::Range;

use crate::form::Form;
use crate::isa::Isa;
use crate::pool::cut;
use crate::product::Left;

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

/// The sides of a round of chunks in memory: panels of columns one after the other, each `[depth, columns]`.
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
        let mut elements = 0;
        Sides::of(self.widths, |cols| elements += self.side(cols));
        elements
    }

    /// Elements of a side of so many columns.
    fn side(&self, cols: usize) -> usize {
        self.panels(cols) * self.panel()
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
        // Each panel in the parts of the chunks; a chunk takes the next part of every panel.
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
            depth: self.depth,
            row: self.isa.panel(),
            elements: cut(&mut elements, self.side(cols)),
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
        debug_assert_eq!(self.panels.len(), self.cols.div_ceil(panel));
        for (start, to) in (first..end).step_by(panel).zip(&mut self.panels) {
            debug_assert_eq!((x.len() / stride).div_ceil(E::NUMBERS), to.len() / panel);
            E::columns(isa, x, stride, start..end.min(start + panel), to, panel);
        }
    }
}

/// One side of a weight gradient, its columns in panels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a, E> {
    pub cols: usize,
    /// Rows, in elements.
    pub depth: usize,
    /// Elements of a row of a panel.
    row: usize,
    elements: &'a [E],
}

impl<'a, E> Side<'a, E> {
    /// Some rows of a panel.
    pub fn rows(&self, panel: usize, rows: Range<usize>) -> &'a [E] {
        let first = panel * self.depth;
        &self.elements[(first + rows.start) * self.row..(first + rows.end) * self.row]
    }

    /// The transpose of some rows of a panel.
    pub fn transpose(&self, panel: usize, rows: Range<usize>) -> Left<'a, E> {
        Left {
            data: self.rows(panel, rows),
            row: 1,
            col: self.row,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16::Duo;

    /// Number `row, col` of side `side`; whole numbers that bf16 has, too.
    fn number(side: usize, row: usize, col: usize) -> f32 {
        ((side * 37 + row * 11 + col * 5) % 251) as f32
    }

    /// All chunks fill memory that holds `poison`; what `expected` makes of a place's numbers has to stand there.
    fn check<E: Form + PartialEq + core::fmt::Debug>(
        poison: E,
        expected: impl Fn(&dyn Fn(usize) -> f32) -> E,
    ) {
        // Whole chunks of three rows and a short one; both widths have a broken panel, and the second one several panels.
        let (widths, rows, chunk) = ([5, 130], [3, 3, 2], 3usize);
        for isa in Isa::available() {
            let layout = Layout {
                isa,
                widths,
                chunk: chunk.div_ceil(E::NUMBERS),
                depth: rows
                    .iter()
                    .map(|rows: &usize| rows.div_ceil(E::NUMBERS))
                    .sum(),
            };
            let mut elements = vec![poison; layout.elements()];
            for (index, (slots, rows)) in layout
                .slots(&mut elements)
                .into_iter()
                .zip(rows)
                .enumerate()
            {
                for (side, mut slot) in all(slots).into_iter().enumerate() {
                    // The side stands between other columns.
                    let (stride, first) = (slot.cols + 3, 2);
                    let x: Vec<_> = (0..rows * stride)
                        .map(|at| match (at % stride).checked_sub(first) {
                            Some(col) if col < slot.cols => {
                                number(side, index * chunk + at / stride, col)
                            }
                            _ => f32::NAN,
                        })
                        .collect();
                    slot.fill(isa, &x, stride, first);
                }
            }
            for (index, side) in all(layout.sides(&elements)).iter().enumerate() {
                for col in 0..side.cols {
                    let (panel, place) = (col / isa.panel(), col % isa.panel());
                    let found = side.transpose(panel, 0..side.depth);
                    for row in 0..side.depth {
                        // Chunks begin anew with an element.
                        let (chunk_index, inner) = (row / layout.chunk, row % layout.chunk);
                        let at = |half: usize| {
                            let inner = inner * E::NUMBERS + half;
                            let row = chunk_index * chunk + inner;
                            let there = inner < rows[chunk_index];
                            if there { number(index, row, col) } else { 0.0 }
                        };
                        assert_eq!(
                            found.data[place * found.row + row * found.col],
                            expected(&at),
                            "{isa:?}, side {index}, row {row}, column {col}"
                        );
                    }
                }
            }
        }
    }

    fn all<T>(sides: Sides<T>) -> Vec<T> {
        let Sides {
            normal_attention,
            grad_qkv: [query, key, value],
            attended,
            grad_attention,
            normal_mlp,
            grad_hidden,
            active,
            grad_mlp,
        } = sides;
        vec![
            normal_attention,
            query,
            key,
            value,
            attended,
            grad_attention,
            normal_mlp,
            grad_hidden,
            active,
            grad_mlp,
        ]
    }

    #[test]
    fn chunks_leave_every_number_in_its_place() {
        check(f32::NAN, |at| at(0));
        check(Duo(0x7fc0_7fc0), |at| Duo::new(at(0), at(1)));
    }
}
