//! `sweep.json`, `sweep.csv`, `sweep.md`, and a figure for each task and arm.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use super::{SweepResults, Swept};
use crate::{
    LengthSpread, Measure, Result, Results, Spread, Sweep,
    aggregate::{each_once, few_of},
    arms::{ARMS, arm_label, task_label},
    file_name::file_name,
    json::pretty,
    length_result::{rounded, tenths},
    plot::{Bands, curves_figure, field},
    report::remove_older_figures,
    write_atomically,
};

impl SweepResults {
    /// Writes `sweep.json`, `sweep.csv`, `sweep.md` and `figures/TASK_ARM.svg`, `.png`, `.csv`; gives the paths
    /// written. Figures of other tasks or arms that were written here before are removed.
    ///
    /// # Errors
    /// When a figure cannot be drawn or a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let text = pretty(&dir.join("sweep.json"), self)?;
        let mut written = Vec::new();
        for (name, text) in [
            ("sweep.json", text + "\n"),
            ("sweep.csv", self.csv(|_, _| true)),
            ("sweep.md", self.markdown()),
        ] {
            let file = dir.join(name);
            write_atomically(&file, text.as_bytes())?;
            written.push(file);
        }
        for task in self.tasks() {
            for arm in self.arms() {
                let curves = self.curves(arm, task);
                let title = format!("{} by {}", arm_label(arm), self.varied().join(", "));
                let bands = match self.seeds.len() {
                    1 => Bands::Interval,
                    _ => Bands::Seeds,
                };
                let figure = curves_figure(&curves, Measure::Answer, "sweep", &title, bands);
                let Some(figure) = figure else {
                    continue;
                };
                let name = format!("{}_{}", file_name(task), file_name(arm));
                let base = dir.join("figures").join(name);
                let csv = self.csv(|of_arm, of_task| of_arm == arm && of_task == task);
                written.extend(figure.write_with(&base, &csv)?);
            }
        }
        remove_older_figures(&dir.join("figures"), &written, is_of_arm)?;
        Ok(written)
    }

    /// The table: a row for each arm and combination; columns are the longest trained length and all longer ones.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "Answer accuracy in per cent: {}.\n",
            match self.seeds.as_slice() {
                [one] => format!("seed {one}"),
                seeds => {
                    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
                    let list = list.join(", ");
                    format!("mean over seeds {list}, lowest and highest in brackets")
                }
            }
        );
        for task in self.tasks() {
            let lengths = self.shown(task);
            let trained = |length| {
                self.measured()
                    .all(|one| one.measured.trained_at(task, length))
            };
            let head = |&length: &usize| match trained(length) {
                true => format!("{length} (trained)"),
                false => length.to_string(),
            };
            let heads: Vec<String> = lengths.iter().map(head).collect();
            let _ = write!(
                text,
                "\n## {}\n\n| arm | {} | {} |\n|---|---|{}\n",
                task_label(task),
                self.varied().join(", "),
                heads.join(" | "),
                "---|".repeat(lengths.len())
            );
            for arm in self.arms() {
                self.rows(&mut text, arm, task, &lengths);
            }
        }
        let failed: Vec<_> = self
            .combinations
            .iter()
            .flat_map(|one| &one.failed)
            .collect();
        if !failed.is_empty() {
            text += "\nFailed:\n\n";
        }
        for run in failed {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- `{}`: {}", run.dir, run.reason);
        }
        text
    }

    /// The combinations of which something was measured.
    fn measured(&self) -> impl Iterator<Item = &Swept> {
        let all = self.combinations.iter();
        all.filter(|one| !one.measured.runs.is_empty())
    }

    fn rows(&self, text: &mut String, arm: &str, task: &str, lengths: &[usize]) {
        for one in &self.combinations {
            let measured = one.measured.of(arm, task);
            let cell = |length: &usize| {
                let at = measured.iter().find(|at| at.length == *length);
                let answer = at.and_then(|at| at.answer.as_ref());
                answer.map_or("-".to_owned(), |spread| {
                    per_cent(spread) + &few_of(spread.runs.len(), self.seeds.len())
                })
            };
            let cells: Vec<String> = lengths.iter().map(cell).collect();
            let label = one.label.replace('|', "\\|");
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {label} | {} |",
                arm_label(arm),
                cells.join(" | ")
            );
        }
    }

    /// The longest length that all combinations were trained on, and all longer ones.
    fn shown(&self, task: &str) -> Vec<usize> {
        let of_task = |one: &Swept| {
            one.measured
                .train_lengths
                .get(task)
                .map_or(0, |ends| ends[1])
        };
        let from = self.measured().map(of_task).min().unwrap_or(0);
        let mut lengths: Vec<usize> = self
            .spreads(task)
            .map(|at| at.length)
            .filter(|&length| length >= from)
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    fn spreads<'a>(&'a self, task: &'a str) -> impl Iterator<Item = &'a LengthSpread> {
        let arms = self
            .combinations
            .iter()
            .flat_map(|one| one.measured.arms.values());
        arms.filter_map(move |tasks| tasks.get(task)).flatten()
    }

    /// The answers of an arm on a task as if every combination were an arm.
    fn curves(&self, arm: &str, task: &str) -> Results {
        let mut curves = Results::default();
        let mut trained = self
            .combinations
            .iter()
            .filter_map(|one| one.measured.train_lengths.get(task));
        if let Some(lengths) = trained
            .next()
            .filter(|first| trained.all(|other| other == *first))
        {
            curves.train_lengths.insert(task, *lengths);
        }
        for one in &self.combinations {
            for at in one.measured.means(self.seeds.len()).of(arm, task) {
                curves.add(&one.label, task, *at);
            }
        }
        curves
    }

    fn csv(&self, wanted: impl Fn(&str, &str) -> bool) -> String {
        let paths: Vec<String> = self.axes.iter().map(|axis| field(&axis.path)).collect();
        let head = ["arm,task".to_owned()]
            .into_iter()
            .chain(paths)
            .collect::<Vec<_>>()
            .join(",");
        let mut text = format!("{head},measure,length,trained,runs,mean,min,max\n");
        for one in &self.combinations {
            let values: String = one
                .values
                .values()
                .map(|value| format!(",{}", field(value)))
                .collect();
            for (arm, tasks) in one.measured.arms.iter() {
                for (task, lengths) in tasks.iter().filter(|(task, _)| wanted(arm, task)) {
                    for at in lengths {
                        let trained = one.measured.trained_at(task, at.length);
                        let place = format!("{},{}{values}", field(arm), field(task));
                        csv_lines(&mut text, &place, at, trained);
                    }
                }
            }
        }
        text
    }

    fn tasks(&self) -> Vec<&str> {
        each_once(
            self.combinations
                .iter()
                .flat_map(|one| one.measured.train_lengths.keys()),
        )
    }

    fn arms(&self) -> Vec<&str> {
        each_once(
            self.combinations
                .iter()
                .flat_map(|one| one.measured.arms.keys()),
        )
    }

    /// What was varied, by the ends of the paths.
    fn varied(&self) -> Vec<&str> {
        let sweep = Sweep {
            axes: self.axes.clone(),
            seeds: Vec::new(),
        };
        let several = self.axes.iter().filter(|axis| axis.values.len() > 1);
        let names: Vec<&str> = several.map(|axis| sweep.short(&axis.path)).collect();
        if names.is_empty() {
            vec!["settings"]
        } else {
            names
        }
    }
}

/// Whether a figure of an arm on any task may have this name.
fn is_of_arm(name: &str) -> bool {
    ARMS.iter().any(|arm| {
        let task = name.strip_suffix(arm);
        task.is_some_and(|task| task.len() > 1 && task.ends_with('_'))
    })
}

fn csv_lines(text: &mut String, start: &str, at: &LengthSpread, trained: bool) {
    let trained = if trained { "yes" } else { "no" };
    for (name, measure) in [
        ("answer", Measure::Answer),
        ("bit", Measure::Bit),
        ("chain", Measure::Chain),
    ] {
        let Some(spread) = at.spread(measure) else {
            continue;
        };
        let [mean, min, max] = [spread.mean, spread.min, spread.max].map(rounded);
        let (length, runs) = (at.length, spread.runs.len());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{start},{name},{length},{trained},{runs},{mean},{min},{max}"
        );
    }
}

fn per_cent(spread: &Spread) -> String {
    let [mean, min, max] = [spread.mean, spread.min, spread.max].map(|share| tenths(100.0 * share));
    match spread.runs.len() {
        1 => mean,
        _ => format!("{mean} ({min}..{max})"),
    }
}
