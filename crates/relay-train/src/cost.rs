//! What a training run or the writing of chains costs, counted from the shapes of its batches.

use std::{iter::Sum, ops::AddAssign};

use relay_models::Work;
use serde::{Deserialize, Serialize};

/// The work of a stage, whatever the size of its model.
///
/// A pure function of the batches: a run that was stopped and resumed has the same effort as one that never was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effort {
    /// Token positions of the samples trained on, each position once whatever the iterations, padding included; or
    /// tokens written.
    pub tokens: u64,
    /// What passes forward and backward.
    pub learnt: Work,
    /// What passes forward only: chains that are written, and iterations that are computed a second time because their
    /// activations were not kept.
    pub forward: Work,
}

impl Effort {
    /// Token positions that went through the whole block, forward.
    pub fn block_passes(&self) -> u64 {
        self.learnt.passes + self.forward.passes
    }

    /// Floating-point operations of a model whose forward pass takes `forward` of them: three times that for what is
    /// learnt, as the backward pass has every product twice.
    ///
    /// ```
    /// use relay_models::{TransformerConfig, Work};
    /// use relay_train::Effort;
    ///
    /// let model = TransformerConfig::default();
    /// let (learnt, forward) = (Work::windows(8, 20, 5), Work::windows(8, 20, 4));
    /// let effort = Effort { tokens: 160, learnt, forward };
    /// let flops = effort.flops(|work| model.forward_flops(work));
    /// assert_eq!(flops, (3 * 5 + 4) as f64 * model.forward_flops(&Work::windows(8, 20, 1)));
    /// ```
    pub fn flops(&self, forward: impl Fn(&Work) -> f64) -> f64 {
        3.0 * forward(&self.learnt) + forward(&self.forward)
    }
}

impl AddAssign for Effort {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.learnt += other.learnt;
        self.forward += other.forward;
    }
}

impl Sum for Effort {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}
