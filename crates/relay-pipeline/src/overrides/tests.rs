//! Tests of settings by path.

use super::*;
use crate::DataSettings;

fn changed(path: &str, value: &str) -> Result<Settings> {
    let one = Override {
        path: path.to_owned(),
        value: value.to_owned(),
    };
    crate::preset("mini", 1).unwrap().with(&[one])
}

#[test]
fn sets_numbers_words_parts_of_lists_and_whole_objects() {
    let set = |path, value| changed(path, value).unwrap();
    assert_eq!(
        set("looped_aligned.lambda", "0.1").looped_aligned.lambda,
        0.1
    );
    assert_eq!(
        set("stage1.train.steps", "70000")
            .looped_aligned
            .train
            .steps,
        70_000
    );
    assert_eq!(set("stage2.train.steps", "8").ar_relay.train.steps, 8);
    let model = set("model.positions", "none");
    assert_eq!(
        model.looped.transformer.positions,
        relay_models::Positions::None
    );
    assert_eq!(
        model.causal.transformer.positions,
        relay_models::Positions::None
    );
    let DataSettings::Generated(tasks) = set("data.generated.0.train.1", "4").data else {
        panic!("tasks expected")
    };
    assert_eq!(tasks[0].train, [1, 4]);
    assert_eq!(set("looped_vanilla", "null").looped_vanilla, None);
    let hits = set("evaluation.hit_matrices", "[[\"ari\", 8]]")
        .evaluation
        .hit_matrices;
    assert_eq!(hits, [("ari".to_owned(), 8)]);
    assert_eq!(
        set("ar_baseline.train.average", "0.9")
            .ar_baseline
            .train
            .average,
        Some(0.9)
    );
    // Left out of the file while it has its default.
    let iterations = set("stage1.checkpoint_iterations", "2")
        .looped_aligned
        .checkpoint_iterations;
    assert_eq!(iterations, 2);
    let base = set("model.rope_base", "500").causal.transformer.rope_base;
    assert_eq!(base, 500.0);
    assert_eq!(
        changed("seed", "1").unwrap(),
        crate::preset("mini", 1).unwrap()
    );
}

#[test]
fn each_mistake_names_path_value_and_what_would_be_right() {
    for (path, value, parts) in [
        (
            "stage1.lamda",
            "1",
            &["stage1.lamda", "no `lamda`", "lambda"][..],
        ),
        ("lambda", "1", &["lambda", "looped_aligned"]),
        (
            "looped_alinged.lambda",
            "1",
            &["looped_alinged", "looped_aligned"],
        ),
        (
            "stage1.train.speed.fast",
            "1",
            &["no `speed`", "learning_rate", "looped_aligned.train"],
        ),
        (
            "stage1.lambda.more",
            "1",
            &["stage1.lambda.more", "has no parts"],
        ),
        (
            "stage1.lambda",
            "much",
            &["stage1.lambda is much", "a number"],
        ),
        (
            "stage1.lambda",
            "-1",
            &["stage1.lambda is -1", "at least 0"],
        ),
        (
            "stage1.train.steps",
            "1.5",
            &["stage1.train.steps is 1.5", "a whole number"],
        ),
        (
            "stage1.train.steps",
            "0",
            &["stage1.train.steps is 0", "at least 1"],
        ),
        (
            "model.positions",
            "north",
            &["model.positions is north", "rope", "none", "alibi"],
        ),
        ("model.heads", "3", &["model.heads is 3", "divisor"]),
        (
            "stage1.train.steps",
            "-1",
            &["stage1.train.steps is -1", "a whole number of at least 0"],
        ),
        // Named as it was given, though the check is of what does not go with it.
        (
            "stage1.train.steps",
            "7",
            &[
                "stage1.train.steps is 7",
                "looped_aligned.curriculum.steps, 12000",
            ],
        ),
        ("stage1", "1", &["stage1 is 1", "an object with the fields"]),
        // What it does not go with is named as it stands.
        (
            "model.d_model",
            "50",
            &[
                "model.d_model is 50, must be such that looped.transformer.heads",
                "which is 4, is a divisor of d_model, 50",
            ],
        ),
        (
            "stage2.lambda",
            "1",
            &["stage2.lambda is 1", "left alone", "looped_aligned"],
        ),
        (
            "looped_vanilla.lambda",
            "1",
            &["looped_vanilla.lambda is 1", "left alone"],
        ),
        (
            "ar_baseline.checkpoint_iterations",
            "2",
            &["checkpoint_iterations is 2", "looped_vanilla alone"],
        ),
        (
            "stage1.curriculum",
            "[0.0, 3000, []]",
            &["stage1.curriculum is [0.0, 3000, []]", "an object"],
        ),
        (
            "evaluation.hit_matrices",
            "7",
            &["evaluation.hit_matrices is 7", "a list of places"],
        ),
        (
            "stage2.train.seed",
            "7",
            &["stage2.train.seed is 7", "from that of the run"],
        ),
        ("model.vocab", "99", &["model.vocab is 99", "the data say"]),
        (
            "stage1.curriculum",
            r#"{"start":0.5}"#,
            &["an object that has `steps`, too"],
        ),
        (
            "data.generated.0.task.domain.p",
            "4",
            &["data.generated.0.task.domain.p is 4", "prime"],
        ),
        (
            "data.generated.7.train",
            "[1, 2]",
            &["data.generated.7.train", "below 3"],
        ),
        ("data.generated.x", "1", &["`x`", "below 3"]),
        (
            "data.generated.1.test.0",
            "0",
            &["data.generated.1.test.0 is 0", "within"],
        ),
        (
            "chains.min_confidence",
            "2",
            &["chains.min_confidence is 2", "from 0 to 1"],
        ),
    ] {
        let error = changed(path, value).unwrap_err();
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
        assert!(error.is_usage());
    }
    for text in ["lambda", "=1", "lambda="] {
        let error = text.parse::<Override>().unwrap_err().to_string();
        assert!(error.contains("PATH=VALUE"), "{error}");
    }
}

