//! `aggregate.json`, `aggregate.md` and the figures of several runs.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use super::{Aggregate, RunShare, Spread, markdown::pooled_by_run};
use crate::{
    LengthSpread, Measure, OrderedMap, Result, Results, Share,
    json::pretty,
    length_result::rounded,
    plot::{ANSWERS, BITS, Bands, CHAINS, curves_figure, field, other_figures},
    report::Drawings,
    write_atomically,
};

const FIGURES: [(Measure, &str, &str); 3] = [
    (Measure::Answer, ANSWERS, "Answer accuracy"),
    (Measure::Bit, BITS, "Bit accuracy"),
    (Measure::Chain, CHAINS, "Chain accuracy"),
];

impl Aggregate {
    /// Writes `aggregate.json`, the tables of accuracies, verdicts, chains and minutes as `aggregate.md`, and `figures/*.svg`, `*.png`,
    /// `*.csv` with the mean curves and bands from the lowest to the highest run; gives the paths written. Of several runs there
    /// are a `report.html` and all other figures of a run, too, made from the problems of all seeds together. What was
    /// written here before for more runs, arms or lengths is removed.
    ///
    /// # Errors
    /// When a figure cannot be drawn or a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let json = dir.join("aggregate.json");
        let text = pretty(&json, self)? + "\n";
        write_atomically(&json, text.as_bytes())?;
        let table = dir.join("aggregate.md");
        let text = self.markdown() + &self.details_markdown();
        write_atomically(&table, text.as_bytes())?;
        let mut drawings = Drawings::below(dir);
        let seeds = self.distinct_seeds().len();
        let (means, bands) = match seeds {
            1 => (self.means(1), Bands::Interval),
            seeds => (self.means(seeds), Bands::Seeds),
        };
        for (measure, name, what) in FIGURES {
            let title = format!("{what} by length, {}", self.seeds());
            if let Some(figure) = curves_figure(&means, measure, name, &title, bands) {
                drawings.draw(figure, Some(self.csv(measure)))?;
            }
        }
        if let Some(together) = &self.together {
            let whose = format!(", seeds {} together", self.seed_list());
            let longer = |arm: &str, task: &str| self.longer(arm, task);
            for figure in other_figures(together, bands, &whose, longer) {
                drawings.draw(figure, None)?;
            }
            let shown = Results {
                arms: means.arms,
                ..together.as_ref().clone()
            };
            drawings.page(&shown, &whose[2..], bands)?;
        }
        Ok([json, table]
            .into_iter()
            .chain(drawings.finish()?)
            .collect())
    }

    /// The seeds of the runs, each once.
    pub(super) fn distinct_seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = self.runs.iter().map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds
    }

    /// The seeds, with commas between them.
    fn seed_list(&self) -> String {
        let seeds: Vec<String> = self.distinct_seeds().iter().map(u64::to_string).collect();
        seeds.join(", ")
    }

    fn seeds(&self) -> String {
        let (seeds, list) = (self.distinct_seeds(), self.seed_list());
        let mut spreads = self.arms.values().flat_map(OrderedMap::values).flatten();
        let lacks = |at: &LengthSpread| {
            let runs = at.answer.as_ref().map_or(0, |spread| spread.runs.len());
            runs > 0 && runs < seeds.len()
        };
        match seeds.len() {
            1 => format!("seed {list}"),
            _ if spreads.any(lacks) => format!("mean of those of seeds {list} that an arm has"),
            _ => format!("mean of seeds {list}"),
        }
    }

    /// The means as results of one run, whose intervals reach from the lowest to the highest run; where there is but one of the
    /// `seeds`, they are its own.
    pub(crate) fn means(&self, seeds: usize) -> Results {
        let mut results = Results {
            train_lengths: self.train_lengths.clone(),
            ..Results::default()
        };
        for (arm, tasks) in self.arms.iter() {
            for (task, lengths) in tasks.iter() {
                for at in lengths {
                    results.add(arm, task, at.as_one(|spread| spread.range(seeds)));
                }
            }
        }
        results
    }

    /// How many problems longer than trained on the runs asked an arm of a task, and the mean of their shares of right answers,
    /// from the lowest to the highest.
    fn longer(&self, arm: &str, task: &str) -> Option<(u64, Share)> {
        let lengths = self.of(arm, task).iter();
        let longer = lengths.filter(|at| self.train_lengths.is_longer(task, at.length));
        let spreads: Vec<&Spread> = longer.filter_map(|at| at.answer.as_ref()).collect();
        let n = spreads.iter().map(|spread| spread.problems()).sum();
        let shares = pooled_by_run(&spreads).into_iter();
        let runs = shares.map(|percent| RunShare {
            value: percent / 100.0,
            ..RunShare::default()
        });
        let spread = Spread::of(runs.collect())?;
        Some((n, spread.range(self.distinct_seeds().len())))
    }

    fn csv(&self, measure: Measure) -> String {
        let mut text = String::from("task,arm,length,trained,runs,mean,min,max,n\n");
        for (arm, tasks) in self.arms.iter() {
            for (task, lengths) in tasks.iter() {
                for at in lengths {
                    let Some(spread) = at.spread(measure) else {
                        continue;
                    };
                    let trained = if self.trained_at(task, at.length) {
                        "yes"
                    } else {
                        "no"
                    };
                    let [mean, min, max] = [spread.mean, spread.min, spread.max].map(rounded);
                    let n = spread.problems();
                    // Writing to a string cannot fail.
                    let _ = writeln!(
                        text,
                        "{},{},{},{trained},{},{mean},{min},{max},{n}",
                        field(task),
                        field(arm),
                        at.length,
                        spread.runs.len()
                    );
                }
            }
        }
        text
    }
}
