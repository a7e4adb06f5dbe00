//! What results from elsewhere cannot hold: shares beyond 1, counts whose sums would overflow, figures without end.

use super::Results;
use crate::{
    Aggregate, ChainForensics, ChainYield, LengthResult, LengthSpread, Spread, StageCost,
    TaskForensics,
};

/// More problems, or tokens of them, than anybody measures.
const MOST: u64 = 1 << 40;

/// More tokens than any machine passes through a block.
const MOST_WORK: u64 = 1 << 56;

/// More seconds or operations than there will be.
const MOST_AMOUNT: f64 = 1e30;

/// More steps than a figure can show.
const MOST_STEPS: usize = 1 << 16;

/// What cannot be and what would be right; nothing where all of it can.
type Possible = Result<(), String>;

impl Results {
    /// Checks all numbers that tables and figures are made from.
    pub(crate) fn check(&self) -> Possible {
        for (arm, tasks) in self.arms.iter() {
            for (task, lengths) in tasks.iter() {
                for at in lengths {
                    let place = format!("arms.{arm}.{task}, length {}", at.length);
                    at.check().map_err(|what| format!("{place}: {what}"))?;
                }
            }
        }
        for matrices in &self.hit_matrices {
            at_most("hit_matrices, n", matrices.n, MOST)?;
            let mut cells = matrices.arms.values().flatten().flatten().flatten();
            if let Some(cell) = cells.find(|cell| !is_share(**cell)) {
                let (task, length) = (&matrices.task, matrices.length);
                return Err(format!(
                    "hit_matrices, {task} {length}: {}",
                    no_share(*cell)
                ));
            }
        }
        for (arm, tasks) in self.forensics.iter() {
            for (task, found) in tasks.iter() {
                let place = format!("forensics.{arm}.{task}");
                found.check().map_err(|what| format!("{place}, {what}"))?;
            }
        }
        for (stage, counts) in self.written_chains.iter() {
            for (at, count) in counts {
                let place = format!("written_chains.{stage}, {at}");
                count.check().map_err(|what| format!("{place}: {what}"))?;
            }
        }
        for (stage, cost) in self.cost.iter() {
            cost.check()
                .map_err(|what| format!("cost.{stage}: {what}"))?;
        }
        for (stage, seconds) in self.seconds.iter() {
            amount(&format!("seconds.{stage}"), *seconds)?;
        }
        for (name, counts) in [("updates", &self.updates), ("samples", &self.samples)] {
            for (stage, count) in counts.iter() {
                at_most(&format!("{name}.{stage}"), *count, MOST_WORK)?;
            }
        }
        Ok(())
    }
}

impl ChainYield {
    fn check(&self) -> Possible {
        for (name, count) in [
            ("wanted", Some(self.wanted)),
            ("kept", Some(self.kept)),
            ("unreadable", Some(self.unreadable)),
            ("unsure", Some(self.unsure)),
            ("known", self.known),
            ("right", self.right),
        ] {
            at_most(name, count.unwrap_or(0) as u64, MOST)?;
        }
        let known = self.known.unwrap_or(self.kept);
        part_of("known", known as u64, "kept", self.kept as u64)?;
        part_of(
            "right",
            self.right.unwrap_or(0) as u64,
            "known",
            known as u64,
        )
    }
}

impl StageCost {
    fn check(&self) -> Possible {
        for (name, count) in [
            ("updates", self.updates),
            ("samples", self.samples),
            ("tokens", self.tokens),
            ("block_passes", self.block_passes),
        ] {
            at_most(name, count.unwrap_or(0), MOST_WORK)?;
        }
        amount("flops", self.flops.unwrap_or(0.0))?;
        amount("seconds", self.seconds)
    }
}

impl LengthResult {
    fn check(&self) -> Possible {
        let shares = [
            ("answer_accuracy", Some(self.answer_accuracy)),
            ("answer_low", self.answer_low),
            ("answer_high", self.answer_high),
            ("bit_accuracy", self.bit_accuracy),
            ("bit_low", self.bit_low),
            ("bit_high", self.bit_high),
            ("chain_accuracy", self.chain_accuracy),
            ("chain_low", self.chain_low),
            ("chain_high", self.chain_high),
        ];
        for (name, share) in shares {
            if let Some(share) = share.filter(|share| !is_share(*share)) {
                return Err(format!("{name}: {}", no_share(share)));
            }
        }
        at_most("n", self.n, MOST)
    }
}

impl TaskForensics {
    /// Checks all counts.
    pub(crate) fn check(&self) -> Possible {
        at_most("wrong_places", self.wrong_places, MOST)?;
        for confused in &self.confusions {
            at_most("confusions", confused.n, MOST)?;
        }
        self.by_length.iter().try_for_each(|(length, found)| {
            let checked = found.check();
            checked.map_err(|what| format!("length {length}: {what}"))
        })
    }
}

