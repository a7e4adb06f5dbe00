//! How a head's square of probabilities is cut, so that what is hidden by causality is not computed.

use core::ops::Range;

use super::Attention;

/// Rows of a causal square that are done together, with no more of its columns than the last of them attends to; whole
/// vectors on every machine.
const BAND: usize = 32;

/// Some rows of a head's square of probabilities, and how many of its columns stand there.
#[derive(Debug)]
pub(super) struct Band {
    pub rows: Range<usize>,
    /// Whole vectors; in a causal square whole bands, too, or up to its last column.
    pub columns: usize,
}

impl Attention {
    /// The rows at the top that attend to nothing, as far as no band has them.
    pub(super) fn idle_rows(&self, pads: usize) -> usize {
        if pads == self.width {
            pads
        } else if self.causal {
            pads / BAND * BAND
        } else {
            0
        }
    }

    /// The rows that are not idle, from the top: all in one unless attention is causal.
    pub(super) fn bands(&self, pads: usize) -> impl Iterator<Item = Band> {
        let (n, causal) = (self.width, self.causal);
        let across = (n - pads).next_multiple_of(self.isa.lanes());
        let height = if causal { BAND } else { n };
        (self.idle_rows(pads)..n).step_by(height).map(move |first| {
            let rows = first..n.min(first + height);
            let seen = if causal { rows.end - pads } else { across };
            Band {
                rows,
                columns: seen.next_multiple_of(BAND).min(across),
            }
        })
    }

    /// The columns, and for each part of them the first row of a band that has them all.
    pub(super) fn columns(&self, pads: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let (keys, causal) = (self.width - pads, self.causal);
        let step = if causal { BAND } else { keys };
        (0..keys).step_by(step).map(move |first| {
            let row = if causal {
                (pads + first) / BAND * BAND
            } else {
                0
            };
            (first..keys.min(first + step), row)
        })
    }
}
