//! What the runs say about the paper's claims, seed by seed.

use serde::{Deserialize, Serialize};

use super::Aggregate;
use crate::{Claim, Number, Results, Verdict, judge};

/// A claim of the paper and the verdict of every run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimVerdicts {
    /// Short name, as in [`Claim`](crate::Claim).
    pub id: String,
    /// The claim.
    pub claim: String,
    /// The runs, in their order.
    pub runs: Vec<RunVerdict>,
}

/// What one run says about a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunVerdict {
    /// Seed of the run.
    pub seed: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers that contradict the claim.
    pub against: Vec<Number>,
}

impl RunVerdict {
    fn of(seed: u64, claim: Claim) -> Self {
        let against = claim.numbers.into_iter();
        Self {
            seed,
            verdict: claim.verdict,
            against: against.filter(|n| n.as_claimed == Some(false)).collect(),
        }
    }
}

/// The claims that at least one run decides, judged from the numbers.
pub(super) fn verdicts(runs: &[Results]) -> Vec<ClaimVerdicts> {
    let mut all: Vec<ClaimVerdicts> = Vec::new();
    for run in runs {
        for claim in judge(run) {
            let (id, words) = (claim.id.clone(), claim.claim.clone());
            let verdict = RunVerdict::of(run.seed, claim);
            match all.iter_mut().find(|other| other.id == id) {
                Some(other) => other.runs.push(verdict),
                None => all.push(ClaimVerdicts {
                    id,
                    claim: words,
                    runs: vec![verdict],
                }),
            }
        }
    }
    let decided = |run: &RunVerdict| run.verdict != Verdict::NotDecided;
    all.retain(|claim| claim.runs.iter().any(decided));
    all
}

impl ClaimVerdicts {
    /// With how many of the runs it holds.
    pub fn holds(&self) -> usize {
        let holds = |run: &&RunVerdict| run.verdict == Verdict::Holds;
        self.runs.iter().filter(holds).count()
    }
}

impl Aggregate {
    /// The verdicts as a Markdown table with a column a seed, and where there are several with how many a claim holds; below it
    /// what contradicts a claim. Empty if no run decides any.
    pub(super) fn claims_markdown(&self) -> String {
        let Some(first) = self.claims.first() else {
            return String::new();
        };
        let several = first.runs.len() > 1;
        let row = |first: String, cells: Vec<String>, last: String| {
            let cells = [first].into_iter().chain(cells);
            let cells: Vec<String> = cells.chain(several.then_some(last)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let seeds = first.runs.iter().map(|run| format!("seed {}", run.seed));
        let columns = first.runs.len() + usize::from(several);
        let mut text = String::from("\n");
        text += &row("claim".to_owned(), seeds.collect(), "holds with".to_owned());
        text += &format!("|---|{}\n", "---|".repeat(columns));
        for claim in &self.claims {
            let name = format!("`{}`: {}", claim.id, claim.claim);
            let words = claim.runs.iter().map(|run| run.verdict.words().to_owned());
            let of_all = format!("{} of {}", claim.holds(), claim.runs.len());
            text += &row(name, words.collect(), of_all);
        }
        let holds = |column: usize| {
            let of_run = |claim: &&ClaimVerdicts| {
                let run = claim.runs.get(column);
                run.is_some_and(|run| run.verdict == Verdict::Holds)
            };
            self.claims.iter().filter(of_run).count().to_string()
        };
        let with_all = self
            .claims
            .iter()
            .filter(|claim| claim.holds() == claim.runs.len());
        text += &row(
            format!("of {} claims hold", self.claims.len()),
            (0..first.runs.len()).map(holds).collect(),
            format!("{} with all", with_all.count()),
        );
        text + &self.contradictions()
    }

    fn contradictions(&self) -> String {
        let mut text = String::new();
        for claim in &self.claims {
            for run in claim.runs.iter().filter(|run| !run.against.is_empty()) {
                let numbers = run.against.iter();
                let numbers =
                    numbers.map(|n| format!("{}: {}, needed {}", n.what, n.value_text(), n.needed));
                let numbers: Vec<String> = numbers.collect();
                text += &format!(
                    "- `{}`, seed {}: {}.\n",
                    claim.id,
                    run.seed,
                    numbers.join("; ")
                );
            }
        }
        if text.is_empty() {
            return text;
        }
        format!("\nWhat contradicts them:\n\n{text}")
    }
}

#[cfg(test)]
mod tests {
    use crate::{Aggregate, LengthResult, Results, Verdict};

    /// A run whose baseline answers `right` of 100 problems of its only training length and `longer` of a longer one.
    fn run(seed: u64, right: u64, longer: u64) -> Results {
        let mut results = Results::new("mini", seed, "flex");
        results.train_lengths.insert("ari", [1, 1]);
        for (length, right) in [(1, right), (2, longer)] {
            let result = LengthResult::from_counts(length, 100, right, None);
            results.add("ar_baseline", "ari", result);
        }
        results
    }

    #[test]
    fn every_seed_has_its_verdict_and_what_contradicts_it() {
        let all = Aggregate::of_runs(&[run(1, 100, 20), run(2, 100, 80)]).unwrap();
        // Nothing else can be said without the other models.
        let [claim] = all.claims.as_slice() else {
            panic!("{:?}", all.claims);
        };
        let verdicts: Vec<_> = claim.runs.iter().map(|run| run.verdict).collect();
        assert_eq!(claim.id, "ar_falls_off");
        assert_eq!(verdicts, [Verdict::Holds, Verdict::DoesNotHold]);
        let text = all.claims_markdown();
        for part in [
            "| claim | seed 1 | seed 2 | holds with |\n|---|---|---|---|\n",
            " | holds | does not hold | 1 of 2 |\n",
            "| of 1 claims hold | 1 | 0 | 0 with all |\n",
            "\nWhat contradicts them:\n\n- `ar_falls_off`, seed 2: ar_baseline, ari",
            ": 80.0 %, needed < 50.0 %.\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("`, seed 1: "), "{text}");
    }

    #[test]
    fn without_a_verdict_there_is_no_table() {
        let mut nothing = run(1, 100, 20);
        nothing.arms = Default::default();
        let all = Aggregate::of_runs(&[nothing]).unwrap();
        assert_eq!(
            (all.claims.len(), all.claims_markdown()),
            (0, String::new())
        );
    }
}
