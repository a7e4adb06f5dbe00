//! Rows of logits on the host, and the most probable token of each.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Rows of `vocab` logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// Row by row.
    pub values: Vec<f32>,
    /// Length of a row.
    pub vocab: usize,
}

impl Logits {
    /// Copies `[rows, vocab]` logits from their device.
    pub(crate) fn read<B: Backend>(logits: Tensor<B, 2>) -> Self {
        let [_, vocab] = logits.dims();
        Self {
            values: logits.into_data().iter::<f32>().collect(),
            vocab,
        }
    }

    /// The most probable token of each row, the first among equals, with its probability.
    pub fn greedy(&self) -> impl Iterator<Item = (u32, f32)> {
        self.values.chunks_exact(self.vocab.max(1)).map(greedy)
    }
}

/// Values that are no number never win; a row of nothing else gives token 0 with probability 0.
fn greedy(row: &[f32]) -> (u32, f32) {
    let (mut best, mut highest) = (0, f32::NEG_INFINITY);
    for (index, value) in row.iter().enumerate() {
        if *value > highest {
            (best, highest) = (index, *value);
        }
    }
    let sum: f32 = row.iter().map(|value| (value - highest).exp()).sum();
    let probability = sum.recip();
    (
        best as u32,
        if probability.is_finite() {
            probability
        } else {
            0.0
        },
    )
}

#[cfg(test)]
mod tests {
    use super::greedy;

    #[test]
    fn takes_the_first_of_the_largest() {
        let (token, probability) = greedy(&[0.0, 2f32.ln(), 2f32.ln()]);
        assert_eq!(token, 1);
        assert!((probability - 0.4).abs() < 1e-6);
    }

    #[test]
    fn survives_what_is_no_number() {
        assert_eq!(greedy(&[f32::NAN, f32::NAN]), (0, 0.0));
        assert_eq!(greedy(&[f32::NAN, 1.0]), (1, 0.0));
    }
}
