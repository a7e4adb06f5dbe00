//! The tables of the page.

use crate::{
    Claim, Measure, Number, Results, Share, Verdict,
    arms::{arm_label, task_label},
    length_result::tenths,
    markup::escape,
    plot::Bands,
    table::{cell, tested},
};

/// Answer accuracy, a table per task.
pub(super) fn answers(results: &Results, bands: Bands) -> String {
    let ranges = bands.caption("The ranges");
    let note = format!("<p>In per cent. {ranges} Shaded lengths were trained on.</p>\n");
    let tables: String = results
        .tasks()
        .iter()
        .map(|task| by_length(results, task, &[Measure::Answer]))
        .collect();
    if tables.is_empty() {
        tables
    } else {
        format!("{note}{tables}")
    }
}

/// Bit and chain accuracy, a table per task.
pub(super) fn chains(results: &Results) -> String {
    let measures = [Measure::Bit, Measure::Chain];
    let tables: String = results
        .tasks()
        .iter()
        .map(|task| by_length(results, task, &measures))
        .collect();
    let note = "<p>In per cent, for the arms that write chains.</p>\n";
    if tables.is_empty() {
        tables
    } else {
        format!("{note}{tables}")
    }
}

/// Lengths that fit beside each other on a page.
const COLUMNS: usize = 12;

/// A table of all lengths, or several below each other that share them evenly: what lies beyond the edge of a page is not seen,
/// and the longest lengths are what it is about.
fn by_length(results: &Results, task: &str, measures: &[Measure]) -> String {
    let lengths = tested(results, task);
    let tables = lengths.len().div_ceil(COLUMNS).max(1);
    let columns = lengths.len().div_ceil(tables).max(1);
    let part = |lengths: &[usize]| table(results, task, measures, lengths);
    let tables: String = lengths.chunks(columns).map(part).collect();
    if tables.is_empty() {
        return tables;
    }
    let task = escape(task_label(task));
    format!("<h3>{task}</h3>\n<div class=\"wide\">{tables}</div>\n")
}

/// Empty where no arm has anything to tell.
fn table(results: &Results, task: &str, measures: &[Measure], lengths: &[usize]) -> String {
    let mut rows = String::new();
    for measure in measures {
        for arm in results.arms.keys() {
            if results
                .of(arm, task)
                .iter()
                .any(|r| r.share(*measure).is_some())
            {
                rows.push_str(&row(
                    results,
                    (arm, task),
                    *measure,
                    lengths,
                    measures.len() > 1,
                ));
            }
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let head: String = lengths
        .iter()
        .map(|&length| {
            format!(
                "<th scope=\"col\"{}>{length}</th>",
                class(results, task, length)
            )
        })
        .collect();
    format!(
        "<table>\n<thead><tr><th scope=\"col\">length</th>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
    )
}

fn row(
    results: &Results,
    (arm, task): (&str, &str),
    measure: Measure,
    lengths: &[usize],
    named: bool,
) -> String {
    let cells: String = lengths
        .iter()
        .map(|&length| {
            let class = class(results, task, length);
            let found = cell(results, arm, task, length);
            match found.and_then(|r| Some((r.n, r.share(measure)?))) {
                Some((n, share)) => {
                    let Share { value, low, high } = share;
                    let title =
                        format!("{:.1} to {:.1} %, {n} problems", 100.0 * low, 100.0 * high);
                    let range = format!("{:.0} to {:.0}", 100.0 * low, 100.0 * high);
                    let value = tenths(100.0 * value);
                    format!("<td{class} title=\"{title}\" data-range=\"{range}\">{value}</td>")
                }
                None => format!("<td{class}></td>"),
            }
        })
        .collect();
    let name = match measure {
        Measure::Bit if named => format!("{}: bits", arm_label(arm)),
        Measure::Chain if named => format!("{}: chains", arm_label(arm)),
        _ => arm_label(arm).to_owned(),
    };
    format!(
        "<tr><th scope=\"row\" title=\"{}\">{}</th>{cells}</tr>\n",
        escape(arm),
        escape(&name)
    )
}

fn class(results: &Results, task: &str, length: usize) -> &'static str {
    if results.trained_at(task, length) == Some(true) {
        " class=\"trained\""
    } else {
        ""
    }
}

/// The claims with their verdicts; the numbers unfold.
pub(super) fn claims(results: &Results) -> String {
    let rows: String = results.claims.iter().map(claim).collect();
    format!(
        "<div class=\"wide\"><table class=\"claims\">\n<thead><tr><th scope=\"col\">claim</th>\
         <th scope=\"col\">verdict</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn claim(claim: &Claim) -> String {
    let (class, mark) = match claim.verdict {
        Verdict::Holds => ("holds", "&#10003;"),
        Verdict::DoesNotHold => ("fails", "&#10007;"),
        Verdict::NotDecided => ("open", "?"),
    };
    let numbers: String = claim.numbers.iter().map(number).collect();
    format!(
        "<tr id=\"{}\"><td>{}<br><small>{}</small>\n<details><summary>numbers: {}</summary><table>\n<thead><tr>\
         <th scope=\"col\">number</th><th scope=\"col\">value</th><th scope=\"col\">needed</th><th scope=\"col\"></th>\
         </tr></thead>\n<tbody>\n{numbers}</tbody></table></details></td>\
         <td class=\"verdict {class}\"><b>{mark}</b> {}</td></tr>\n",
        escape(&claim.id),
        escape(&claim.claim),
        escape(&claim.rule),
        claim.numbers.len(),
        claim.verdict.words(),
    )
}

fn number(number: &Number) -> String {
    let interval = number
        .low
        .zip(number.high)
        .map_or(String::new(), |(low, high)| {
            format!(
                " <small>({:.1} to {:.1})</small>",
                100.0 * low,
                100.0 * high
            )
        });
    let value = number.value_text() + &interval;
    let mark = match number.as_claimed {
        Some(true) => "&#10003;",
        Some(false) => "&#10007;",
        None => "?",
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td>{value}</td><td>{}</td><td>{mark}</td></tr>\n",
        escape(&number.what),
        escape(&number.needed),
    )
}
