//! The gradients of a layer's matrices: sums over all rows of the stream, cut into tasks by their own rows.

use rayon::prelude::*;

use crate::form::Form;
use crate::isa::Isa;
use crate::sides::{Side, Sides};

/// Rows of a weight gradient that one task computes, or those of a panel if these are more. With more rows the right side
/// would be read less often, with fewer the tasks are easier to divide among threads.
const TASK_ROWS: usize = 64;
/// How many rows of both sides a weight gradient takes at a time: the task's part of the left side stays in the second-level
/// cache beside one panel of the right side after the other, and sums are not stored too often.
const GRADIENT_DEPTH: usize = 256;

/// The gradients of query, key, value, output, up and down over some rows, or adds to them.
pub(crate) fn weight_gradients<E: Form>(
    isa: Isa,
    sides: &Sides<Side<'_, E>>,
    accumulate: bool,
    gradients: &mut [Vec<f32>; 6],
) {
    let [query, key, value] = sides.grad_qkv;
    let pairs = [
        (sides.normal_attention, query),
        (sides.normal_attention, key),
        (sides.normal_attention, value),
        (sides.attended, sides.grad_attention),
        (sides.normal_mlp, sides.grad_hidden),
        (sides.active, sides.grad_mlp),
    ];
    let pairs = pairs.map(|(left, right)| Pair { left, right });
    let panels = (TASK_ROWS / isa.panel()).max(1);
    let tasks: Vec<_> = pairs
        .iter()
        .zip(gradients)
        .flat_map(|(pair, out)| {
            let blocks = out.chunks_mut(panels * isa.panel() * pair.right.cols);
            let blocks = blocks.enumerate();
            blocks.map(move |(index, out)| (pair, index * panels, out))
        })
        .collect();
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each(|(pair, first, out)| pair.compute(isa, first, out, accumulate));
}

/// A weight gradient: the transposed left side times the right side.
struct Pair<'a, E> {
    left: Side<'a, E>,
    right: Side<'a, E>,
}

impl<E: Form> Pair<'_, E> {
    /// As many rows of the gradient as `out` has room for, from those of the left side's panel `first` on.
    fn compute(&self, isa: Isa, first: usize, out: &mut [f32], accumulate: bool) {
        let (panel, cols, depth) = (isa.panel(), self.right.cols, self.right.depth);
        let step = GRADIENT_DEPTH / E::NUMBERS;
        for start in (0..depth).step_by(step) {
            let rows = start..depth.min(start + step);
            for (index, col) in (0..cols).step_by(panel).enumerate() {
                let right = self.right.rows(index, rows.clone());
                for (index, out) in out.chunks_mut(panel * cols).enumerate() {
                    E::times_panel(
                        isa,
                        [out.len() / cols, rows.len(), panel.min(cols - col)],
                        self.left.transpose(first + index, rows.clone()),
                        right,
                        &mut out[col..],
                        cols,
                        accumulate || start > 0,
                    );
                }
            }
        }
    }
}
