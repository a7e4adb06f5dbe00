//! How many chains are still without a wrong step, step by step, at the longest length of each task.

use std::fmt::Write;

use super::{
    bands::Bands,
    curves::Curves,
    field,
    panel::{Line, Panel},
    style::line_styles,
};
use crate::{
    Results, Share,
    arms::{arm_label, task_label},
};

/// The curves; `None` when no arm's chains were examined.
pub(super) fn first_wrong(results: &Results, title: &str, bands: Bands) -> Option<Curves> {
    let arms: Vec<&str> = results.forensics.keys().collect();
    let styles = line_styles(&arms);
    let mut panels = Vec::new();
    for task in results.tasks() {
        let found = |arm: &&str| results.forensics_of(arm, task);
        let lengths = arms.iter().filter_map(found);
        let Some(length) = lengths.filter_map(|f| f.by_length.keys().max()).max() else {
            continue;
        };
        let line = |(i, arm): (usize, &&str)| {
            let chains = found(arm)?.by_length.get(length)?;
            let point = |step| match (step, bands) {
                (0, _) => Share::exactly(1.0),
                (step, Bands::None) => Share::exactly(chains.unharmed_after(step).value),
                (step, _) => chains.unharmed_after(step),
            };
            Some(Line {
                arm: (*arm).to_owned(),
                style: styles[i],
                place: i as f64 - (arms.len() - 1) as f64 / 2.0,
                points: (0..=chains.steps)
                    .map(|step| (step, chains.chains, point(step)))
                    .collect(),
            })
        };
        panels.push(Panel {
            task: task.to_owned(),
            title: format!("{}, length {length}", task_label(task)),
            across: "step",
            train: None,
            lines: arms.iter().enumerate().filter_map(line).collect(),
        });
    }
    let legend = arms.iter().zip(&styles);
    let legend = legend.map(|(arm, style)| (arm_label(arm).to_owned(), *style));
    (!panels.is_empty()).then(|| Curves {
        title: title.to_owned(),
        bands,
        unit: "chains without a wrong step, %",
        panels,
        legend: legend.collect(),
    })
}

/// The numbers in the figure.
pub(super) fn csv(curves: &Curves) -> String {
    let mut text = String::from("task,arm,step,n,share,low,high\n");
    for panel in &curves.panels {
        for line in &panel.lines {
            for (step, n, Share { value, low, high }) in &line.points {
                let (task, arm) = (field(&panel.task), field(&line.arm));
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{task},{arm},{step},{n},{value},{low},{high}");
            }
        }
    }
    text
}
