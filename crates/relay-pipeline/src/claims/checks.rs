//! The comparisons that the verdicts are made of.

use super::{Claim, EQUAL, Number, NumberKind, Verdict};
use crate::{
    HitMatrices, HitMatrix, LengthResult, Measure, Results, Share,
    length_result::{pooled_answers, rounded},
};

/// Collects the numbers of one claim.
pub(super) struct Checks<'a> {
    results: &'a Results,
    numbers: Vec<Number>,
}

/// Which lengths of a task are asked for.
#[derive(Clone, Copy, PartialEq)]
enum Range {
    Inside,
    Beyond,
}

impl<'a> Checks<'a> {
    pub(super) fn new(results: &'a Results) -> Self {
        Self {
            results,
            numbers: Vec::new(),
        }
    }

    /// The lowest answer accuracy inside the training lengths, of every task.
    pub(super) fn lowest_inside(&mut self, arm: &str, at_least: f64) {
        self.lowest(arm, Range::Inside, Measure::Answer, at_least);
    }

    /// The lowest answer accuracy beyond the training lengths, of every task.
    pub(super) fn lowest_beyond(&mut self, arm: &str, at_least: f64) {
        self.lowest(arm, Range::Beyond, Measure::Answer, at_least);
    }

    /// The lowest bit accuracy beyond the training lengths, of every task.
    pub(super) fn bits_beyond(&mut self, arm: &str, at_least: f64) -> &mut Self {
        self.lowest(arm, Range::Beyond, Measure::Bit, at_least)
    }

    /// The answer accuracy pooled over the training lengths, of every task.
    pub(super) fn mean_inside(&mut self, arm: &str, at_least: f64) -> &mut Self {
        for task in self.tasks() {
            let share = self.pooled(arm, &task, Range::Inside);
            self.share(
                format!("{arm}, {task}: inside"),
                share,
                percent(">=", at_least),
                |s| reaches(s.value, at_least),
            );
        }
        self
    }

    /// The answer accuracy at the longest length beyond the training lengths, of every task.
    pub(super) fn at_longest(&mut self, arm: &str, below: f64) -> &mut Self {
        for task in self.tasks() {
            let last = self.lengths(arm, &task, Range::Beyond).last().copied();
            let what = format!("{arm}, {task}: longest{}", at(last.as_ref()));
            self.share(
                what,
                last.and_then(|r| r.share(Measure::Answer)),
                percent("<", below),
                |s| !reaches(s.value, below),
            );
        }
        self
    }

    /// Pooled over the longer lengths, the interval of `arm` lies above that of `other`.
    pub(super) fn clearly_above(&mut self, arm: &str, other: &str) {
        self.pairs(arm, other, "> 0, intervals apart", |a, b| {
            match a.value > b.value {
                true => (a.low > b.high).then_some(true),
                false => Some(false),
            }
        });
    }

    /// Pooled over the longer lengths, `arm` does not lie below `other` by more than `equal`.
    pub(super) fn not_below(&mut self, arm: &str, other: &str, equal: f64) {
        let needed = format!(">= -{:.1} points", 100.0 * equal);
        self.pairs(arm, other, &needed, |a, b| {
            match reaches(a.value - b.value, -equal) {
                true => Some(true),
                false if a.high >= b.low => None,
                false => Some(false),
            }
        });
    }

    /// At every length `arm` lies at most `close` below `other`.
    pub(super) fn close_everywhere(&mut self, arm: &str, other: &str, close: f64) {
        for task in self.tasks() {
            let theirs = self.results.of(other, &task);
            let gaps = self.results.of(arm, &task).iter().filter_map(|mine| {
                let their = theirs.iter().find(|their| their.length == mine.length)?;
                Some((mine.answer_accuracy - their.answer_accuracy, mine.length))
            });
            let worst = gaps.min_by(|a, b| a.0.total_cmp(&b.0));
            let what = format!(
                "{arm} - {other}, {task}: lowest{}",
                worst.map_or(String::new(), |(_, length)| format!(", at length {length}"))
            );
            let needed = format!(">= -{:.1} points", 100.0 * close);
            self.value(
                NumberKind::Difference,
                what,
                worst.map(|(gap, _)| gap),
                needed,
                |gap| reaches(gap, -close),
            );
        }
    }