impl ChainForensics {
    fn check(&self) -> Possible {
        for (name, count) in [
            ("chains", self.chains),
            ("later", self.later),
            ("later_wrong", self.later_wrong),
            ("recovering", self.recovering),
            ("right_answers", self.right_answers),
            (
                "right_answers_on_wrong_chains",
                self.right_answers_on_wrong_chains,
            ),
            (
                "wrong_answers_on_right_chains",
                self.wrong_answers_on_right_chains,
            ),
        ] {
            at_most(name, count, MOST)?;
        }
        let mut wrong = self.first_wrong.values();
        let wrong = wrong.try_fold(0_u64, |sum, n| sum.checked_add(*n));
        let Some(wrong) = wrong.filter(|wrong| *wrong <= self.chains) else {
            let chains = self.chains;
            return Err(format!(
                "first_wrong has more chains than `chains`, {chains}"
            ));
        };
        let right = self.right_answers;
        for (name, part, whole, of) in [
            ("right_answers", right, "chains", self.chains),
            (
                "right_answers_on_wrong_chains",
                self.right_answers_on_wrong_chains,
                "right_answers",
                right,
            ),
            ("later_wrong", self.later_wrong, "later", self.later),
            (
                "recovering",
                self.recovering,
                "chains with a wrong step",
                wrong,
            ),
        ] {
            part_of(name, part, whole, of)?;
        }
        let last = self.first_wrong.keys().last().copied().unwrap_or(0);
        let steps = self.steps.max(last) as u64;
        at_most("steps", steps, MOST_STEPS as u64)
    }
}

impl Aggregate {
    /// Checks all numbers that tables and figures are made from.
    pub(crate) fn check(&self) -> Possible {
        for run in &self.runs {
            let minutes = [("minutes", run.minutes)].into_iter();
            for (name, minutes) in
                minutes.chain(run.stages.iter().map(|(stage, own)| (stage, *own)))
            {
                let checked = amount(name, minutes);
                checked.map_err(|what| format!("the run with seed {}: {what}", run.seed))?;
            }
        }
        for (arm, tasks) in self.arms.iter() {
            for (task, lengths) in tasks.iter() {
                for at in lengths {
                    let place = format!("arms.{arm}.{task}, length {}", at.length);
                    at.check().map_err(|what| format!("{place}: {what}"))?;
                }
            }
        }
        for (place, spread) in self.chains.iter() {
            spread
                .check()
                .map_err(|what| format!("chains.{place}: {what}"))?;
        }
        let together = self.together.as_ref().map_or(Ok(()), |all| all.check());
        together.map_err(|what| format!("together, {what}"))
    }
}

impl LengthSpread {
    fn check(&self) -> Possible {
        for (name, spread) in [
            ("answer", &self.answer),
            ("bit", &self.bit),
            ("chain", &self.chain),
        ] {
            let checked = spread.as_ref().map_or(Ok(()), Spread::check);
            checked.map_err(|what| format!("{name}: {what}"))?;
        }
        Ok(())
    }
}

impl Spread {
    fn check(&self) -> Possible {
        let of_runs = self
            .runs
            .iter()
            .flat_map(|run| [run.value, run.low, run.high]);
        let mut shares = [self.mean, self.min, self.max].into_iter().chain(of_runs);
        if let Some(share) = shares.find(|share| !is_share(*share)) {
            return Err(no_share(share));
        }
        self.runs
            .iter()
            .try_for_each(|run| at_most("n", run.n, MOST))
    }
}

fn is_share(share: f64) -> bool {
    (0.0..=1.0).contains(&share)
}

fn no_share(share: f64) -> String {
    format!("{share} is no share from 0 to 1")
}

fn amount(name: &str, amount: f64) -> Possible {
    if (0.0..=MOST_AMOUNT).contains(&amount) {
        return Ok(());
    }
    Err(format!(
        "{name} is {amount}, must be from 0 to {MOST_AMOUNT:e}"
    ))
}

fn part_of(name: &str, part: u64, whole: &str, of: u64) -> Possible {
    if part <= of {
        return Ok(());
    }
    Err(format!(
        "{name} is {part}, must be at most {whole}, which is {of}"
    ))
}

