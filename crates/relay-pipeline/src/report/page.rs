//! The page `report.html`.

use serde_json::Value;

use super::{
    cost::cost,
    forensics::forensics,
    tables::{answers, chains, claims},
    written::written_chains,
};
use crate::{
    OrderedMap, Results, Verdict,
    arms::{arm_label, task_label},
    markup::escape,
    plot::{Bands, Figure},
};

/// The whole page of what `runs` measured, such as `seed 1`; of the shares by length `bands` are the ranges.
/// `figures` come with their SVG documents, which go into the page.
pub(super) fn page(
    results: &Results,
    runs: &str,
    bands: Bands,
    figures: &[(Figure, String)],
) -> String {
    let title = format!("RELAY: preset {}, {runs}", results.preset);
    let body = [
        format!(
            "<header><h1>{}</h1>{}</header>",
            escape(&title),
            introduction(results)
        ),
        section(
            "Answer accuracy by arm, task and length",
            &answers(results, bands),
        ),
        section(
            "Figures",
            &figures
                .iter()
                .map(|(figure, svg)| drawing(figure, svg))
                .collect::<String>(),
        ),
        section(
            "The paper's claims",
            &(summary(results, bands) + &claims(results)),
        ),
        section("Bit and chain accuracy", &chains(results)),
        section("Where chains go wrong", &forensics(results, bands)),
        section("Chains written to learn from", &written_chains(results)),
        section("Cost", &cost(results)),
        section("How it was run", &provenance(results, runs)),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n{}\n</main>\n</body>\n</html>\n",
        escape(&title),
        include_str!("style.css"),
        body.join("\n"),
    )
}

fn section(title: &str, content: &str) -> String {
    if content.is_empty() {
        String::new()
    } else {
        format!("<section>\n<h2>{}</h2>\n{content}</section>", escape(title))
    }
}

/// One paragraph on what was run.
fn introduction(results: &Results) -> String {
    let arms: Vec<&str> = results.arms.keys().map(arm_label).collect();
    let tasks: Vec<String> = results
        .tasks()
        .into_iter()
        .map(|task| {
            let label = task_label(task);
            let tested = crate::table::tested(results, task);
            let tested = tested
                .first()
                .zip(tested.last())
                .map(|(a, b)| format!("tested on {a} to {b}"));
            let trained = results
                .train_lengths
                .get(task)
                .map(|[a, b]| format!("trained on lengths {a} to {b}"));
            let parts: Vec<String> = trained.into_iter().chain(tested).collect();
            if parts.is_empty() {
                label.to_owned()
            } else {
                format!("{label} ({})", parts.join(", "))
            }
        })
        .collect();
    let minutes = results.seconds.values().sum::<f64>() / 60.0;
    format!(
        "<p>A looped model learns to write one step of a chain of thought per iteration. The chains that it writes for \
         problems longer than those it was trained on then fine-tune an auto-regressive (AR) model. Arms: {}. Tasks: {}. \
         All stages of a run together took {minutes:.1} minutes on the device {}; those that ran side by side count each.</p>\n",
        escape(&arms.join("; ")),
        escape(&tasks.join("; ")),
        escape(&results.device),
    )
}

fn drawing(figure: &Figure, svg: &str) -> String {
    let name = &figure.name;
    let link = |kind: &str| {
        let label = kind.to_uppercase();
        format!("<a href=\"figures/{name}.{kind}\">{label}</a>")
    };
    let png = figure.fits_png().then_some("png");
    let kinds = ["svg"].into_iter().chain(png).chain(["csv"]);
    let links: Vec<String> = kinds.map(link).collect();
    format!(
        "<figure>\n<div class=\"paper\">{svg}</div>\n<figcaption>{}. {} {}</figcaption>\n</figure>\n",
        escape(&figure.title),
        escape(&figure.caption),
        links.join(", "),
    )
}

/// How many claims have which verdict.
fn summary(results: &Results, bands: Bands) -> String {
    let together = match bands {
        Bands::Seeds => {
            " The rules are applied to the problems of all seeds as if one model had solved them: what differs between \
             seeds evens out, and a claim may hold here that fails with one of them. aggregate.md has the verdicts of each."
        }
        _ => "",
    };
    let count = |verdict| {
        results
            .claims
            .iter()
            .filter(|claim| claim.verdict == verdict)
            .count()
    };
    format!(
        "<p>Of {} claims, {} hold, {} do not, {} are not decided. A claim is undecided when numbers that it needs are \
         missing or, where its rule says so, too uncertain.{together}</p>\n",
        results.claims.len(),
        count(Verdict::Holds),
        count(Verdict::DoesNotHold),
        count(Verdict::NotDecided),
    )
}

fn provenance(results: &Results, runs: &str) -> String {
    let mut stages = OrderedMap::<Vec<&str>>::new();
    for (stage, machine) in results.other_machines.iter() {
        stages.entry_or_default(&machine.to_string()).push(stage);
    }
    let others: Vec<String> = stages
        .iter()
        .map(|(machine, stages)| format!("{} on {machine}", stages.join(", ")))
        .collect();
    let facts = [
        ("preset", results.preset.clone()),
        ("runs", runs.to_owned()),
        ("device", results.device.clone()),
        ("machine", results.machine.to_string()),
        ("other machines", others.join("; ")),
        ("program", format!("relay {}", results.version)),
        ("command", results.command.clone()),
    ];
    let rows: String = facts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value)))
        .collect();
    let settings = match &results.settings {
        Value::Null => String::new(),
        settings => {
            let text =
                serde_json::to_string_pretty(settings).unwrap_or_else(|_| settings.to_string());
            format!(
                "<details>\n<summary>All settings</summary>\n<pre>{}</pre>\n</details>\n",
                escape(&text)
            )
        }
    };
    format!("<dl>\n{rows}</dl>\n{settings}")
}