    /// Pooled over the longer lengths, `arm` gains less than half as much over `base` as `best` does.
    pub(super) fn smaller_gain(&mut self, arm: &str, best: &str, base: &str) {
        for task in self.tasks() {
            let [mine, most, from] = [arm, best, base]
                .map(|name| self.pooled(name, &task, Range::Beyond).map(|s| s.value));
            let gain = mine.zip(from).map(|(mine, from)| mine - from);
            // Half of nothing is no measure: where RELAY gains nothing, no gain can be said to be slight beside it.
            let relay = most.zip(from).map(|(most, from)| most - from);
            let needed = relay
                .filter(|gain| !reaches(EQUAL, *gain))
                .map(|gain| gain / 2.0);
            let words = needed.map_or("< half of RELAY's gain".to_owned(), |n| {
                format!("< {:.1} points", 100.0 * n)
            });
            let what = format!("{arm} - {base}, {task}: longer lengths");
            // A gain alone says nothing: without RELAY's there is no telling whether it is slight.
            let gain = needed.and(gain);
            self.value(NumberKind::Difference, what, gain, words, |gain| {
                needed.is_some_and(|needed| !reaches(gain, needed))
            });
        }
    }

    /// Every cell of every hit matrix is at least `at_least`.
    pub(super) fn hits_everywhere(&mut self, arm: &str, at_least: f64) {
        for (place, matrix) in self.matrices(arm, |_| true) {
            let cells = matrix.iter().flatten().flatten().copied();
            let lowest = cells.min_by(f64::total_cmp);
            let needed = percent(">=", at_least);
            let what = format!("{arm}, {place}: lowest cell of the hit matrix");
            self.value(NumberKind::Share, what, lowest, needed, |low| {
                reaches(low, at_least)
            });
        }
    }

