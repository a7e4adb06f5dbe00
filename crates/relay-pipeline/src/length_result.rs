//! What is measured at one length: three shares with their intervals.

use serde::{Deserialize, Serialize};

use crate::{Results, wilson::wilson};

/// What one arm did on one task at one length.
///
/// The fields `_low` and `_high` are the ends of the 95 % Wilson interval. That of the bit accuracy counts problems, not
/// tokens, because the tokens of one chain are right or wrong together; it is rather too wide than too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LengthResult {
    /// The length of the problems.
    pub length: usize,
    /// How many problems.
    pub n: u64,
    /// Share of problems with the right answer.
    pub answer_accuracy: f64,
    /// Share of the steps' tokens that stand at their place, what chains have too many counted as wrong; `None` for an arm that
    /// writes no chains.
    pub bit_accuracy: Option<f64>,
    /// Share of chains without any wrong token; `None` for an arm that writes no chains.
    pub chain_accuracy: Option<f64>,
    /// Lower end for the answers.
    #[serde(default)]
    pub answer_low: Option<f64>,
    /// Upper end for the answers.
    #[serde(default)]
    pub answer_high: Option<f64>,
    /// Lower end for the bits.
    #[serde(default)]
    pub bit_low: Option<f64>,
    /// Upper end for the bits.
    #[serde(default)]
    pub bit_high: Option<f64>,
    /// Lower end for the chains.
    #[serde(default)]
    pub chain_low: Option<f64>,
    /// Upper end for the chains.
    #[serde(default)]
    pub chain_high: Option<f64>,
}

/// What was counted on the chains of one length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RightTokens {
    /// Chains without any wrong token.
    pub right_chains: u64,
    /// Tokens at their place.
    pub right_tokens: u64,
    /// Tokens counted.
    pub tokens: u64,
}

/// One of the three things that are measured at a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Share of problems with the right answer (figures 2 and 4).
    Answer,
    /// Share of the steps' tokens that stand at their place, what chains have too many counted as wrong (figure 7).
    Bit,
    /// Share of chains without any wrong token.
    Chain,
}

/// A share with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// The share itself.
    pub value: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
}

impl LengthResult {
    /// Shares and intervals from what was counted on `n` problems; `chains` is `None` for an arm that writes none.
    pub fn from_counts(
        length: usize,
        n: u64,
        right_answers: u64,
        chains: Option<RightTokens>,
    ) -> Self {
        let answer = Share::of(right_answers, n, n);
        let bit = chains.map(|c| Share::of(c.right_tokens, c.tokens, n));
        let chain = chains.map(|c| Share::of(c.right_chains, n, n));
        Self::from_shares(length, n, answer, bit, chain)
    }

    /// Three shares of `n` problems; `bit` and `chain` are `None` for an arm that writes no chains.
    pub(crate) fn from_shares(
        length: usize,
        n: u64,
        answer: Share,
        bit: Option<Share>,
        chain: Option<Share>,
    ) -> Self {
        Self {
            length,
            n,
            answer_accuracy: answer.value,
            bit_accuracy: bit.map(|s| s.value),
            chain_accuracy: chain.map(|s| s.value),
            answer_low: Some(answer.low),
            answer_high: Some(answer.high),
            bit_low: bit.map(|s| s.low),
            bit_high: bit.map(|s| s.high),
            chain_low: chain.map(|s| s.low),
            chain_high: chain.map(|s| s.high),
        }
    }

    /// One of the three shares with its interval.
    ///
    /// Where the file has a share without interval, the interval is computed from the number of problems.
    pub fn share(&self, measure: Measure) -> Option<Share> {
        let (value, low, high) = match measure {
            Measure::Answer => (self.answer_accuracy, self.answer_low, self.answer_high),
            Measure::Bit => (self.bit_accuracy?, self.bit_low, self.bit_high),
            Measure::Chain => (self.chain_accuracy?, self.chain_low, self.chain_high),
        };
        let known = wilson(value, self.n);
        Some(Share {
            value,
            low: low.unwrap_or(known.low),
            high: high.unwrap_or(known.high),
        })
    }
}

/// The share of right answers over all problems of several lengths, and how many problems that is; `None` without any.
pub(crate) fn pooled_answers<'a>(
    lengths: impl IntoIterator<Item = &'a LengthResult>,
) -> Option<(u64, Share)> {
    let right = |at: &LengthResult| (at.answer_accuracy * at.n as f64).round() as u64;
    let sums = lengths
        .into_iter()
        .fold((0, 0), |(n, all), at| (n + at.n, all + right(at)));
    let (n, right) = sums;
    (n > 0).then(|| (n, Share::of(right, n, n)))
}

