//! The table that a run ends with on the terminal.

use std::fmt::Write;

use crate::{LengthResult, Results, arms::task_label, length_result::tenths};

/// Lengths side by side; more go to a second block below.
const LENGTHS_ACROSS: usize = 12;

/// Answer accuracy in per cent by task, arm and length; lengths beyond the training lengths carry a `+`.
///
/// ```
/// # use relay_pipeline::{LengthResult, Results, table};
/// let mut results = Results::new("smoke", 1, "flex");
/// results.train_lengths.insert("ari", [1, 4]);
/// results.add("ar_baseline", "ari", LengthResult::from_counts(5, 200, 31, None));
/// assert!(table(&results).contains("15.5"));
/// ```
pub fn table(results: &Results) -> String {
    let mut text =
        String::from("Answer accuracy in per cent; + marks lengths longer than those trained on\n");
    let width = results
        .arms
        .keys()
        .map(|arm| arm.chars().count())
        .max()
        .unwrap_or(0)
        .max(6);
    for task in results.tasks() {
        let trained = results
            .train_lengths
            .get(task)
            .map_or(String::new(), |[a, b]| format!(", trained on {a}..{b}"));
        let _ = writeln!(text, "\n{} ({task}){trained}", task_label(task));
        for lengths in tested(results, task).chunks(LENGTHS_ACROSS) {
            block(&mut text, results, task, lengths, width);
        }
    }
    text
}

/// All lengths at which any arm was tested on `task`, ascending.
pub(crate) fn tested(results: &Results, task: &str) -> Vec<usize> {
    let arms = results.arms.keys();
    let mut lengths: Vec<usize> = arms
        .flat_map(|arm| results.of(arm, task))
        .map(|r| r.length)
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// What an arm did at one length.
pub(crate) fn cell<'a>(
    results: &'a Results,
    arm: &str,
    task: &str,
    length: usize,
) -> Option<&'a LengthResult> {
    results.of(arm, task).iter().find(|r| r.length == length)
}

fn block(text: &mut String, results: &Results, task: &str, lengths: &[usize], width: usize) {
    // Writing to a string cannot fail.
    let _ = write!(text, "  {:width$}", "length");
    for &length in lengths {
        let mark = if results.train_lengths.is_longer(task, length) {
            "+"
        } else {
            ""
        };
        let _ = write!(text, " {:>6}", format!("{length}{mark}"));
    }
    text.push('\n');
    for arm in results.arms.keys() {
        let _ = write!(text, "  {arm:width$}");
        for &length in lengths {
            let share = cell(results, arm, task, length);
            let share = share.map_or("-".to_owned(), |r| tenths(100.0 * r.answer_accuracy));
            let _ = write!(text, " {share:>6}");
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arm_has_a_row_and_every_length_a_column() {
        let mut results = Results::new("mini", 1, "flex");
        results.train_lengths.insert("lis", [5, 15]);
        for length in 4..=20 {
            results.add(
                "looped_aligned",
                "lis",
                LengthResult::from_counts(length, 100, 99, None),
            );
        }
        results.add(
            "ar_baseline",
            "lis",
            LengthResult::from_counts(20, 100, 4, None),
        );
        let text = table(&results);
        assert_eq!(text.matches("99.0").count(), 17);
        assert_eq!(text.matches("ar_baseline").count(), 2);
        assert!(
            text.contains(" 15\n") && text.contains("16+") && text.contains("4.0"),
            "{text}"
        );
        // Shorter than those trained on is not longer.
        assert!(text.contains(" 4 ") && !text.contains("4+"), "{text}");
        assert!(text.lines().all(|line| line.len() < 110), "{text}");
    }
}
