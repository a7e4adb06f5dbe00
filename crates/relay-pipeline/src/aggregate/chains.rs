//! How often the chains of several runs are wrong.

use serde::{Deserialize, Serialize};

use super::{RunShare, Spread};
use crate::{ChainYield, OrderedMap, Results, Share};

/// How often chains are wrong, run by run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChainSpreads {
    /// Arm to task to the share of right answers that stand on a wrong chain, over all test problems longer than trained on.
    pub answers_on_wrong_chains: OrderedMap<OrderedMap<Spread>>,
    /// Stage that wrote chains to learn from, to `task length`, to the share of the kept chains that are right, steps and
    /// answer.
    pub right_of_kept: OrderedMap<OrderedMap<Spread>>,
}

impl ChainSpreads {
    pub(super) fn of(runs: &[Results]) -> Self {
        let mut all = Self::default();
        for (arm, task) in pairs(runs, |run| &run.forensics, OrderedMap::keys) {
            let share = |run: &Results| answers_on_wrong_chains(run, arm, task);
            if let Some(spread) = spread(runs, share) {
                let of_arm = all.answers_on_wrong_chains.entry_or_default(arm);
                of_arm.insert(task, spread);
            }
        }
        for (stage, at) in pairs(
            runs,
            |run| &run.written_chains,
            |counts| counts.keys().map(String::as_str),
        ) {
            let share = |run: &Results| right_of_kept(run.written_chains.get(stage)?.get(at)?);
            if let Some(spread) = spread(runs, share) {
                all.right_of_kept.entry_or_default(stage).insert(at, spread);
            }
        }
        all
    }

    /// Whether nothing is known of any chain.
    pub fn is_empty(&self) -> bool {
        self.answers_on_wrong_chains.is_empty() && self.right_of_kept.is_empty()
    }

    /// Adds what is known of other tasks.
    pub(super) fn join(&mut self, other: Self) {
        for (own, others) in [
            (
                &mut self.answers_on_wrong_chains,
                other.answers_on_wrong_chains,
            ),
            (&mut self.right_of_kept, other.right_of_kept),
        ] {
            for (name, spreads) in others.iter() {
                for (at, spread) in spreads.iter() {
                    own.entry_or_default(name).insert(at, spread.clone());
                }
            }
        }
    }

    /// All spreads, each with its place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (String, &Spread)> {
        let of = |name: &'static str, spreads| {
            let each = OrderedMap::<OrderedMap<Spread>>::iter(spreads);
            each.flat_map(move |(own, spreads)| {
                let place = move |at: &str| format!("{name}.{own}.{at}");
                spreads.iter().map(move |(at, spread)| (place(at), spread))
            })
        };
        of("answers_on_wrong_chains", &self.answers_on_wrong_chains)
            .chain(of("right_of_kept", &self.right_of_kept))
    }
}

/// The outer and inner keys of a map that every run has, each pair once, in the order of the runs.
fn pairs<'a, V: 'a, K: Iterator<Item = &'a str>>(
    runs: &'a [Results],
    map: impl Fn(&'a Results) -> &'a OrderedMap<V>,
    keys: impl Fn(&'a V) -> K,
) -> Vec<(&'a str, &'a str)> {
    let of_run = |run: &'a Results| map(run).iter();
    let each = runs.iter().flat_map(of_run);
    super::each_once(each.flat_map(|(outer, inner)| keys(inner).map(move |key| (outer, key))))
}

fn answers_on_wrong_chains(run: &Results, arm: &str, task: &str) -> Option<(u64, u64)> {
    let [_, longest] = *run.train_lengths.get(task)?;
    let found = run.forensics_of(arm, task)?.longer_than(longest)?;
    Some((found.right_answers_on_wrong_chains, found.right_answers))
}

fn right_of_kept(count: &ChainYield) -> Option<(u64, u64)> {
    Some((count.right? as u64, count.truth_known()? as u64))
}

/// The spread of shares, each as a count and of how many; a run without any has none.
fn spread(runs: &[Results], share: impl Fn(&Results) -> Option<(u64, u64)>) -> Option<Spread> {
    let of_run = |run: &Results| {
        let (right, n) = share(run).filter(|(_, n)| *n > 0)?;
        Some(RunShare::new(run.seed, n, Share::of(right, n, n)))
    };
    Spread::of(runs.iter().filter_map(of_run).collect())
}

#[cfg(test)]
mod tests {
    use crate::{Aggregate, ChainForensics, ChainYield, OrderedMap, Results};

    /// A run with 10 right answers at a training length and at a longer one, and 8 chains kept, all of them on wrong chains or
    /// wrong but so many.
    fn run(seed: u64, [trained, longer, kept]: [u64; 3]) -> Results {
        let mut results = Results::new("mini", seed, "flex");
        results.train_lengths.insert("ari", [1, 1]);
        let arm = results.forensics.entry_or_default("ar_relay");
        let task = arm.entry_or_default("ari");
        for (length, on_wrong) in [(1, trained), (2, longer)] {
            let found = ChainForensics {
                chains: 20,
                right_answers: 10,
                right_answers_on_wrong_chains: on_wrong,
                ..ChainForensics::default()
            };
            task.by_length.insert(length, found);
        }
        let count = ChainYield {
            wanted: 8,
            kept: 8,
            right: Some(kept as usize),
            ..ChainYield::default()
        };
        let counts = [("ari 2".to_owned(), count)].into();
        results.written_chains.insert("chains", counts);
        results
    }

    #[test]
    fn shares_are_of_each_run_and_of_longer_problems_alone() {
        let runs = [run(1, [9, 1, 8]), run(2, [9, 3, 4])];
        let chains = Aggregate::of_runs(&runs).unwrap().chains;
        let of_arm = chains.answers_on_wrong_chains.get("ar_relay").unwrap();
        let spread = of_arm.get("ari").unwrap();
        assert_eq!((spread.mean, spread.min, spread.max), (0.2, 0.1, 0.3));
        let seeds: Vec<_> = spread.runs.iter().map(|run| (run.seed, run.n)).collect();
        assert_eq!(seeds, [(1, 10), (2, 10)]);
        let kept = chains.right_of_kept.get("chains").unwrap();
        assert_eq!(kept.get("ari 2").unwrap().mean, 0.75);
        let places: Vec<_> = chains.iter().map(|(place, _)| place).collect();
        let expected = [
            "answers_on_wrong_chains.ar_relay.ari",
            "right_of_kept.chains.ari 2",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn without_right_answers_or_known_chains_there_is_no_share() {
        let mut nothing = run(1, [9, 1, 8]);
        let unknown = ChainYield {
            kept: 8,
            ..ChainYield::default()
        };
        let counts = [("ari 2".to_owned(), unknown)].into();
        nothing.written_chains.insert("chains", counts);
        nothing.train_lengths.insert("ari", [1, 2]);
        assert!(Aggregate::of_runs(&[nothing]).unwrap().chains.is_empty());
        let mut none_right = run(1, [0, 0, 0]);
        none_right.written_chains = OrderedMap::new();
        let arm = none_right.forensics.entry_or_default("ar_relay");
        for found in arm.entry_or_default("ari").by_length.values_mut() {
            found.right_answers = 0;
        }
        assert!(Aggregate::of_runs(&[none_right]).unwrap().chains.is_empty());
    }
}
