//! The tables of several runs that the README shows.

use super::{Aggregate, LengthSpread, RunShare, Spread, each_once};
use crate::{
    Machine, Measure,
    arms::{arm_label, task_label},
    length_result::whole_percent,
};

impl Aggregate {
    /// Answer accuracy by arm as a Markdown table, with a line on the runs below: the mean in per cent, the lowest and
    /// the highest of several runs in brackets. All training lengths share a column, every longer one has its own. Then the verdicts on
    /// the paper's claims, if there are any, seed by seed, and what contradicts them.
    pub fn markdown(&self) -> String {
        self.table(&self.columns(), Measure::Answer) + &self.about_runs() + &self.claims_markdown()
    }

    /// The table of [`markdown`](Self::markdown) alone, with two columns of each task: all training lengths, and the longest of
    /// the longer ones.
    pub fn short_table(&self) -> String {
        let columns = self.columns();
        let last_of_task = |at: usize| {
            let next = columns.get(at + 1);
            next.is_none_or(|next| next.0 != columns[at].0)
        };
        let kept = (0..columns.len()).filter(|&at| columns[at].1.is_none() || last_of_task(at));
        let kept: Vec<_> = kept.map(|at| columns[at]).collect();
        self.table(&kept, Measure::Answer)
    }

    /// Arms by columns; an arm that has none of these shares has no row.
    pub(super) fn table(&self, columns: &[(&str, Option<usize>)], measure: Measure) -> String {
        let head = |&(task, length): &(&str, Option<usize>)| match (
            length,
            self.train_lengths.get(task),
        ) {
            (Some(length), _) => format!("{} {length}", task_label(task)),
            (None, Some([from, to])) => format!("{} {from}..{to} (trained)", task_label(task)),
            (None, None) => task_label(task).to_string(),
        };
        let heads: Vec<String> = columns.iter().map(head).collect();
        let mut text = format!(
            "| | {} |\n|---|{}\n",
            heads.join(" | "),
            "---|".repeat(columns.len())
        );
        for arm in self.arms.keys() {
            let cells: Vec<String> = columns
                .iter()
                .map(|&(task, length)| self.cell(arm, task, length, measure))
                .collect();
            if cells.iter().any(|cell| cell != NONE) {
                text += &format!("| {} | {} |\n", arm_label(arm), cells.join(" | "));
            }
        }
        text
    }

    fn about_runs(&self) -> String {
        if self.runs.is_empty() {
            return String::new();
        }
        let (mut seeds, mut machines) = (Vec::new(), Vec::new());
        for run in &self.runs {
            seeds.push(run.seed.to_string());
            let own = Machine {
                device: match run.device.as_str() {
                    "flex" => String::new(),
                    other => other.to_owned(),
                },
                cpu: run.cpu.clone(),
                cores: run.cores,
            };
            machines.push(own.to_string());
            machines.extend(run.other_machines.iter().map(Machine::to_string));
        }
        let minutes: f64 = self.runs.iter().map(|run| run.minutes).sum();
        let seeds = each_once(seeds.into_iter());
        let word = if seeds.len() == 1 { "Seed" } else { "Seeds" };
        format!(
            "\n{word} {}, on {}. The stages of a run add up to {:.0} minutes; side by side they take less.\n",
            seeds.join(", "),
            each_once(machines.into_iter()).join("; "),
            minutes / self.runs.len() as f64,
        )
    }

    /// The tasks, each with a column for all training lengths and one for every longer one.
    pub(super) fn columns(&self) -> Vec<(&str, Option<usize>)> {
        let mut columns = Vec::new();
        for task in self.train_lengths.keys() {
            columns.push((task, None));
            let mut longer: Vec<usize> = self
                .arms
                .keys()
                .flat_map(|arm| self.of(arm, task))
                .map(|at| at.length)
                .filter(|&length| self.train_lengths.is_longer(task, length))
                .collect();
            longer.sort_unstable();
            longer.dedup();
            columns.extend(longer.into_iter().map(|length| (task, Some(length))));
        }
        columns
    }

    /// Every run has its share of the problems of all these lengths; these are then summed up.
    fn cell(&self, arm: &str, task: &str, length: Option<usize>, measure: Measure) -> String {
        let wanted = |at: &&LengthSpread| match length {
            Some(length) => at.length == length,
            None => self.trained_at(task, at.length),
        };
        let lengths: Vec<&Spread> = self
            .of(arm, task)
            .iter()
            .filter(wanted)
            .filter_map(|at| at.spread(measure))
            .collect();
        let shares = pooled_by_run(&lengths);
        per_cent(&shares) + &few_of(shares.len(), self.distinct_seeds().len())
    }
}

