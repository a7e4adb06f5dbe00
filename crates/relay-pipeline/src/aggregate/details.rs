//! What `aggregate.md` says below accuracies and verdicts: which chains are right, where wrong ones go wrong, minutes.

use super::{
    Aggregate, Spread,
    markdown::{NONE, few_of, per_cent},
};
use crate::{
    ChainForensics, Measure, OrderedMap,
    arms::{CHAINS, EVALUATION, LOOPED_ALIGNED, arm_label, task_label},
    length_result::whole_percent,
};

impl Aggregate {
    /// Tables of the chains at lengths longer than trained on, right ones and wrong ones, and of the minutes that each stage of a
    /// run took; without what was not measured.
    pub fn details_markdown(&self) -> String {
        [
            self.right_chains(),
            self.answers_on_wrong_chains(),
            self.right_of_kept(),
            self.where_chains_go_wrong(),
            self.minutes(),
        ]
        .concat()
    }

    fn right_chains(&self) -> String {
        let longer: Vec<_> = self
            .columns()
            .into_iter()
            .filter(|at| at.1.is_some())
            .collect();
        let table = self.table(&longer, Measure::Chain);
        // The head and the line below it.
        if table.lines().count() <= 2 {
            return String::new();
        }
        format!(
            "\nRight chains on these problems, per cent; a chain is right if no token of its steps is wrong:\n\n{table}"
        )
    }

    fn answers_on_wrong_chains(&self) -> String {
        let tasks: Vec<&str> = self.train_lengths.keys().collect();
        let heads = tasks.iter().map(|task| {
            let longest = self.train_lengths.get(task).map_or(0, |[_, to]| *to);
            format!("{} above {longest}", task_label(task))
        });
        let found = &self.chains.answers_on_wrong_chains;
        let rows = found.iter().map(|(arm, of_tasks)| {
            let cells = tasks
                .iter()
                .map(|task| self.spread_cell(of_tasks.get(task)));
            (arm_label(arm).to_owned(), cells.collect())
        });
        table_of(
            "Right answers that stand on a wrong chain, per cent of the right answers",
            "arm",
            heads.collect(),
            rows.collect(),
        )
    }

    fn right_of_kept(&self) -> String {
        let found = &self.chains.right_of_kept;
        let of_all = found.values().flat_map(OrderedMap::keys);
        let mut columns = super::each_once(of_all);
        columns.sort_by_key(|at| {
            let (task, length) = at.rsplit_once(' ').unwrap_or((at, ""));
            let place = self.train_lengths.keys().position(|own| own == task);
            (place, length.parse::<usize>().ok())
        });
        let heads = columns.iter().map(|at| match at.rsplit_once(' ') {
            Some((task, length)) => format!("{} {length}", task_label(task)),
            None => (*at).to_owned(),
        });
        let rows = found.iter().map(|(stage, spreads)| {
            let cells = columns.iter().map(|at| match spreads.get(at) {
                Some(spread) => {
                    let kept: Vec<u64> = spread.runs.iter().map(|run| run.n).collect();
                    format!("{} of {}", self.spread_cell(Some(spread)), range(&kept))
                }
                None => NONE.to_owned(),
            });
            let writer = arm_label(if stage == CHAINS {
                LOOPED_ALIGNED
            } else {
                stage
            });
            (writer.to_owned(), cells.collect())
        });
        table_of(
            "Right ones, steps and answer, of the chains that were kept to learn from, per cent, and how many were kept",
            "written by, or for",
            heads.collect(),
            rows.collect(),
        )
    }

    fn spread_cell(&self, spread: Option<&Spread>) -> String {
        let runs = spread.map_or(&[][..], |spread| &spread.runs);
        let shares: Vec<f64> = runs.iter().map(|run| 100.0 * run.value).collect();
        per_cent(&shares) + &few_of(shares.len(), self.distinct_seeds().len())
    }