#[test]
fn values_that_are_right_together_are_taken_together() {
    let all = ["model.d_model=24", "model.heads=3"].map(|text| text.parse().unwrap());
    let settings = crate::preset("mini", 1).unwrap().with(&all).unwrap();
    assert_eq!(settings.looped.transformer.heads, 3);
}

#[test]
fn of_several_values_that_one_is_named_which_is_wrong() {
    for (values, expected) in [
        // Checked in another order than they are given in.
        (
            &[
                "stage2.train.learning_rate=-1",
                "looped.transformer.heads=0",
            ][..],
            "stage2.train.learning_rate is -1, must be ",
        ),
        // The first is wrong by itself, and right beside the second.
        (
            &["model.heads=3", "model.d_model=24", "stage1.lambda=-1"],
            "stage1.lambda is -1, must be a number of at least 0",
        ),
        (
            &["stage1.train.steps=1000", "stage1.curriculum.steps=2000"],
            "stage1.curriculum.steps is 2000, must be such that looped_aligned.curriculum.steps, 2000, is below \
             looped_aligned.train.steps, 1000",
        ),
        (
            &["evaluation.samples=7", "data.generated.0.train=[5, 2]"],
            "data.generated.0.train is [5, 2], must be within",
        ),
        (
            &["chains.tries=2", "self_chains.samples=10"],
            "data.ari.self_phases is ",
        ),
    ] {
        let all: Vec<Override> = values.iter().map(|text| text.parse().unwrap()).collect();
        let error = crate::preset("mini", 1).unwrap().with(&all).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_an_object_leaves_out_does_not_fall_back_to_its_default() {
    for (path, value, lost) in [
        ("looped_aligned.train", "{\"steps\": 5}", "`learning_rate`"),
        ("model", "{\"d_model\": 16}", "`dropout`"),
        ("data.generated.0.task", "{\"task\": \"ari\"}", "`domain`"),
        // Left out of the file where it has its default, so that nothing is left of it.
        (
            "looped_aligned.curriculum",
            "{\"start\": 0.0, \"steps\": 300}",
            "`tasks`",
        ),
    ] {
        let error = changed(path, value).unwrap_err().to_string();
        let right = format!("{path}.NAME=VALUE");
        assert!(
            error.contains("an object that has ") && error.contains(lost) && error.contains(&right),
            "{error}"
        );
    }
    // All that is left out has its default before; and another kind of object has other fields.
    let recovery = changed("stage1.train.recovery", "{\"retries\": 3}").unwrap();
    assert_eq!(recovery.looped_aligned.train.recovery.retries, 3);
    let all = "{\"mixed\": {\"samples\": 4}}";
    assert!(changed("looped_vanilla.batching", all).is_ok());
    // Whole as it was, with one change.
    let mini = crate::preset("mini", 1).unwrap();
    let mut train = crate::json::to_value(&mini.looped_aligned.train).unwrap();
    train["steps"] = 70_000.into();
    let all = changed("looped_aligned.train", &train.to_string()).unwrap();
    assert_eq!(all.looped_aligned.train.steps, 70_000);
}
