//! Floating-point operations, counted from shapes.
//!
//! Counted is what stands in matrix products, two operations for each multiplication with its addition: the four
//! projections of attention, scores and weighted sums, the MLP, the heads, and linear input injection. Norms,
//! softmax, GELU and the optimizer are left out; they are few beside the products. With `d` for `d_model`, a forward pass
//! takes
//!
//! ```text
//! passes * layers * (8 d² + 4 d² * mlp_ratio)  +  pairs * layers * 4 d  +  readouts * 2 d * vocab
//! ```
//!
//! which for `T` iterations over windows of `width` columns, an `mlp_ratio` of 4, and every column read out at every
//! iteration is `tokens * T * (layers * (24 d² + 4 d * width) + 2 d * vocab)`. The backward pass has each product twice,
//! once for either factor.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::{CausalConfig, Injection, LoopedConfig, TransformerConfig};

/// What passes through a transformer, as sums that its size has no part in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Block passes: one token position that goes through the whole block once.
    pub passes: u64,
    /// Pairs of a column that looks and one that it looks at, over all block passes.
    pub pairs: u64,
    /// Rows that a head reads out.
    pub readouts: u64,
}

impl Work {
    /// `samples` windows of `width` columns that pass the block `iterations` times, with nothing read out. Every column
    /// looks at every column: masks and padding save nothing here.
    pub fn windows(samples: usize, width: usize, iterations: usize) -> Self {
        let passes = (samples * width * iterations) as u64;
        Self {
            passes,
            pairs: passes * width as u64,
            readouts: 0,
        }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.passes += other.passes;
        self.pairs += other.pairs;
        self.readouts += other.readouts;
    }
}

impl TransformerConfig {
    /// Floating-point operations of a forward pass through block and heads, by the formula of this module.
    ///
    /// ```
    /// use relay_models::{TransformerConfig, Work};
    ///
    /// let config = TransformerConfig { vocab: 300, d_model: 64, layers: 3, ..TransformerConfig::default() };
    /// let work = Work { readouts: 8 * 20 * 5, ..Work::windows(8, 20, 5) };
    /// assert_eq!(config.forward_flops(&work), 800.0 * (3.0 * (24.0 * 4096.0 + 4.0 * 64.0 * 20.0) + 2.0 * 64.0 * 300.0));
    /// ```
    pub fn forward_flops(&self, work: &Work) -> f64 {
        let d = self.d_model as f64;
        // A window without columns leaves the projections and the MLP.
        work.passes as f64 * self.flops_per_token_pass(0) as f64
            + work.pairs as f64 * self.layers as f64 * 4.0 * d
            + work.readouts as f64 * 2.0 * d * self.vocab as f64
    }
}

impl LoopedConfig {
    /// As [`TransformerConfig::forward_flops`], with the two products of linear injection in every block pass.
    pub fn forward_flops(&self, work: &Work) -> f64 {
        let d = self.transformer.d_model as f64;
        let injection = match self.injection {
            Injection::Linear => 4.0 * d * d,
            Injection::None | Injection::Add => 0.0,
        };
        self.transformer.forward_flops(work) + work.passes as f64 * injection
    }
}

impl CausalConfig {
    /// As [`TransformerConfig::forward_flops`].
    pub fn forward_flops(&self, work: &Work) -> f64 {
        self.transformer.forward_flops(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(layers: usize, mlp_ratio: usize) -> TransformerConfig {
        TransformerConfig {
            vocab: 5,
            d_model: 2,
            heads: 1,
            layers,
            mlp_ratio,
            ..TransformerConfig::default()
        }
    }

    #[test]
    fn agrees_with_a_count_by_hand() {
        // A window of 3 columns, d = 2, one head: queries, keys, values, output, each [3, 2] times [2, 2].
        let projections = 4 * 2 * (3 * 2 * 2);
        // [3, 2] times [2, 3], and [3, 3] times [3, 2].
        let attention = 2 * (3 * 2 * 3) + 2 * (3 * 3 * 2);
        // [3, 2] times [2, 4], and back.
        let mlp = 2 * (3 * 2 * 4) + 2 * (3 * 4 * 2);
        // One row to 5 tokens.
        let readout = 2 * 2 * 5;
        let layer = projections + attention + mlp;
        let work = Work {
            readouts: 1,
            ..Work::windows(1, 3, 1)
        };
        let flops = |config: &TransformerConfig| config.forward_flops(&work);
        assert_eq!(flops(&small(1, 2)), f64::from(layer + readout));
        assert_eq!(flops(&small(3, 2)), f64::from(3 * layer + readout));

        let looped = LoopedConfig {
            transformer: small(1, 2),
            injection: Injection::Linear,
            ..LoopedConfig::default()
        };
        let injection = 2 * 2 * (3 * 2 * 2);
        assert_eq!(
            looped.forward_flops(&work),
            f64::from(layer + readout + injection)
        );
    }

    #[test]
    fn windows_add_up() {
        let mut sum = Work::windows(4, 6, 3);
        assert_eq!((sum.passes, sum.pairs), (72, 432));
        sum += Work::windows(1, 10, 2);
        assert_eq!((sum.passes, sum.pairs), (92, 632));
        let config = small(2, 4);
        let block = 72 * config.flops_per_token_pass(6) + 20 * config.flops_per_token_pass(10);
        assert_eq!(config.forward_flops(&sum), block as f64);
    }
}
