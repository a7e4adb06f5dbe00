//! Chains are kept by a rule of one's own, and what is made from them follows.

use std::sync::Arc;

use relay_pipeline::{ChainFilter, Existing, Result, Unsolved, read_chains};
use relay_tasks::Chain;
use relay_train::StopFlag;
use serde_json::{Value, json};

use crate::runs::{made_at, open, tiny};

/// Keeps the chains of one task.
#[derive(Debug)]
struct Of(String);

impl ChainFilter for Of {
    fn keep(&self, problems: &[Unsolved], _: &[Chain]) -> Result<Vec<bool>> {
        let of = |one: &Unsolved| one.problem.task == self.0;
        Ok(problems.iter().map(of).collect())
    }

    fn fingerprint(&self) -> Value {
        json!(&self.0)
    }
}

#[test]
fn a_rule_of_ones_own_decides_what_is_learnt_from_and_what_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let arm = ["ar_relay".to_owned()];
    let stages = ["looped_aligned", "chains", "merged", "ar_relay"];
    let made = |filter: Option<&String>, existing| {
        let mut pipeline = open(&tiny(), dir.path(), existing, StopFlag::new()).unwrap();
        if let Some(task) = filter {
            pipeline = pipeline.filtering(Arc::new(Of(task.clone())));
        }
        pipeline.run_arms(&arm).unwrap();
        let file = dir.path().join("chains/chains.jsonl");
        let chains = read_chains(&file, pipeline.corpus().codec()).unwrap();
        let of: Vec<String> = chains.into_iter().map(|chain| chain.task).collect();
        (of, stages.map(|stage| made_at(dir.path(), stage)))
    };
    let (all, before) = made(None, Existing::Refuse);
    // A model that has learnt nothing writes few chains that can be read.
    assert!(!all.is_empty(), "none can be read");
    let (one, none) = (all[0].clone(), "other".to_owned());
    let (kept, first) = made(Some(&one), Existing::Resume);
    assert!(!kept.is_empty() && kept.iter().all(|task| *task == one));
    assert_eq!(first[0], before[0]);
    assert_ne!(first[1], before[1]);
    let (_, again) = made(Some(&one), Existing::Resume);
    assert_eq!(again, first);
    let (kept, without) = made(Some(&none), Existing::Resume);
    assert!(kept.is_empty());
    let anew = without[1..].iter().zip(&first[1..]);
    assert!(anew.into_iter().all(|(new, old)| new != old));
    assert_eq!(without[0], before[0]);
    assert_eq!(made(None, Existing::Resume).0, all);
}
