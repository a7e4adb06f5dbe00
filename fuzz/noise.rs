//! A stand-in for both kinds of models, which gives any logits.

use relay_models::{Logits, LoopedDecoder, NextToken};

/// A model that gives the logits it was handed, over and over.
pub struct Noise {
    /// The logits, from the second on and round and round; zeros if there are none.
    pub values: Vec<f32>,
    /// Tokens of a row of logits.
    pub vocab: usize,
    /// Columns of a state.
    pub width: usize,
    /// Samples that it holds.
    pub rows: usize,
    /// Logits given so far.
    pub drawn: usize,
}

impl Noise {
    fn draw(&mut self, rows: usize) -> Logits {
        let values = (0..rows * self.vocab).map(|_| {
            self.drawn += 1;
            self.values
                .get(self.drawn % self.values.len().max(1))
                .copied()
                .unwrap_or(0.0)
        });
        Logits {
            values: values.collect(),
            vocab: self.vocab,
        }
    }
}

impl LoopedDecoder for Noise {
    type Choices = Logits;

    fn iterate(&mut self, _iteration: usize) {}

    fn steps(&mut self) -> Option<Logits> {
        Some(self.draw(self.rows * self.width))
    }

    fn answers(&mut self, rows: &[usize]) -> Logits {
        self.draw(rows.len())
    }

    fn read(choices: Vec<Logits>) -> Vec<Vec<(u32, f32)>> {
        let greedy = |logits: &Logits| logits.greedy().collect();
        choices.iter().map(greedy).collect()
    }

    fn keep(&mut self, rows: &[usize]) {
        self.rows = rows.len();
    }
}

impl NextToken for Noise {
    fn logits(&mut self) -> Logits {
        self.draw(self.rows)
    }

    fn push(&mut self, tokens: &[u32]) {
        assert_eq!(tokens.len(), self.rows);
    }

    fn keep(&mut self, rows: &[usize]) {
        self.rows = rows.len();
    }
}
