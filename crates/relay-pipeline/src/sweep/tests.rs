//! Tests of sweeps.

use super::*;

fn sweep(axes: &[&str]) -> Sweep {
    let axes = axes.iter().map(|axis| axis.parse().unwrap()).collect();
    Sweep {
        axes,
        seeds: vec![1, 2],
    }
}

#[test]
fn every_combination_has_a_directory_that_can_be_read() {
    let sweep = sweep(&[
        "stage1.lambda=0,0.1",
        "model.layers=1,2",
        "evaluation.samples=5",
    ]);
    let all = sweep.combinations().unwrap();
    assert_eq!(
        all.iter().map(|one| one.label.as_str()).collect::<Vec<_>>(),
        [
            "lambda=0, layers=1",
            "lambda=0, layers=2",
            "lambda=0.1, layers=1",
            "lambda=0.1, layers=2"
        ]
    );
    assert_eq!(
        all[3].dir(2),
        Path::new("stage1.lambda=0.1_model.layers=2_evaluation.samples=5_seed-2")
    );
    let command = |seed, overrides: &[Override]| format!("{seed} {}", overrides[0]);
    let runs = sweep
        .runs("out".as_ref(), |seed| crate::preset("smoke", seed), command)
        .unwrap();
    assert_eq!(runs.len(), 8);
    assert_eq!(runs[7].settings.looped.transformer.layers, 2);
    assert_eq!(
        (runs[7].settings.seed, runs[7].command.as_str()),
        (2, "2 stage1.lambda=0.1")
    );
}

#[test]
fn lists_stay_whole_and_equal_ends_keep_their_paths() {
    let axis: Axis = "evaluation.hit_matrices=[[\"lis\", 30]],[]"
        .parse()
        .unwrap();
    assert_eq!(axis.values, ["[[\"lis\", 30]]", "[]"]);
    let sweep = sweep(&["stage1.train.steps=1,2", "stage2.train.steps=3"]);
    let name = &sweep.combinations().unwrap()[0].name;
    assert_eq!(name, "stage1.train.steps=1_stage2.train.steps=3");
    assert_eq!(Axis::loops("-2..1").unwrap().values, ["-2", "-1", "0", "1"]);
    let long = directory(&"x".repeat(300));
    assert_eq!(long.len(), LONGEST_NAME + 9);
}

#[test]
fn what_cannot_be_swept_is_said_before_anything_runs() {
    let base = |seed| crate::preset("smoke", seed);
    let error = |axes: &[&str]| {
        let runs = sweep(axes).runs("out".as_ref(), base, |_, _| String::new());
        runs.unwrap_err().to_string()
    };
    assert!(error(&["stage1.lambda=1,-1"]).contains("stage1.lambda is -1"));
    assert!(error(&["stage1.lambda=1", "stage1.lambda=2"]).contains("swept twice"));
    assert!(
        error(&["evaluation.hit_matrices=[[\"lis\",30]],[[\"lis\" 30]]"]).contains("hit_matrices")
    );
    let twice = |text: &str| text.parse::<Axis>().unwrap_err().to_string();
    assert!(twice("stage1.lambda=1,1.0").contains("1.0 in `stage1.lambda=1,1.0`"));
    // Every run would have it, whatever its directory says.
    assert!(error(&["seed=1,2"]).contains("seed is 1, must be left out"));
    let fixed = |seed| crate::preset("smoke", seed)?.with(&["seed=5".parse()?]);
    let all_the_same = sweep(&[]).runs("out".as_ref(), fixed, |_, _| String::new());
    let message = all_the_same.unwrap_err().to_string();
    assert!(message.contains("seed is 5"), "{message}");
    // One setting by several names, and a part of another.
    for (one, other) in [
        ("stage1.lambda=0,1", "looped_aligned.lambda=2"),
        ("model.dropout=0.1,0.2", "causal.transformer.dropout=0.3"),
        ("looped_aligned.groups.max_samples=1,2", "stage1.groups={}"),
    ] {
        let message = error(&[one, other]);
        assert!(message.contains("is swept as"), "{message}");
    }
    for (axis, part) in [
        ("lambda=1,1", "1 in"),
        ("lambda=1,,2", "empty in"),
        ("lambda", "PATH=VALUE"),
    ] {
        let error = axis.parse::<Axis>().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    for range in ["4..-2", "x", "1..", "..", "0..100000"] {
        assert!(
            Axis::loops(range)
                .unwrap_err()
                .to_string()
                .contains("FROM..TO")
        );
    }
    let none = Sweep {
        axes: Vec::new(),
        seeds: vec![1, 1],
    };
    let error = none
        .runs("out".as_ref(), base, |_, _| String::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("each once"), "{error}");
}
