//! Host batches in another shape: wider windows, or some of the rows.

use std::{iter::repeat_n, ops::Range};

use crate::{CausalBatch, LoopedBatch, PAD};

impl LoopedBatch {
    /// The same batch in windows of `width` columns, the new ones padding on the left; as it is if that is no more.
    ///
    /// Weights stay what they were: a step as wide as its old window does not get the `<pad>` on its left to learn. So
    /// nothing changes but rounding.
    pub fn widened(mut self, width: usize) -> Self {
        let (old, Some(more)) = (self.width, width.checked_sub(self.width)) else {
            return self;
        };
        if more == 0 {
            return self;
        }
        self.tokens = widen(&self.tokens, old, more, pad());
        self.targets = widen(&self.targets, old, more, pad());
        self.step_weights = widen(&self.step_weights, old, more, 0.0);
        self.pads.iter_mut().for_each(|pads| *pads += more);
        self.width = width;
        self
    }

    /// Some of the examples, in windows of the same width.
    ///
    /// # Panics
    /// When `rows` goes beyond the examples.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        let (size, width) = (self.size, self.width);
        let sample_iterations = self.sample_iterations[rows.clone()].to_vec();
        let iterations = sample_iterations.iter().copied().max().unwrap_or(0);
        Self {
            task: self.task,
            size: rows.len(),
            width,
            iterations,
            tokens: self.tokens[rows.start * width..rows.end * width].to_vec(),
            pads: self.pads[rows.clone()].to_vec(),
            sample_iterations,
            targets: of_iterations(
                &self.targets,
                size * width,
                iterations,
                scaled(&rows, width),
            ),
            step_weights: of_iterations(
                &self.step_weights,
                size * width,
                iterations,
                scaled(&rows, width),
            ),
            // Those of the whole batch: some may have no weight here, which changes no loss.
            columns: self.columns.iter().take(iterations).copied().collect(),
            answers: self.answers.get(rows.clone()).unwrap_or_default().to_vec(),
            answer_weights: of_iterations(&self.answer_weights, size, iterations, rows),
        }
    }
}

impl CausalBatch {
    /// The same batch with `width` columns, the new ones padding on the left; as it is if that is no more.
    pub fn widened(mut self, width: usize) -> Self {
        let (old, Some(more)) = (self.width, width.checked_sub(self.width)) else {
            return self;
        };
        if more == 0 {
            return self;
        }
        self.tokens = widen(&self.tokens, old, more, pad());
        self.targets = widen(&self.targets, old, more, pad());
        self.weights = widen(&self.weights, old, more, 0.0);
        self.pads.iter_mut().for_each(|pads| *pads += more);
        self.width = width;
        self
    }

    /// Some of the examples, with the same number of columns.
    ///
    /// # Panics
    /// When `rows` goes beyond the examples.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        let places = scaled(&rows, self.width);
        Self {
            task: self.task,
            size: rows.len(),
            width: self.width,
            tokens: self.tokens[places.clone()].to_vec(),
            pads: self.pads[rows].to_vec(),
            targets: self.targets[places.clone()].to_vec(),
            weights: self.weights[places].to_vec(),
            // Those of the whole batch, as for the looped model.
            columns: self.columns,
        }
    }
}

fn pad() -> i32 {
    PAD.cast_signed()
}

fn scaled(rows: &Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}

/// Rows of `width` values with `more` of `fill` on the left of each.
fn widen<T: Copy>(values: &[T], width: usize, more: usize, fill: T) -> Vec<T> {
    values
        .chunks_exact(width)
        .flat_map(|row| repeat_n(fill, more).chain(row.iter().copied()))
        .collect()
}

/// The values at `places` of each of the first `iterations`, which have `each` of them.
fn of_iterations<T: Copy>(
    values: &[T],
    each: usize,
    iterations: usize,
    places: Range<usize>,
) -> Vec<T> {
    values
        // Of no examples each iteration has no values.
        .chunks_exact(each.max(1))
        .take(iterations)
        .flat_map(|values| &values[places.clone()])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> LoopedBatch {
        LoopedBatch {
            task: 0,
            size: 2,
            width: 2,
            iterations: 2,
            tokens: vec![0, 5, 6, 7],
            pads: vec![1, 0],
            sample_iterations: vec![1, 2],
            targets: vec![0, 1, 2, 3, 0, 0, 4, 5],
            step_weights: vec![0.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5],
            columns: vec![2, 2],
            answers: vec![8, 9],
            answer_weights: vec![1.0, 0.0, 0.0, 1.0],
        }
    }

    #[test]
    fn wider_windows_have_more_padding_and_the_same_weights() {
        let wide = batch().widened(3);
        assert_eq!(wide.tokens, [0, 0, 5, 0, 6, 7]);
        assert_eq!((wide.width, &wide.pads[..]), (3, &[2, 1][..]));
        assert_eq!(wide.step_weights[..6], [0.0, 0.0, 1.0, 0.0, 0.5, 0.5]);
        assert_eq!(wide.columns, batch().columns);
        assert_eq!(batch().widened(1), batch());
    }

    #[test]
    fn rows_are_those_of_the_batch_with_their_own_iterations() {
        let (first, second) = (batch().rows(0..1), batch().rows(1..2));
        assert_eq!((first.iterations, first.targets), (1, vec![0, 1]));
        assert_eq!(first.answer_weights, [1.0]);
        assert_eq!((second.iterations, second.targets), (2, vec![2, 3, 4, 5]));
        assert_eq!(
            (second.answers, second.answer_weights),
            (vec![9], vec![0.0, 1.0])
        );
        assert_eq!(batch().rows(0..2), batch());
        assert!(batch().rows(0..0).rows(0..0).answers.is_empty());
    }
}
