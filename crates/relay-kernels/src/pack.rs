//! Matrices cut into panels of columns, the order in which products read them.

use crate::isa::Isa;

/// A right-hand matrix `[depth, cols]`, stored as panels of [`Isa::panel`] columns, each `[depth, panel]`.
///
/// The last panel is filled up with zeros. In bf16 an element is a [`Duo`](crate::bf16::Duo) of rows, and `depth` counts these.
#[derive(Debug)]
pub(crate) struct Packed<E = f32> {
    pub data: Vec<E>,
    pub depth: usize,
    pub cols: usize,
}

/// A row-major matrix `[rows, cols]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
}

/// Copies `count` floats of each row, such as a panel's columns.
///
/// A copy of a short length that the compiler knows is a few moves; any other is a call, which takes longer.
pub(crate) fn copy_rows<'a>(count: usize, rows: impl Iterator<Item = (&'a mut [f32], &'a [f32])>) {
    fn of<'a, const COUNT: usize>(rows: impl Iterator<Item = (&'a mut [f32], &'a [f32])>) {
        rows.for_each(|(to, from)| to[..COUNT].copy_from_slice(&from[..COUNT]));
    }
    match count {
        16 => of::<16>(rows),
        32 => of::<32>(rows),
        _ => rows.for_each(|(to, from)| to[..count].copy_from_slice(&from[..count])),
    }
}

impl Packed {
    /// The matrices side by side.
    pub fn beside(isa: Isa, parts: &[Matrix<'_>]) -> Self {
        let depth = parts.first().map_or(0, |part| part.rows);
        let cols = parts.iter().map(|part| part.cols).sum();
        let mut packed = Self::zeros(isa, depth, cols);
        let panel = isa.panel();
        let mut first = 0;
        for part in parts {
            let mut done = 0;
            while done < part.cols {
                let col = first + done;
                let count = (panel - col % panel).min(part.cols - done);
                let whole = &mut packed.data[col / panel * depth * panel..][..depth * panel];
                let to = whole
                    .chunks_exact_mut(panel)
                    .map(|to| &mut to[col % panel..]);
                let from = part.data.chunks_exact(part.cols).map(|from| &from[done..]);
                copy_rows(count, to.zip(from));
                done += count;
            }
            first += part.cols;
        }
        packed
    }

    /// The transposes of the matrices, one below the other.
    pub fn transposes_below(isa: Isa, parts: &[Matrix<'_>]) -> Self {
        let depth = parts.iter().map(|part| part.cols).sum();
        let cols = parts.first().map_or(0, |part| part.rows);
        let mut packed = Self::zeros(isa, depth, cols);
        let panel = isa.panel();
        let mut first = 0;
        for part in parts {
            for (index, out) in packed.data.chunks_exact_mut(depth * panel).enumerate() {
                let start = index * panel;
                let width = panel.min(cols - start);
                let block = &mut out[first * panel..(first + part.cols) * panel];
                for (k, row) in block.chunks_exact_mut(panel).enumerate() {
                    for (j, value) in row[..width].iter_mut().enumerate() {
                        *value = part.data[(start + j) * part.cols + k];
                    }
                }
            }
            first += part.cols;
        }
        packed
    }

    fn zeros(isa: Isa, depth: usize, cols: usize) -> Self {
        Self {
            data: vec![0.0; cols.div_ceil(isa.panel()) * isa.panel() * depth],
            depth,
            cols,
        }
    }
}
