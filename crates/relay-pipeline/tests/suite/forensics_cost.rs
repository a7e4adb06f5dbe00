//! Forensics and cost in the report, from made-up results.

use std::{collections::BTreeMap, fs, path::Path};

use relay_pipeline::{
    ChainForensics, ConfusedTokens, LengthResult, Results, StageCost, TaskForensics, write_report,
};

const N: u64 = 200;

fn forensics(length: usize, each: u64) -> TaskForensics {
    let chains = ChainForensics {
        chains: N,
        steps: length,
        first_wrong: (1..=length).map(|step| (step, each)).collect(),
        later: 9 * each,
        later_wrong: 5 * each,
        recovering: 2 * each,
        right_answers: N - 2 * each,
        right_answers_on_wrong_chains: each,
        wrong_answers_on_right_chains: 3,
    };
    let confused = |truth: &str, written: &str, n| ConfusedTokens {
        truth: truth.to_owned(),
        written: written.to_owned(),
        n,
    };
    TaskForensics {
        by_length: BTreeMap::from([(length - 1, chains.clone()), (length, chains)]),
        wrong_places: 77,
        confusions: vec![confused("7", "<missing>", 50), confused("3", "4", 27)],
    }
}

fn results() -> Results {
    let mut results = Results::new("mini", 3, "flex");
    for (task, train, longest) in [("ari", [1, 6], 8), ("ed", [2, 8], 10)] {
        results.train_lengths.insert(task, train);
        for (arm, each, right) in [
            ("looped_aligned", 1, N),
            ("looped_vanilla", 4, N / 2),
            ("ar_baseline", 15, N / 3),
            ("ar_relay", 2, N * 95 / 100),
        ] {
            let result = LengthResult::from_counts(longest, N, right, None);
            results.add(arm, task, result);
            if arm != "looped_vanilla" {
                let found = forensics(longest, each);
                results.forensics.entry_or_default(arm).insert(task, found);
            }
        }
    }
    for (stage, flops) in [
        ("looped_aligned", 2.1e14),
        ("looped_vanilla", 1.9e14),
        ("ar_baseline", 4e13),
        ("chains", 3e12),
        ("ar_relay", 2e13),
    ] {
        let cost = StageCost {
            updates: Some(1000),
            tokens: Some(7_654_321),
            flops: Some(flops),
            seconds: flops / 1e11,
            ..StageCost::default()
        };
        results.cost.insert(stage, cost);
        results.seconds.insert(stage, cost.seconds);
    }
    results
}

#[test]
fn figures_and_tables_show_them() {
    let scratch = tempfile::tempdir().unwrap();
    let kept = std::env::var("RELAY_REPORT_DIR").ok();
    let dir = kept.as_deref().map_or(scratch.path(), Path::new);
    let results = results();
    write_report(&results, dir).unwrap();
    let read = Results::load(&dir.join("results.json")).unwrap();
    assert_eq!(read.forensics, results.forensics);
    assert_eq!(read.cost, results.cost);

    let csv = |name: &str| fs::read_to_string(dir.join("figures").join(name)).unwrap();
    let steps = csv("first_wrong_step.csv");
    assert!(steps.starts_with("task,arm,step,n,share,low,high\nari,looped_aligned,0,200,1,1,1\n"));
    assert!(steps.contains("ari,ar_baseline,8,200,0.4,"));
    assert_eq!(steps.lines().count(), 1 + 3 * (9 + 11));
    let compute = csv("accuracy_by_compute.csv");
    assert!(
        compute.contains("ari,ar_relay,2.73e14,200,0.95,"),
        "{compute}"
    );
    assert_eq!(compute.lines().count(), 1 + 2 * 4);

    let page = fs::read_to_string(dir.join("report.html")).unwrap();
    for part in [
        "Where chains go wrong",
        "all above 6",
        "7 → &lt;missing&gt; (64.9 %)",
        "7,654,321",
        "2.73e14",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
}