fn at_most(name: &str, count: u64, most: u64) -> Possible {
    if count <= most {
        return Ok(());
    }
    Err(format!("{name} is {count}, must be at most {most}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Results of one arm with a hit matrix and forensics; `change` alters their JSON.
    fn checked(change: impl Fn(&mut Value)) -> Possible {
        let mut results = Results::new("smoke", 1, "flex");
        results.add("ar_relay", "ari", LengthResult::from_counts(8, 10, 3, None));
        results.add_hit_matrix("ar_relay", "ari", 8, 10, vec![vec![Some(0.5), None]]);
        let found = ChainForensics {
            chains: 10,
            steps: 8,
            first_wrong: [(2, 3), (9, 4)].into(),
            ..ChainForensics::default()
        };
        let of_arm = results.forensics.entry_or_default("ar_relay");
        of_arm.entry_or_default("ari").by_length.insert(8, found);
        results.seconds.insert("ar_relay", 60.0);
        let cost = StageCost {
            updates: Some(1),
            flops: Some(1.0),
            ..StageCost::default()
        };
        results.cost.insert("ar_relay", cost);
        let written = [("ari 8".to_owned(), ChainYield::default())];
        results.written_chains.insert("chains", written.into());
        let mut json = serde_json::to_value(&results).unwrap();
        change(&mut json);
        let results: Results = serde_json::from_value(json).unwrap();
        results.check()
    }

    #[test]
    fn numbers_of_several_runs_are_checked_too() {
        let run = |seed| {
            let mut results = Results::new("smoke", seed, "flex");
            results.add("ar_relay", "ari", LengthResult::from_counts(8, 10, 3, None));
            results
        };
        let all = Aggregate::of_runs(&[run(1), run(2)]).unwrap();
        let checked = |path: &str, value: Value| {
            let mut json = serde_json::to_value(&all).unwrap();
            *json.pointer_mut(path).unwrap() = value;
            let all: Aggregate = serde_json::from_value(json).unwrap();
            all.check()
        };
        assert_eq!(all.check(), Ok(()));
        for (path, value, expected) in [
            (
                "/arms/ar_relay/ari/0/answer/mean",
                json!(2),
                "arms.ar_relay.ari, length 8: answer: 2 is no share",
            ),
            (
                "/arms/ar_relay/ari/0/answer/runs/1/n",
                json!(u64::MAX),
                "must be at most",
            ),
            (
                "/arms/ar_relay/ari/0/answer/runs/0/low",
                json!(-1),
                "-1 is no share",
            ),
            (
                "/runs/1/minutes",
                json!(-3),
                "the run with seed 2: minutes is -3",
            ),
            (
                "/together/arms/ar_relay/ari/0/n",
                json!(u64::MAX),
                "together, ",
            ),
        ] {
            let found = checked(path, value).unwrap_err();
            assert!(found.contains(expected), "{path}: {found}");
        }
    }

    #[test]
    fn what_cannot_be_is_named_with_its_place() {
        assert_eq!(checked(|_| ()), Ok(()));
        let chains = "/forensics/ar_relay/ari/by_length/8";
        for (path, value, expected) in [
            (
                "/arms/ar_relay/ari/0/answer_accuracy".to_owned(),
                json!(2),
                "arms.ar_relay.ari, length 8: answer_accuracy: 2 is no share",
            ),
            (
                "/arms/ar_relay/ari/0/answer_low".to_owned(),
                json!(-0.5),
                "answer_low: -0.5 is no share",
            ),
            (
                "/arms/ar_relay/ari/0/n".to_owned(),
                json!(u64::MAX),
                "n is 18446744073709551615, must be at most",
            ),
            (
                "/hit_matrices/0/arms/ar_relay/0/0".to_owned(),
                json!(1.5),
                "hit_matrices, ari 8: 1.5 is no share",
            ),
            (
                format!("{chains}/chains"),
                json!(6),
                "forensics.ar_relay.ari, length 8: first_wrong has more chains",
            ),
            (
                format!("{chains}/first_wrong/2"),
                json!(u64::MAX),
                "first_wrong has more chains than `chains`, 10",
            ),
            (
                format!("{chains}/steps"),
                json!(u32::MAX),
                "steps is 4294967295, must be at most",
            ),
            (format!("{chains}/later"), json!(u64::MAX), "later is"),
            (
                "/seconds/ar_relay".to_owned(),
                json!(-1.0),
                "seconds.ar_relay is -1, must be from 0 to 1e30",
            ),
            (
                "/cost/ar_relay/flops".to_owned(),
                json!(1.7e308),
                "cost.ar_relay: flops is ",
            ),
            (
                "/cost/ar_relay/updates".to_owned(),
                json!(u64::MAX),
                "cost.ar_relay: updates is ",
            ),
            (
                "/hit_matrices/0/n".to_owned(),
                json!(u64::MAX),
                "hit_matrices, n is ",
            ),
            (
                "/written_chains/chains/ari 8/kept".to_owned(),
                json!(u64::MAX),
                "written_chains.chains, ari 8: kept is ",
            ),
        ] {
            let set = |json: &mut Value| *json.pointer_mut(&path).unwrap() = value.clone();
            let error = checked(set).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
