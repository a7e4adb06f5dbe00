//! The paper's claims, each judged by the numbers of a run.

use serde::{Deserialize, Serialize};

use crate::{
    Results,
    arms::{AR_BASELINE, AR_RELAY, AR_SELF_LOOP, AR_SELF_TRUTH, LOOPED_ALIGNED, LOOPED_VANILLA},
};

mod checks;

use checks::Checks;

/// What the numbers say about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every number asked for is there and is as the claim says.
    Holds,
    /// At least one number contradicts the claim.
    DoesNotHold,
    /// No number contradicts the claim, but some are missing or, where the rule compares intervals, too uncertain to tell.
    NotDecided,
}

/// A claim of the paper, how it is judged, and the verdict with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Short name, the same in every run.
    pub id: String,
    /// The claim.
    pub claim: String,
    /// What it takes for the claim to hold.
    pub rule: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers behind the verdict.
    pub numbers: Vec<Number>,
}

/// One number behind a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// What was measured, for example `looped_aligned, ari: lowest, at length 7`.
    pub what: String,
    /// The number; `None` if it is missing.
    pub value: Option<f64>,
    /// What the number is.
    pub kind: NumberKind,
    /// Lower end of its 95 % interval, where it has one.
    pub low: Option<f64>,
    /// Upper end of its 95 % interval, where it has one.
    pub high: Option<f64>,
    /// What the number must be, for example `>= 99.0 %`.
    pub needed: String,
    /// Whether it is so; `None` if the number is missing or, where the rule compares intervals, too uncertain to tell. A rule with a
    /// border takes the number as it was measured, whatever its interval.
    pub as_claimed: Option<bool>,
}

/// What a [`Number`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// A share, from 0 to 1.
    Share,
    /// A difference of two shares.
    Difference,
}

/// About 100 % inside the training lengths.
const INSIDE: f64 = 0.99;
/// A model that holds outside its training lengths.
const HOLDS: f64 = 0.90;
/// A model that has fallen off outside its training lengths.
const FALLEN: f64 = 0.50;
/// How far below the looped model comes close to it.
const CLOSE: f64 = 0.05;
/// Differences up to this are no differences.
const EQUAL: f64 = 0.01;
/// Near 100 % in a hit matrix.
const HIT: f64 = 0.95;
/// How much a hit matrix loses from its first to its last step when it decays.
const DECAY: f64 = 0.10;

impl Number {
    /// The number in words: per cent, percentage points, or that it is missing. It has one digit after the point, or as many as
    /// tell it from the border that it misses.
    pub fn value_text(&self) -> String {
        let Some(value) = self.value.map(|value| 100.0 * value) else {
            return "missing".to_owned();
        };
        let text = |digits: usize| match self.kind {
            NumberKind::Share => format!("{value:.digits$} %"),
            NumberKind::Difference => format!("{value:+.digits$} points"),
        };
        let number = |text: &str| text.split(' ').find_map(|word| word.parse::<f64>().ok());
        let border = number(&self.needed).filter(|_| self.as_claimed == Some(false));
        let apart = (1..=4).map(text).find(|text| number(text) != border);
        apart.unwrap_or_else(|| text(1))
    }
}

impl Verdict {
    /// The verdict in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::DoesNotHold => "does not hold",
            Self::NotDecided => "not decided",
        }
    }
}

/// Judges every claim of the paper (sections 3.2, 4.2 and 4.3, appendices B and C).
pub fn judge(results: &Results) -> Vec<Claim> {
    let mut claims = about_looped_models(results);
    claims.extend(about_fine_tuned_models(results));
    claims.extend(about_chains(results));
    claims
}

