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
mod tests;
