//! The table of the chains that models wrote to learn from.

use std::collections::BTreeMap;

use crate::{
    ChainYield, Results,
    arms::{CHAINS, arm_label, task_label},
    markup::escape,
};

/// By stage and task: how many chains were wanted, kept and left out, and how many of those kept are right.
pub(super) fn written_chains(results: &Results) -> String {
    let rows: String = results
        .written_chains
        .iter()
        .flat_map(|(stage, counts)| {
            by_task(counts)
                .into_iter()
                .map(move |(task, count)| row(stage, task, &count))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<p>A chain is right if no token of its steps and answer is wrong. That is known here, and not used, but for the answers where they confirm.</p>\n\
         <div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">written by</th><th scope=\"col\">task</th>\
         <th scope=\"col\">wanted</th><th scope=\"col\">kept</th><th scope=\"col\">right</th>\
         <th scope=\"col\">unreadable</th><th scope=\"col\">unsure or not confirmed</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// The counts of all lengths of a task; the keys are `task length`.
fn by_task(counts: &BTreeMap<String, ChainYield>) -> BTreeMap<&str, ChainYield> {
    let mut tasks: BTreeMap<&str, ChainYield> = BTreeMap::new();
    for (key, count) in counts {
        let task = key.rsplit_once(' ').map_or(key.as_str(), |(task, _)| task);
        *tasks.entry(task).or_default() += count;
    }
    tasks
}

fn row(stage: &str, task: &str, count: &ChainYield) -> String {
    let writer = match stage {
        CHAINS => "Looped, aligned",
        arm => arm_label(arm),
    };
    let right = match count.right.zip(count.truth_known()) {
        Some((right, known)) if known > 0 => {
            let share = format!("{:.1} %", 100.0 * right as f64 / known as f64);
            match known == count.kept {
                true => format!("{right} ({share})"),
                false => format!("{right} of {known} known ({share})"),
            }
        }
        _ => String::new(),
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{right}</td><td>{}</td><td>{}</td></tr>\n",
        escape(writer),
        escape(task_label(task)),
        count.wanted,
        count.kept,
        count.unreadable,
        count.unsure,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_a_task_are_one_row() {
        let count = ChainYield {
            wanted: 10,
            kept: 4,
            unreadable: 1,
            unsure: 5,
            known: None,
            right: Some(3),
        };
        let counts = ["ari 7", "ari 8", "ed 9"].map(|key| (key.to_owned(), count.clone()));
        let mut results = Results::new("smoke", 1, "flex");
        results.written_chains.insert("ar_self_loop", counts.into());
        let table = written_chains(&results);
        assert!(
            table.contains("<td>20</td><td>8</td><td>6 (75.0 %)</td>"),
            "{table}"
        );
        assert_eq!(table.matches("<tr><th scope=\"row\">").count(), 2);
        let some_known = ChainYield {
            known: Some(3),
            ..count
        };
        let counts = [("ari 7".to_owned(), some_known)];
        results.written_chains.insert("ar_self_loop", counts.into());
        let table = written_chains(&results);
        assert!(table.contains("<td>3 of 3 known (100.0 %)</td>"), "{table}");
        assert_eq!(written_chains(&Results::new("smoke", 1, "flex")), "");
    }
}