/// For each run, its share over all problems of some lengths, in per cent.
pub(super) fn pooled_by_run(lengths: &[&Spread]) -> Vec<f64> {
    let Some(most) = lengths.iter().max_by_key(|spread| spread.runs.len()) else {
        return Vec::new();
    };
    let pooled = |seed: u64| {
        let of_seed = |run: &&RunShare| run.seed == seed;
        let shares = lengths.iter().flat_map(|spread| &spread.runs);
        let (right, n) = shares.filter(of_seed).fold((0.0, 0.0), |(right, n), run| {
            (right + run.value * run.n as f64, n + run.n as f64)
        });
        100.0 * right / n
    };
    most.runs.iter().map(|run| pooled(run.seed)).collect()
}

/// That a mean is of `few` of `all` seeds; nothing if it is of all, or there is none.
pub(crate) fn few_of(few: usize, all: usize) -> String {
    if (1..all).contains(&few) {
        format!(", {few} of {all} seeds")
    } else {
        String::new()
    }
}

/// What stands where nothing was measured.
pub(super) const NONE: &str = "-";

/// The mean, with the lowest and the highest in brackets where there are several.
pub(super) fn per_cent(shares: &[f64]) -> String {
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let (low, high) = shares.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| {
        (low.min(x), high.max(x))
    });
    match shares.len() {
        0 => NONE.to_owned(),
        1 => whole_percent(mean),
        _ => {
            let [mean, low, high] = [mean, low, high].map(whole_percent);
            format!("{mean} ({low}..{high})")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Aggregate, LengthResult, Machine, OrderedMap, Results};

    fn run(seed: u64, right: [u64; 3]) -> Results {
        let mut results = Results::new("mini", seed, "flex");
        results.train_lengths.insert("ari", [1, 2]);
        for (length, right) in (1..).zip(right) {
            results.add(
                "ar_relay",
                "ari",
                LengthResult::from_counts(length, 100, right, None),
            );
        }
        results
    }

    #[test]
    fn mean_lowest_and_highest_and_every_run_with_its_interval() {
        let all = Aggregate::of_runs(&[
            run(1, [100, 90, 40]),
            run(2, [80, 90, 50]),
            run(3, [90, 90, 90]),
        ])
        .unwrap();
        let at = all.of("ar_relay", "ari")[2].answer.clone().unwrap();
        assert!((at.mean - 0.6).abs() < 1e-9, "{at:?}");
        assert_eq!((at.min, at.max), (0.4, 0.9));
        assert_eq!(
            at.runs.iter().map(|run| run.seed).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert!(at.runs[0].low < 0.4 && at.runs[0].high > 0.4 && at.runs[0].n == 100);
        assert_eq!(all.of("ar_relay", "ari")[0].chain, None);
        let text = all.markdown();
        assert!(
            text.contains("| | Arithmetic 1..2 (trained) | Arithmetic 3 |"),
            "{text}"
        );
        // (95, 85, 90) over the training lengths.
        assert!(
            text.contains("| AR + RELAY | 90 (85..95) | 60 (40..90) |"),
            "{text}"
        );
        assert!(text.contains("Seeds 1, 2, 3"), "{text}");
    }

    #[test]
    fn the_short_table_has_the_longest_length_of_each_task() {
        let mut results = run(1, [100, 90, 40]);
        results.train_lengths = [("ari", [1, 1]), ("ed", [1, 1])].into_iter().collect();
        let short = LengthResult::from_counts(1, 10, 5, None);
        results.add("ar_relay", "ed", short);
        let text = Aggregate::of_runs(&[results]).unwrap().short_table();
        let head =
            "| | Arithmetic 1..1 (trained) | Arithmetic 3 | Edit distance 1..1 (trained) |\n";
        assert!(text.starts_with(head), "{text}");
        let row = "| AR + RELAY | 100 | 40 | 50 |\n";
        assert!(text.ends_with(row), "{text}");
    }

    #[test]
    fn a_mean_of_some_of_the_seeds_says_so() {
        let mut other = run(2, [80, 90, 50]);
        let short = LengthResult::from_counts(1, 10, 5, None);
        other.add("ar_baseline", "ari", short);
        let all = Aggregate::of_runs(&[run(1, [100, 90, 40]), other]).unwrap();
        let text = all.markdown();
        let row = "| AR baseline | 50, 1 of 2 seeds | - |\n";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("| AR + RELAY | 90 (85..95) | 45 (40..50) |"),
            "{text}"
        );
        let dir = tempfile::tempdir().unwrap();
        all.write(dir.path()).unwrap();
        let svg = std::fs::read_to_string(dir.path().join("figures/answer_accuracy.svg")).unwrap();
        assert!(
            svg.contains("mean of those of seeds 1, 2 that an arm has"),
            "{svg}"
        );
    }

    #[test]
    fn problems_count_the_same_whatever_their_length() {
        let mut results = run(1, [100, 90, 40]);
        // Two problems of the shortest length, none of them solved.
        let short = LengthResult::from_counts(1, 2, 0, None);
        let mut tasks = OrderedMap::new();
        let others = results.of("ar_relay", "ari")[1..].iter().copied();
        tasks.insert("ari", std::iter::once(short).chain(others).collect());
        results.arms.insert("ar_relay", tasks);
        let text = Aggregate::of_runs(&[results]).unwrap().markdown();
        // 90 of 102.
        assert!(text.contains("| AR + RELAY | 88 |"), "{text}");
    }

    #[test]
    fn every_machine_is_named_once() {
        let on = |seed, cpu: &str, others: &[&str]| {
            let machine = |cpu: &str| Machine {
                cpu: cpu.to_owned(),
                cores: 2,
                ..Machine::default()
            };
            let mut results = run(seed, [100, 90, 40]);
            results.machine = machine(cpu);
            for cpu in others {
                results.other_machines.insert(*cpu, machine(cpu));
            }
            results
        };
        let all = Aggregate::of_runs(&[on(1, "a", &["b"]), on(2, "a", &[]), on(3, "c", &["a"])]);
        let text = all.unwrap().markdown();
        assert!(
            text.contains(", on a, 2 cores; b, 2 cores; c, 2 cores. The stages"),
            "{text}"
        );
    }

    #[test]
    fn only_lengths_beyond_the_longest_trained_one_have_a_column() {
        let mut results = run(1, [100, 90, 40]);
        results.train_lengths.insert("ari", [2, 2]);
        let text = Aggregate::of_runs(&[results]).unwrap().markdown();
        let head = "| | Arithmetic 2..2 (trained) | Arithmetic 3 |";
        assert!(text.starts_with(head), "{text}");
    }

    #[test]
    fn runs_that_do_not_belong_together_are_refused() {
        let mut other = run(2, [1, 2, 3]);
        other.train_lengths.insert("ari", [1, 3]);
        let error = Aggregate::of_runs(&[run(1, [1, 2, 3]), other])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("seed 2") && error.contains("[1,3]"),
            "{error}"
        );
        let [first, second] = [(1, 0.1), (2, 0.2)].map(|(seed, lambda)| {
            let mut run = run(seed, [1, 2, 3]);
            run.settings = json!({ "seed": seed, "stages": [{ "seed": seed, "lambda": lambda }] });
            run
        });
        // One from before settings were noted says nothing of the others.
        for runs in [
            vec![first.clone(), second.clone()],
            vec![run(3, [1, 2, 3]), first.clone(), second],
        ] {
            let error = Aggregate::of_runs(&runs).unwrap_err().to_string();
            assert!(
                error.contains("stages[0].lambda of the run with seed 2 is 0.2"),
                "{error}"
            );
        }
        Aggregate::of_runs(&[first, run(2, [1, 2, 3])]).unwrap();
        assert!(
            Aggregate::of_runs(&[])
                .unwrap_err()
                .to_string()
                .contains("at least one run")
        );
        let error = Aggregate::of_runs(&[run(1, [1; 3]), run(2, [2; 3]), run(1, [3; 3])]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("is 1 twice"), "{error}");
    }

    #[test]
    fn files_hold_what_was_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Aggregate::of_runs(&[run(1, [100, 90, 40]), run(2, [80, 90, 50])]).unwrap();
        let written = all.write(dir.path()).unwrap();
        assert!(written.iter().all(|file| file.is_file()));
        assert_eq!(
            Aggregate::load(&dir.path().join("aggregate.json")).unwrap(),
            all
        );
        let svg = std::fs::read_to_string(dir.path().join("figures/answer_accuracy.svg")).unwrap();
        assert!(
            svg.contains("AR + RELAY") && svg.contains("mean of seeds 1, 2"),
            "{svg}"
        );
        let csv = std::fs::read_to_string(dir.path().join("figures/answer_accuracy.csv")).unwrap();
        assert!(
            csv.contains("ari,ar_relay,3,no,2,0.45,0.4,0.5,200\n"),
            "{csv}"
        );
        assert!(!dir.path().join("figures/bit_accuracy.svg").exists());
        let mut other = run(1, [5, 6, 7]);
        other.train_lengths = [("ed", [1, 2])].into_iter().collect();
        other.arms = Default::default();
        other.add("ar_relay", "ed", LengthResult::from_counts(1, 10, 5, None));
        all.join(Aggregate::of_runs(&[other]).unwrap());
        assert_eq!(
            all.arms.get("ar_relay").unwrap().keys().collect::<Vec<_>>(),
            ["ari", "ed"]
        );
    }
}
