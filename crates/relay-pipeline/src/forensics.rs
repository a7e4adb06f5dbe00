//! Where the chains of an arm go wrong: what [`examine`] says of each, counted by task and length.

use std::{
    collections::BTreeMap,
    ops::{
        AddAssign,
        Bound::{Excluded, Unbounded},
    },
};

use relay_tasks::{Chain, ChainDiagnosis, Codec, Confusion, Example, TokenId, examine};
use serde::{Deserialize, Serialize};

use crate::{OrderedMap, Results, Share};

/// Confusions that are kept for each task.
const KEPT: usize = 20;

/// How the chains of one task and length went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainForensics {
    /// Chains written.
    pub chains: u64,
    /// Steps of the longest true chain.
    pub steps: usize,
    /// The first wrong step, counted from 1, to the number of chains; those without a wrong step are not in it.
    pub first_wrong: BTreeMap<usize, u64>,
    /// Steps after the first wrong one, over all chains; steps beyond the number of true ones are among them.
    pub later: u64,
    /// How many of them are wrong.
    pub later_wrong: u64,
    /// Chains in which a right step follows a wrong one.
    pub recovering: u64,
    /// Problems with the right answer.
    pub right_answers: u64,
    /// Those of them whose chain has a wrong step.
    pub right_answers_on_wrong_chains: u64,
    /// Problems with a wrong answer whose chain is right.
    pub wrong_answers_on_right_chains: u64,
}

/// How the chains of one task went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskForensics {
    /// By length.
    pub by_length: BTreeMap<usize, ChainForensics>,
    /// Wrong places over all lengths.
    pub wrong_places: u64,
    /// The most frequent confusions over all lengths, the most frequent first.
    pub confusions: Vec<ConfusedTokens>,
}

/// What stood in wrong places instead of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusedTokens {
    /// The true token; `<surplus>` where there should be none.
    pub truth: String,
    /// The written token; `<missing>` where there is none.
    pub written: String,
    /// How often.
    pub n: u64,
}

impl ChainForensics {
    fn add(&mut self, found: &ChainDiagnosis) {
        self.chains += 1;
        self.steps = self.steps.max(found.steps);
        if let Some(step) = found.first_wrong {
            *self.first_wrong.entry(step).or_default() += 1;
        }
        self.later += found.later as u64;
        self.later_wrong += found.later_wrong as u64;
        self.recovering += u64::from(found.recovers());
        let (answer, chain) = (found.score.answer, found.score.chain);
        self.right_answers += u64::from(answer);
        self.right_answers_on_wrong_chains += u64::from(answer && !chain);
        self.wrong_answers_on_right_chains += u64::from(!answer && chain);
    }

    /// Chains with a wrong step.
    pub fn wrong_chains(&self) -> u64 {
        self.first_wrong.values().sum()
    }

    /// The step at which most wrong chains went wrong, the earliest of equals.
    pub fn most_common_first_wrong(&self) -> Option<usize> {
        let most = *self.first_wrong.values().max()?;
        let mut steps = self.first_wrong.iter();
        steps.find(|(_, n)| **n == most).map(|(step, _)| *step)
    }

    /// Mean over the wrong chains of their first wrong step.
    pub fn mean_first_wrong(&self) -> Option<f64> {
        let sum: u64 = self.first_wrong.iter().map(|(s, n)| *s as u64 * n).sum();
        mean(sum, self.wrong_chains())
    }

    /// Means over the wrong chains: the wrong steps after the first one, and all steps after it. These are the true steps and
    /// what a chain has beyond their number.
    pub fn mean_later(&self) -> Option<(f64, f64)> {
        let wrong = self.wrong_chains();
        mean(self.later_wrong, wrong).zip(mean(self.later, wrong))
    }

    /// Share of all chains without a wrong step up to `step`, counted from 1.
    pub fn unharmed_after(&self, step: usize) -> Share {
        let wrong: u64 = self.first_wrong.range(..=step).map(|(_, n)| n).sum();
        Share::of(self.chains - wrong, self.chains, self.chains)
    }
}

fn mean(sum: u64, n: u64) -> Option<f64> {
    (n > 0).then(|| sum as f64 / n as f64)
}

impl AddAssign<&Self> for ChainForensics {
    fn add_assign(&mut self, other: &Self) {
        self.chains += other.chains;
        self.steps = self.steps.max(other.steps);
        for (step, n) in &other.first_wrong {
            *self.first_wrong.entry(*step).or_default() += n;
        }
        self.later += other.later;
        self.later_wrong += other.later_wrong;
        self.recovering += other.recovering;
        self.right_answers += other.right_answers;
        self.right_answers_on_wrong_chains += other.right_answers_on_wrong_chains;
        self.wrong_answers_on_right_chains += other.wrong_answers_on_right_chains;
    }
}

impl AddAssign<&Self> for TaskForensics {
    /// Confusions that one of the two does not list count as often as the other says.
    fn add_assign(&mut self, other: &Self) {
        for (length, forensics) in &other.by_length {
            *self.by_length.entry(*length).or_default() += forensics;
        }
        self.wrong_places += other.wrong_places;
        for confused in &other.confusions {
            let same = |own: &&mut ConfusedTokens| {
                (&own.truth, &own.written) == (&confused.truth, &confused.written)
            };
            match self.confusions.iter_mut().find(same) {
                Some(own) => own.n += confused.n,
                None => self.confusions.push(confused.clone()),
            }
        }
        self.confusions.sort_by_key(|c| std::cmp::Reverse(c.n));
        self.confusions.truncate(KEPT);
    }
}

