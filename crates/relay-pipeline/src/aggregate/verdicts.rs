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

/// The claims that at least one run, or all of them together, decide, judged from the numbers.
pub(super) fn verdicts(runs: &[Results], together: Option<&Results>) -> Vec<ClaimVerdicts> {
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
    let pooled = || together.iter().flat_map(|all| &all.claims);
    let decided = |claim: &ClaimVerdicts| {
        let pooled = pooled().filter(|all| all.id == claim.id);
        let runs = claim.runs.iter().map(|run| run.verdict);
        let mut all = runs.chain(pooled.map(|all| all.verdict));
        all.any(|verdict| verdict != Verdict::NotDecided)
    };
    all.retain(decided);
    all
}

impl Aggregate {
    /// The verdicts as a Markdown table with a column a seed and one for all of them together, and below it what contradicts
    /// a claim; empty if no run decides any.
    pub(super) fn claims_markdown(&self) -> String {
        let all: Vec<Judged> = self.claims.iter().map(|claim| self.judged(claim)).collect();
        let Some(first) = all.first() else {
            return String::new();
        };
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let runs = first.verdicts.iter().map(|(whose, _)| whose.clone());
        let mut text =
            String::from("\n") + &row(["claim".to_owned()].into_iter().chain(runs).collect());
        text += &format!("|---|{}\n", "---|".repeat(first.verdicts.len()));
        for Judged { claim, verdicts } in &all {
            let name = format!("`{}`: {}", claim.id, claim.claim);
            let words = verdicts.iter().map(|(_, of)| of.verdict.words().to_owned());
            text += &row([name].into_iter().chain(words).collect());
        }
        let held = (0..first.verdicts.len()).map(|column| {
            let holds = |judged: &&Judged| {
                let its = judged.verdicts.get(column);
                its.is_some_and(|(_, its)| its.verdict == Verdict::Holds)
            };
            all.iter().filter(holds).count().to_string()
        });
        let name = format!("of {} claims hold", all.len());
        text += &row([name].into_iter().chain(held).collect());
        text + &contradictions(&all)
    }

    /// The verdicts of the runs on a claim, then that of all seeds together.
    fn judged<'a>(&self, claim: &'a ClaimVerdicts) -> Judged<'a> {
        let runs = claim.runs.iter();
        let runs = runs.map(|run| (format!("seed {}", run.seed), run.clone()));
        let mut together = self.together.iter().flat_map(|all| &all.claims);
        let all = together.find(|all| all.id == claim.id);
        let all = all.map(|all| ("all seeds".to_owned(), RunVerdict::of(0, all.clone())));
        Judged {
            claim,
            verdicts: runs.chain(all).collect(),
        }
    }
}

/// A claim with its verdicts and whose they are.
struct Judged<'a> {
    claim: &'a ClaimVerdicts,
    verdicts: Vec<(String, RunVerdict)>,
}

fn contradictions(all: &[Judged]) -> String {
    let mut text = String::new();
    for Judged { claim, verdicts } in all {
        for (whose, verdict) in verdicts.iter().filter(|(_, of)| !of.against.is_empty()) {
            let numbers: Vec<String> = verdict
                .against
                .iter()
                .map(|n| format!("{}: {}, needed {}", n.what, n.value_text(), n.needed))
                .collect();
            text += &format!("- `{}`, {whose}: {}.\n", claim.id, numbers.join("; "));
        }
    }
    if text.is_empty() {
        return text;
    }
    format!("\nWhat contradicts them:\n\n{text}")
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
            "| claim | seed 1 | seed 2 | all seeds |\n|---|---|---|---|\n",
            // 100 of 200 are not below half.
            " | holds | does not hold | does not hold |\n",
            "| of 1 claims hold | 1 | 0 | 0 |\n",
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
