//! That numbers which cannot be are found.

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
            format!("{chains}/right_answers"),
            json!(11),
            "right_answers is 11, must be at most chains, which is 10",
        ),
        (
            format!("{chains}/right_answers_on_wrong_chains"),
            json!(1),
            "right_answers_on_wrong_chains is 1, must be at most right_answers, which is 0",
        ),
        (
            format!("{chains}/recovering"),
            json!(8),
            "recovering is 8, must be at most chains with a wrong step, which is 7",
        ),
        (
            format!("{chains}/later_wrong"),
            json!(1),
            "later_wrong is 1, must be at most later, which is 0",
        ),
        (
            "/written_chains/chains/ari 8/right".to_owned(),
            json!(1),
            "ari 8: right is 1, must be at most known, which is 0",
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