    fn where_chains_go_wrong(&self) -> String {
        let Some(all) = &self.together else {
            return String::new();
        };
        let tasks = all.train_lengths.iter();
        let rows = tasks.flat_map(|(task, [_, longest])| {
            let arms = all.forensics.keys();
            arms.filter_map(move |arm| {
                let found = all.forensics_of(arm, task)?.longer_than(*longest)?;
                (found.wrong_chains() > 0).then(|| {
                    let (name, cells) = wrong_row(arm, task, &found);
                    (name + &self.few_with_chains(arm, task), cells)
                })
            })
        });
        let heads = [
            "wrong chains",
            "of",
            "first error in the first step, %",
            "first wrong step: mean",
            "most common",
            "steps after it",
            "of these wrong, %",
            "wrong chains with the right answer, %",
        ];
        table_of(
            "Where the wrong ones of all chains longer than trained on go wrong, seeds together",
            "task, arm",
            heads.map(str::to_owned).into(),
            rows.collect(),
        )
    }

    /// That only some of the seeds have chains of an arm.
    fn few_with_chains(&self, arm: &str, task: &str) -> String {
        let measured = self.of(arm, task).iter().filter_map(|at| at.chain.as_ref());
        let runs = measured.map(|spread| spread.runs.len()).max().unwrap_or(0);
        few_of(runs, self.distinct_seeds().len())
    }

    fn minutes(&self) -> String {
        let stages = super::each_once(
            self.runs
                .iter()
                .flat_map(|run| run.stages.keys())
                .map(whole_stage),
        );
        let heads = self.runs.iter().map(|run| match run.preset.as_str() {
            "" => format!("seed {}", run.seed),
            preset => format!("{preset}, seed {}", run.seed),
        });
        let rows = stages.iter().map(|stage| {
            let cells = self.runs.iter().map(|run| {
                let parts = run
                    .stages
                    .iter()
                    .filter(|(part, _)| whole_stage(part) == *stage);
                let parts: Vec<f64> = parts.map(|(_, minutes)| *minutes).collect();
                match parts.is_empty() {
                    true => NONE.to_owned(),
                    false => format!("{:.1}", parts.iter().sum::<f64>()),
                }
            });
            (arm_label(stage).to_owned(), cells.collect())
        });
        table_of(
            "Minutes of the stages",
            "stage",
            heads.collect(),
            rows.collect(),
        )
    }
}

/// The stage, or what all stages of its kind are called.
fn whole_stage(stage: &str) -> &str {
    let (kind, _) = stage.split_once('/').unwrap_or((stage, ""));
    if kind == EVALUATION { kind } else { stage }
}

fn wrong_row(arm: &str, task: &str, found: &ChainForensics) -> (String, Vec<String>) {
    let wrong = found.wrong_chains();
    let percent = |part: u64, of: u64| match of {
        0 => NONE.to_owned(),
        of => whole_percent(100.0 * part as f64 / of as f64),
    };
    let one = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| format!("{value:.1}"));
    let in_first = found.first_wrong.get(&1).copied().unwrap_or(0);
    let cells = vec![
        wrong.to_string(),
        found.chains.to_string(),
        percent(in_first, wrong),
        one(found.mean_first_wrong()),
        found
            .most_common_first_wrong()
            .map_or(NONE.to_owned(), |step| step.to_string()),
        one(found.mean_later().map(|(_, later)| later)),
        percent(found.later_wrong, found.later),
        percent(found.right_answers_on_wrong_chains, wrong),
    ];
    (format!("{}: {}", task_label(task), arm_label(arm)), cells)
}

/// One number, or the lowest and the highest of several.
fn range(all: &[u64]) -> String {
    match (all.iter().min(), all.iter().max()) {
        (Some(low), Some(high)) if low < high => format!("{low}..{high}"),
        (low, _) => low.map_or(NONE.to_owned(), u64::to_string),
    }
}

