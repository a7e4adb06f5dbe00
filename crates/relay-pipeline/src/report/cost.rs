//! What every stage and arm cost.

use crate::{Results, StageCost, arms::arm_label, markup::escape};

const NAMES: [&str; 7] = [
    "minutes",
    "updates",
    "samples",
    "tokens",
    "block passes",
    "FLOP",
    "GFLOP/s",
];

/// A table of the stages, and one of the arms with all that they build on.
pub(super) fn cost(results: &Results) -> String {
    if results.seconds.is_empty() {
        return String::new();
    }
    let stages = || results.seconds.keys();
    let rows: String = stages()
        .map(|stage| row(stage, results.cost_of(stage)))
        .collect();
    let sum = row(
        "all stages",
        StageCost::sum(stages().map(|stage| results.cost_of(stage))),
    );
    format!(
        "<p>A block pass is one token position that goes through the whole block once. Floating-point operations (FLOP) \
         are those of the matrix products, counted from shapes, backward and recomputation included. Samples and tokens are \
         those trained on, padding included, or written.</p>\n\
         <div class=\"wide\"><table>\n{}<tbody>\n{rows}</tbody>\n<tfoot>{sum}</tfoot>\n</table></div>\n{}",
        head(&["stage"].into_iter().chain(NAMES).collect::<Vec<_>>()),
        arms(results),
    )
}

fn row(name: &str, cost: StageCost) -> String {
    let number = |n: Option<u64>| n.map_or(String::new(), thousands);
    let rate = cost.flops.filter(|_| cost.seconds > 0.0);
    format!(
        "<tr><th scope=\"row\">{}</th><td>{:.1}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        escape(name),
        cost.seconds / 60.0,
        number(cost.updates),
        number(cost.samples),
        number(cost.tokens),
        number(cost.block_passes),
        cost.flops
            .map_or(String::new(), |flops| format!("{flops:.2e}")),
        rate.map_or(String::new(), |flops| {
            format!("{:.1}", flops / cost.seconds / 1e9)
        }),
    )
}

fn arms(results: &Results) -> String {
    let row = |arm: &str| Some(row(arm_label(arm), results.cost_with_all_below(arm)?));
    let rows: String = results.arms.keys().filter_map(row).collect();
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<h3>Each arm with all that it builds on</h3>\n\
         <p>What it costs the looped model to confirm answers is in the minutes, not in the FLOP.</p>\n<div class=\"wide\"><table>\n{}<tbody>\n{rows}</tbody>\n</table></div>\n",
        head(&["arm"].into_iter().chain(NAMES).collect::<Vec<_>>()),
    )
}

/// The head of a table.
pub(super) fn head(names: &[&str]) -> String {
    let cells: String = names
        .iter()
        .map(|name| format!("<th scope=\"col\">{name}</th>"))
        .collect();
    format!("<thead><tr>{cells}</tr></thead>\n")
}

/// A number with its thousands set apart.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_thousands_apart() {
        assert_eq!(
            [7, 1000, 1_234_567].map(thousands),
            ["7", "1,000", "1,234,567"]
        );
    }
}