/// How many problems longer than trained on an arm was asked of a task, and the share of right answers.
pub(crate) fn longer_answers(results: &Results, arm: &str, task: &str) -> Option<(u64, Share)> {
    let is_longer = |at: &&LengthResult| results.train_lengths.is_longer(task, at.length);
    pooled_answers(results.of(arm, task).iter().filter(is_longer))
}

impl Share {
    /// `right` of `total`, with the interval of `trials` independent trials.
    pub fn of(right: u64, total: u64, trials: u64) -> Self {
        let value = if total == 0 {
            0.0
        } else {
            right as f64 / total as f64
        };
        Self::with_interval(value, trials)
    }

    /// A share without an interval.
    pub(crate) fn exactly(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }

    /// A share with the interval of `trials` independent trials.
    pub(crate) fn with_interval(value: f64, trials: u64) -> Self {
        let interval = wilson(value, trials);
        Self {
            value: rounded(value),
            low: rounded(interval.low),
            high: rounded(interval.high),
        }
    }
}

/// Per cent with one digit after the point, never more than it is: rounding must not make an error vanish.
pub(crate) fn tenths_below(percent: f64) -> String {
    // Of a share such as 0.939 the product may be a trifle too small.
    format!("{:.1}", (10.0 * percent + 1e-9).floor() / 10.0)
}

/// Per cent with one digit after the point; what is not all or none is not rounded to it.
pub(crate) fn tenths(percent: f64) -> String {
    match percent {
        p if (99.95..100.0).contains(&p) => tenths_below(p),
        p if p > 0.0 && p < 0.05 => "0.1".to_owned(),
        p => format!("{p:.1}"),
    }
}

/// Whole per cent, with a digit after the point where it would say that all or none is right.
pub(crate) fn whole_percent(percent: f64) -> String {
    match percent {
        p if (99.5..100.0).contains(&p) => tenths_below(p),
        p if p > 0.0 && p <= 0.5 => format!("{:.1}", (10.0 * p - 1e-9).ceil() / 10.0),
        p => format!("{p:.0}"),
    }
}

/// Six digits are more than any sample here can tell, keep the file readable and survive reading exactly.
pub(crate) fn rounded(share: f64) -> f64 {
    (share * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_all_or_none_is_not_rounded_to_it() {
        let cases = [
            (1, 200, "0.5"),
            (1, 3000, "0.1"),
            (0, 200, "0"),
            (13, 200, "6"),
            (199, 200, "99.5"),
            (1999, 2001, "99.9"),
            (200, 200, "100"),
        ];
        for (right, of, text) in cases {
            let percent = 100.0 * f64::from(right) / f64::from(of);
            assert_eq!(whole_percent(percent), text, "{right} of {of}");
        }
        for (right, text) in [
            (10_000, "100.0"),
            (9_996, "99.9"),
            (9_993, "99.9"),
            (1_829, "18.3"),
            (1, "0.1"),
            (0, "0.0"),
        ] {
            assert_eq!(tenths(f64::from(right) / 100.0), text, "{right}");
        }
    }

    /// Tokens of one chain are right or wrong together, so the interval of their share counts problems.
    #[test]
    fn every_measure_has_its_own_share_and_the_interval_of_the_problems() {
        let counts = RightTokens {
            right_chains: 50,
            right_tokens: 1_800,
            tokens: 2_000,
        };
        let found = LengthResult::from_counts(7, 100, 80, Some(counts));
        // Wilson's interval by hand, for 80, 90 and 50 of 100.
        for (measure, value, low, high) in [
            (Measure::Answer, 0.8, 0.711_169, 0.866_633),
            (Measure::Bit, 0.9, 0.825_634, 0.944_771),
            (Measure::Chain, 0.5, 0.403_832, 0.596_168),
        ] {
            let share = found.share(measure).unwrap();
            assert_eq!(share.value, value);
            let ends = [(share.low, low), (share.high, high)];
            assert!(
                ends.iter()
                    .all(|(found, right)| (found - right).abs() < 5e-5),
                "{measure:?}: {share:?}"
            );
        }
        let answers = LengthResult::from_counts(7, 100, 80, None);
        assert_eq!(
            (answers.share(Measure::Bit), answers.share(Measure::Chain)),
            (None, None)
        );
    }
}