    /// Every hit matrix whose last column is the step's end loses `decay` from its first to its last step, while that column
    /// keeps `kept` everywhere.
    pub(super) fn hits_decay(&mut self, arm: &str, decay: f64, kept: f64) {
        let row = |row: Option<&Vec<Option<f64>>>| {
            let (_, columns) = row?.split_last()?;
            let known: Vec<f64> = columns.iter().flatten().copied().collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        for (place, matrix) in self.matrices(arm, |of| of.step_end) {
            let change = row(matrix.last())
                .zip(row(matrix.first()))
                .map(|(last, first)| last - first);
            let ends = matrix.iter().filter_map(|row| *row.last()?);
            let end = ends.min_by(f64::total_cmp);
            let needed = format!("<= -{:.1} points", 100.0 * decay);
            let what = format!("{arm}, {place}: last step - first step");
            self.value(NumberKind::Difference, what, change, needed, |change| {
                reaches(-change, decay)
            });
            let what = format!("{arm}, {place}: lowest cell of the last column");
            self.value(NumberKind::Share, what, end, percent(">=", kept), |low| {
                reaches(low, kept)
            });
        }
    }

    /// The claim with its verdict.
    pub(super) fn claim(self, id: &str, claim: &str, rule: &str) -> Claim {
        let verdict = if self
            .numbers
            .iter()
            .any(|number| number.as_claimed == Some(false))
        {
            Verdict::DoesNotHold
        } else if self.numbers.is_empty()
            || self
                .numbers
                .iter()
                .any(|number| number.as_claimed.is_none())
        {
            Verdict::NotDecided
        } else {
            Verdict::Holds
        };
        Claim {
            id: id.to_owned(),
            claim: claim.to_owned(),
            rule: rule.to_owned(),
            verdict,
            numbers: self.numbers,
        }
    }

    fn lowest(&mut self, arm: &str, range: Range, measure: Measure, at_least: f64) -> &mut Self {
        for task in self.tasks() {
            let shares = self
                .lengths(arm, &task, range)
                .into_iter()
                .filter_map(|r| Some((r, r.share(measure)?)));
            let worst = shares.min_by(|a, b| a.1.value.total_cmp(&b.1.value));
            let bits = if measure == Measure::Bit {
                " of the bits"
            } else {
                ""
            };
            let what = format!(
                "{arm}, {task}: lowest{bits}{}",
                at(worst.as_ref().map(|(r, _)| r))
            );
            self.share(
                what,
                worst.map(|(_, share)| share),
                percent(">=", at_least),
                |s| reaches(s.value, at_least),
            );
        }
        self
    }

    fn pairs(
        &mut self,
        arm: &str,
        other: &str,
        needed: &str,
        judge: impl Fn(Share, Share) -> Option<bool>,
    ) {
        for task in self.tasks() {
            let both = self.pooled(arm, &task, Range::Beyond).zip(self.pooled(
                other,
                &task,
                Range::Beyond,
            ));
            self.numbers.push(Number {
                what: format!("{arm} - {other}, {task}: longer lengths"),
                value: both.map(|(a, b)| rounded(a.value - b.value)),
                kind: NumberKind::Difference,
                low: None,
                high: None,
                needed: needed.to_owned(),
                as_claimed: both.and_then(|(a, b)| judge(a, b)),
            });
        }
    }

    fn share(
        &mut self,
        what: String,
        share: Option<Share>,
        needed: String,
        holds: impl Fn(Share) -> bool,
    ) {
        self.numbers.push(Number {
            what,
            value: share.map(|s| s.value),
            kind: NumberKind::Share,
            low: share.map(|s| s.low),
            high: share.map(|s| s.high),
            needed,
            as_claimed: share.map(holds),
        });
    }

    fn value(
        &mut self,
        kind: NumberKind,
        what: String,
        value: Option<f64>,
        needed: String,
        holds: impl Fn(f64) -> bool,
    ) {
        let (as_claimed, value) = (value.map(holds), value.map(rounded));
        self.numbers.push(Number {
            what,
            value,
            kind,
            low: None,
            high: None,
            needed,
            as_claimed,
        });
    }

    fn tasks(&self) -> Vec<String> {
        self.results
            .tasks()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// The hit matrices of an arm, and of which problems they are.
    fn matrices(
        &self,
        arm: &str,
        wanted: impl Fn(&HitMatrices) -> bool,
    ) -> Vec<(String, &'a HitMatrix)> {
        let matrix =
            |of: &'a HitMatrices| Some((format!("{} {}", of.task, of.length), of.arms.get(arm)?));
        self.results
            .hit_matrices
            .iter()
            .filter(|of| wanted(of))
            .filter_map(matrix)
            .collect()
    }

    /// The lengths of a task inside or beyond those trained on; none when the training lengths are unknown.
    fn lengths(&self, arm: &str, task: &str, range: Range) -> Vec<LengthResult> {
        let wanted = |at: &&LengthResult| match range {
            Range::Inside => self.results.trained_at(task, at.length) == Some(true),
            Range::Beyond => self.results.train_lengths.is_longer(task, at.length),
        };
        let lengths = self.results.of(arm, task).iter();
        lengths.filter(wanted).copied().collect()
    }

    /// Answer accuracy over all problems of a range of lengths.
    fn pooled(&self, arm: &str, task: &str, range: Range) -> Option<Share> {
        pooled_answers(&self.lengths(arm, task, range)).map(|(_, share)| share)
    }
}

/// Whether `value` is at least `border`. How sums and differences are rounded decides nothing: of what is measured no two
/// numbers lie so near each other.
fn reaches(value: f64, border: f64) -> bool {
    const ROUNDING: f64 = 1e-9;
    value >= border - ROUNDING
}

fn at(result: Option<&LengthResult>) -> String {
    result.map_or(String::new(), |r| format!(", at length {}", r.length))
}

fn percent(relation: &str, share: f64) -> String {
    format!("{relation} {:.1} %", 100.0 * share)
}