/// A Markdown table below a line that says what it is; nothing without rows.
fn table_of(
    what: &str,
    first: &str,
    heads: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
) -> String {
    if rows.is_empty() || heads.is_empty() {
        return String::new();
    }
    let head = format!(
        "| {first} | {} |\n|---|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len())
    );
    let rows = rows
        .iter()
        .map(|(name, cells)| format!("| {name} | {} |\n", cells.join(" | ")));
    format!("\n{what}:\n\n{head}{}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use crate::{
        Aggregate, ChainForensics, ChainYield, LengthResult, Results, RightTokens,
        arms::evaluation_of,
    };

    /// A run with chains of the training length and of two longer ones, of which `wrong` go wrong in the first step each.
    fn run(seed: u64, wrong: u64) -> Results {
        let mut results = Results::new("mini", seed, "flex");
        results.train_lengths.insert("ari", [1, 8]);
        for length in [8, 9, 10] {
            let counts = RightTokens {
                right_chains: 20 - wrong,
                right_tokens: 100 - wrong,
                tokens: 100,
            };
            let found = ChainForensics {
                chains: 20,
                steps: 4,
                first_wrong: [(1, wrong), (3, 2)].into(),
                later: 3 * wrong + 2,
                later_wrong: wrong,
                right_answers: 10,
                right_answers_on_wrong_chains: wrong,
                ..ChainForensics::default()
            };
            let measured = LengthResult::from_counts(length, 20, 10, Some(counts));
            results.add("ar_relay", "ari", measured);
            let arm = results.forensics.entry_or_default("ar_relay");
            arm.entry_or_default("ari").by_length.insert(length, found);
        }
        results.add(
            "looped_vanilla",
            "ari",
            LengthResult::from_counts(9, 20, 10, None),
        );
        let count = |kept| ChainYield {
            wanted: 8,
            kept,
            right: Some(kept / 2),
            ..ChainYield::default()
        };
        let counts = [
            ("ari 10".to_owned(), count(6)),
            ("ari 9".to_owned(), count(8)),
        ];
        results.written_chains.insert("chains", counts.into());
        let evaluations = ["ar_relay", "looped_vanilla"].map(evaluation_of);
        for stage in ["ar_relay"]
            .into_iter()
            .chain(evaluations.iter().map(String::as_str))
        {
            results.seconds.insert(stage, 90.0);
        }
        results
    }

    #[test]
    fn every_table_stands_below_what_it_shows() {
        let text = Aggregate::of_runs(&[run(1, 2), run(2, 4)])
            .unwrap()
            .details_markdown();
        for part in [
            "\n\n| | Arithmetic 9 | Arithmetic 10 |\n|---|---|---|\n| AR + RELAY | 85 (80..90) | 85 (80..90) |\n\n",
            // 4 of 20 and 8 of 20.
            "\n\n| arm | Arithmetic above 8 |\n|---|---|\n| AR + RELAY | 30 (20..40) |\n\n",
            "| Arithmetic 9 | Arithmetic 10 |\n|---|---|---|\n| Looped, aligned | 50 (50..50) of 8 | 50 (50..50) of 6 |\n\n",
            // Of 12 + 8 wrong chains 12 are wrong from the first step, the others from the third.
            "| Arithmetic: AR + RELAY | 20 | 80 | 60 | 1.8 | 1 | 2.2 | 27 | 60 |\n\n",
            "\nMinutes of the stages:\n\n| stage | seed 1 | seed 2 |\n|---|---|---|\n| AR + RELAY | 1.5 | 1.5 |\n| evaluation | 3.0 | 3.0 |\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_table() {
        let mut answers = Results::new("mini", 1, "flex");
        answers.train_lengths.insert("ari", [1, 8]);
        answers.add(
            "looped_vanilla",
            "ari",
            LengthResult::from_counts(9, 20, 10, None),
        );
        let all = Aggregate::of_runs(&[answers]).unwrap();
        assert_eq!(all.details_markdown(), "");
    }
}
