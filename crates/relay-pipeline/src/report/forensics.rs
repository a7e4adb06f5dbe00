//! Where chains go wrong.

use super::cost::head;
use crate::{
    ChainForensics, Results, Share,
    arms::{arm_label, task_label},
    markup::escape,
    plot::Bands,
};

/// A table per task, with the most frequent confusions below.
pub(super) fn forensics(results: &Results, bands: Bands) -> String {
    let tables: String = results
        .tasks()
        .iter()
        .map(|task| of_task(results, task, bands))
        .collect();
    if tables.is_empty() {
        return tables;
    }
    let interval = match bands {
        Bands::Interval => ", with its 95 % Wilson interval",
        Bands::Seeds | Bands::None => "",
    };
    format!(
        "<p>Steps count from 1. Of the steps after the first wrong one the table says how many are wrong, on average; \
         steps beyond the number of true ones are among them. A chain recovers when a right step follows a wrong one. The \
         last columns are the share of right answers that stand on a wrong chain{interval}, and the number \
         of wrong answers that stand on a right one.</p>\n{tables}"
    )
}

fn of_task(results: &Results, task: &str, bands: Bands) -> String {
    let mut rows = String::new();
    for arm in results.forensics.keys() {
        let Some(found) = results.forensics_of(arm, task) else {
            continue;
        };
        if let Some((length, last)) = found.by_length.last_key_value() {
            rows += &row(arm, &format!("{length}"), last, bands);
        }
        let trained = results.train_lengths.get(task).map_or(0, |[_, to]| *to);
        if let Some(longer) = found.longer_than(trained) {
            rows += &row(arm, &format!("all above {trained}"), &longer, bands);
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let names = [
        "arm",
        "lengths",
        "chains",
        "right",
        "first wrong step: most common",
        "mean",
        "steps after it: wrong",
        "recovers",
        "right answers on wrong chains",
        "wrong answers on right chains",
    ];
    format!(
        "<h3>{}</h3>\n<div class=\"wide\"><table>\n{}<tbody>\n{rows}</tbody>\n</table></div>\n{}",
        escape(task_label(task)),
        head(&names),
        confusions(results, task),
    )
}

fn row(arm: &str, lengths: &str, found: &ChainForensics, bands: Bands) -> String {
    let wrong = found.wrong_chains();
    let percent = |share: Share| format!("{:.1} %", 100.0 * share.value);
    let mean = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
    let later = found.mean_later().map_or(String::new(), |(wrong, all)| {
        format!("{wrong:.1} of {all:.1}")
    });
    let right = Share::of(found.chains - wrong, found.chains, found.chains);
    let recovers = match wrong {
        0 => String::new(),
        wrong => percent(Share::of(found.recovering, wrong, wrong)),
    };
    let on_wrong = match found.right_answers {
        0 => String::new(),
        n => {
            let share = Share::of(found.right_answers_on_wrong_chains, n, n);
            let (low, high) = (100.0 * share.low, 100.0 * share.high);
            match bands {
                Bands::Interval => {
                    format!("{} <small>({low:.1} to {high:.1})</small>", percent(share))
                }
                Bands::Seeds | Bands::None => percent(share),
            }
        }
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td>{lengths}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{recovers}</td><td>{on_wrong}</td><td>{}</td></tr>\n",
        escape(arm_label(arm)),
        found.chains,
        percent(right),
        found
            .most_common_first_wrong()
            .map_or(String::new(), |step| step.to_string()),
        mean(found.mean_first_wrong()),
        later,
        found.wrong_answers_on_right_chains,
    )
}

/// What was written in wrong places, an unfolding list per arm.
fn confusions(results: &Results, task: &str) -> String {
    let mut text = String::new();
    for arm in results.forensics.keys() {
        let Some(found) = results
            .forensics_of(arm, task)
            .filter(|f| f.wrong_places > 0)
        else {
            continue;
        };
        let list: Vec<String> = found
            .confusions
            .iter()
            .map(|c| {
                let share = 100.0 * c.n as f64 / found.wrong_places as f64;
                let (truth, written) = (escape(&c.truth), escape(&c.written));
                format!("{truth} → {written} ({share:.1} %)")
            })
            .collect();
        text += &format!(
            "<details><summary>{}: {} wrong places over all lengths; true → written (share of these)</summary>\n\
             <p>{}</p></details>\n",
            escape(arm_label(arm)),
            found.wrong_places,
            list.join("; "),
        );
    }
    text
}
