//! Chains are kept by a rule of one's own, and what is made from them follows.

use std::sync::Arc;

use relay_pipeline::{ChainFilter, Existing, Result, Unsolved, read_chains};
use relay_tasks::Chain;
use relay_train::StopFlag;
use serde_json::{Value, json};

use crate::runs::{made_at, open, tiny};

/// Keeps the chains of one task.
#[derive(Debug)]
struct Of(&'static str);

impl ChainFilter for Of {
    fn keep(&self, problems: &[Unsolved], _: &[Chain]) -> Result<Vec<bool>> {
        let of = |one: &Unsolved| one.problem.task == self.0;
        Ok(problems.iter().map(of).collect())
    }

    fn fingerprint(&self) -> Value {
        json!(self.0)
    }
}

#[test]
fn a_rule_of_ones_own_decides_what_is_learnt_from_and_what_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (arm, stages) = (
        ["ar_relay".to_owned()],
        ["looped_aligned", "chains", "merged", "ar_relay"],
    );
    let made = |filter: Option<&'static str>, existing| {
        let mut pipeline = open(&tiny(), dir.path(), existing, StopFlag::new()).unwrap();
        if let Some(task) = filter {
            pipeline = pipeline.filtering(Arc::new(Of(task)));
        }
        pipeline.run_arms(&arm).unwrap();
        let file = dir.path().join("chains/chains.jsonl");
        let chains = read_chains(&file, pipeline.corpus().codec()).unwrap();
        let of: Vec<String> = chains.into_iter().map(|chain| chain.task).collect();
        (of, stages.map(|stage| made_at(dir.path(), stage)))
    };
    let (tasks, first) = made(Some("ed"), Existing::Refuse);
    assert!(!tasks.is_empty() && tasks.iter().all(|task| task == "ed"));
    let (_, again) = made(Some("ed"), Existing::Resume);
    assert_eq!(again, first);
    let (tasks, other) = made(Some("lis"), Existing::Resume);
    assert!(tasks.iter().all(|task| task == "lis"));
    assert_eq!(other[0], first[0]);
    assert!(
        other[1..]
            .iter()
            .zip(&first[1..])
            .all(|(new, old)| new != old)
    );
    let (tasks, _) = made(None, Existing::Resume);
    assert!(tasks.iter().any(|task| task != "lis"));
}