fn about_looped_models(results: &Results) -> Vec<Claim> {
    let looped = [LOOPED_ALIGNED, LOOPED_VANILLA];
    let mut inside = Checks::new(results);
    for arm in [LOOPED_ALIGNED, LOOPED_VANILLA, AR_BASELINE] {
        inside.lowest_inside(arm, INSIDE);
    }
    let mut falls = Checks::new(results);
    falls
        .mean_inside(AR_BASELINE, HOLDS)
        .at_longest(AR_BASELINE, FALLEN);
    let mut better = Checks::new(results);
    looped
        .iter()
        .for_each(|arm| better.clearly_above(arm, AR_BASELINE));
    let mut above = Checks::new(results);
    above.not_below(LOOPED_ALIGNED, LOOPED_VANILLA, EQUAL);
    let mut list = vec![
        inside.claim(
            "inside",
            "Inside the training lengths all three models answer about 100 % of the problems right.",
            "Answer accuracy at least 99 % at every length trained on, for every task.",
        ),
        falls.claim(
            "ar_falls_off",
            "The auto-regressive baseline falls off beyond its training lengths.",
            "Answer accuracy at least 90 % on average inside the training lengths and below 50 % at the longest length.",
        ),
    ];
    for (arm, id, name) in [
        (
            LOOPED_ALIGNED,
            "looped_aligned_holds",
            "The looped model with alignment",
        ),
        (
            LOOPED_VANILLA,
            "looped_vanilla_holds",
            "The vanilla looped model",
        ),
    ] {
        let mut checks = Checks::new(results);
        checks.lowest_beyond(arm, HOLDS);
        list.push(checks.claim(
            id,
            &format!("{name} holds beyond its training lengths."),
            "Answer accuracy at least 90 % at every longer length.",
        ));
    }
    list.push(better.claim(
        "looped_beats_ar",
        "Beyond the training lengths both looped models are clearly better than the auto-regressive baseline.",
        "Pooled over the longer lengths, the looped model's interval lies above the baseline's; undecided where it is better and they overlap.",
    ));
    list.push(above.claim(
        "aligned_above_vanilla",
        "With alignment the looped model is at least as good beyond its training lengths as without.",
        "Pooled over the longer lengths, not more than 1 point below; further below it is undecided where the intervals overlap.",
    ));
    list
}

fn about_fine_tuned_models(results: &Results) -> Vec<Claim> {
    let mut close = Checks::new(results);
    close.close_everywhere(AR_RELAY, LOOPED_ALIGNED, CLOSE);
    let mut better = Checks::new(results);
    better.clearly_above(AR_RELAY, AR_BASELINE);
    let mut slight = Checks::new(results);
    for arm in [AR_SELF_LOOP, AR_SELF_TRUTH] {
        slight.smaller_gain(arm, AR_RELAY, AR_BASELINE);
    }
    vec![
        close.claim(
            "relay_close",
            "The RELAY-enhanced auto-regressive model comes close to the looped model everywhere.",
            "Answer accuracy at most 5 points below the aligned looped model at every length.",
        ),
        better.claim(
            "relay_beats_baseline",
            "Fine-tuned on the looped model's chains, the auto-regressive model solves lengths it failed at before.",
            "Pooled over the longer lengths, its interval lies above the baseline's; undecided where it is better and they overlap.",
        ),
        slight.claim(
            "self_chains_slight",
            "Chains that the auto-regressive model writes itself help only slightly.",
            "Pooled over the longer lengths, the gain over the baseline is less than half of what RELAY gains; undecided where that gains no more than 1 point.",
        ),
    ]
}

fn about_chains(results: &Results) -> Vec<Claim> {
    let mut bits = Checks::new(results);
    bits.bits_beyond(LOOPED_ALIGNED, HOLDS)
        .bits_beyond(AR_RELAY, HOLDS);
    let mut looped = Checks::new(results);
    looped.hits_everywhere(LOOPED_ALIGNED, HIT);
    let mut ar = Checks::new(results);
    ar.hits_decay(AR_BASELINE, DECAY, HOLDS);
    vec![
        bits.claim(
            "bits_hold",
            "Bit accuracy of the looped and of the RELAY-enhanced model stays above 90 % to the longest lengths.",
            "Bit accuracy at least 90 % at every longer length.",
        ),
        looped.claim(
            "hits_looped",
            "The looped model's chains are near 100 % right at every step and column.",
            "Every cell of every hit matrix at least 95 %.",
        ),
        ar.claim(
            "hits_ar_decay",
            "The auto-regressive model's chains decay over the steps, except in the column of the step's end.",
            "The last step lies at least 10 points below the first, while every cell of the last column is at least 90 %.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_a_claim_is_not_rounded_to_its_border() {
        let text = |kind, value, needed: &str, as_claimed| {
            let number = Number {
                what: String::new(),
                value: Some(value),
                kind,
                low: None,
                high: None,
                needed: needed.to_owned(),
                as_claimed: Some(as_claimed),
            };
            number.value_text()
        };
        let (share, points) = (NumberKind::Share, NumberKind::Difference);
        for (kind, value, needed, as_claimed, told) in [
            (share, 0.9896, ">= 99.0 %", false, "98.96 %"),
            (share, 0.98999, ">= 99.0 %", false, "98.999 %"),
            (share, 0.985, ">= 99.0 %", false, "98.5 %"),
            (share, 0.990_4, ">= 99.0 %", true, "99.0 %"),
            (points, 0.2804, "< 28.0 points", false, "+28.04 points"),
            (points, -0.0504, ">= -5.0 points", false, "-5.04 points"),
            (points, 0.013, "> 0, intervals apart", false, "+1.3 points"),
        ] {
            assert_eq!(text(kind, value, needed, as_claimed), told);
        }
    }
}