impl TaskForensics {
    /// All lengths above `length` together; `None` if there is none.
    pub fn longer_than(&self, length: usize) -> Option<ChainForensics> {
        let mut sum = ChainForensics::default();
        for (_, forensics) in self.by_length.range((Excluded(length), Unbounded)) {
            sum += forensics;
        }
        (sum.chains > 0).then_some(sum)
    }
}

impl Results {
    /// Where the chains of an arm go wrong on a task, if the run looked.
    pub fn forensics_of(&self, arm: &str, task: &str) -> Option<&TaskForensics> {
        self.forensics.get(arm)?.get(task)
    }
}

/// Gathers the diagnoses of one arm.
#[derive(Debug, Default)]
pub(crate) struct Forensics {
    tasks: BTreeMap<usize, Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    by_length: BTreeMap<usize, ChainForensics>,
    confusions: BTreeMap<Confusion, u64>,
}

impl Forensics {
    /// Examines one chain.
    pub(crate) fn add(&mut self, truth: &Example, written: &Chain) {
        let found = examine(truth, written);
        let tally = self.tasks.entry(truth.task).or_default();
        tally.by_length.entry(truth.length).or_default().add(&found);
        for confusion in found.confusions {
            *tally.confusions.entry(confusion).or_default() += 1;
        }
    }

    /// What was found, by the names of tasks and tokens.
    pub(crate) fn finish(self, codec: &Codec) -> OrderedMap<TaskForensics> {
        let name = |token: Option<TokenId>, none: &str| {
            let known = token.map(|id| codec.vocab.token(id).unwrap_or("?"));
            known.unwrap_or(none).to_owned()
        };
        let of_task = |(task, tally): (usize, Tally)| {
            let mut confusions: Vec<_> = tally.confusions.iter().collect();
            confusions.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
            let confused = |(confusion, n): &(&Confusion, &u64)| ConfusedTokens {
                truth: name(confusion.truth, "<surplus>"),
                written: name(confusion.written, "<missing>"),
                n: **n,
            };
            let forensics = TaskForensics {
                by_length: tally.by_length,
                wrong_places: tally.confusions.values().sum(),
                confusions: confusions.iter().take(KEPT).map(confused).collect(),
            };
            (codec.tasks[task].name.clone(), forensics)
        };
        self.tasks.into_iter().map(of_task).collect()
    }
}

#[cfg(test)]
mod tests {
    use relay_tasks::TaskConfig;

    use super::*;

    #[test]
    fn counts_where_chains_go_wrong() {
        let task = TaskConfig::Ed(Default::default()).build().unwrap();
        let codec = Codec::for_tasks(&[task]).unwrap();
        let id = |token| codec.vocab.id(token).unwrap();
        let (a, b, c) = (id("a"), id("b"), id("c"));
        let truth = Example {
            task: 0,
            length: 2,
            iterations: 2,
            width: 2,
            prompt: vec![a],
            steps: vec![vec![a, b], vec![b]],
            answer: Some(b),
        };
        let mut forensics = Forensics::default();
        let written: [(&[&[TokenId]], TokenId); 4] = [
            (&[&[a, b], &[b]], b),
            (&[&[a, b], &[b]], a),
            (&[&[c, b], &[b]], b),
            (&[&[b], &[c]], a),
        ];
        for (steps, answer) in written {
            let chain = Chain {
                steps: steps.iter().map(|step| step.to_vec()).collect(),
                answer: Some(answer),
                ..Chain::default()
            };
            forensics.add(&truth, &chain);
        }
        let found = forensics.finish(&codec);
        let found = found.get("ed").unwrap();
        let at = &found.by_length[&2];
        assert_eq!((at.chains, at.steps, at.wrong_chains()), (4, 2, 2));
        assert_eq!((at.later, at.later_wrong, at.recovering), (2, 1, 1));
        assert_eq!((at.right_answers, at.right_answers_on_wrong_chains), (2, 1));
        assert_eq!(at.wrong_answers_on_right_chains, 1);
        assert_eq!(at.most_common_first_wrong(), Some(1));
        assert_eq!(at.mean_first_wrong(), Some(1.0));
        assert_eq!(at.mean_later(), Some((0.5, 1.0)));
        assert_eq!(at.unharmed_after(0).value, 1.0);
        assert_eq!(at.unharmed_after(2).value, 0.5);
        assert_eq!(found.wrong_places, 3);
        let missing = found.confusions.iter().find(|c| c.written == "<missing>");
        assert_eq!(missing.unwrap().truth, "a");
        let mut twice = found.clone();
        twice += found;
        assert_eq!((twice.wrong_places, twice.by_length[&2].chains), (6, 8));
        assert_eq!(twice.confusions.len(), found.confusions.len());
        assert!(twice.confusions.iter().all(|c| c.n >= 2));
        assert_eq!(found.longer_than(2), None);
        assert_eq!(found.longer_than(1).as_ref(), Some(at));
        let text = serde_json::to_string(found).unwrap();
        assert_eq!(
            &serde_json::from_str::<TaskForensics>(&text).unwrap(),
            found
        );
    }
}
