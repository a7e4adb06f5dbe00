//! The whole pipeline on a model that learns nothing: stages, markers, going on, changed settings.

use std::{fs, path::Path};

use relay_pipeline::{DataSettings, Existing, PipelineError, Results, Settings, TaskSettings};
use relay_train::{OptimizerConfig, StopFlag};

use crate::{
    runs::{made_at, open, run, tiny},
    stopping::stopped_by,
};

/// What a run measured, without clocks.
fn measured(results: &Results) -> String {
    let hits = serde_json::to_string(&results.hit_matrices).unwrap();
    serde_json::to_string(&results.arms).unwrap() + &hits
}

#[test]
fn stages_side_by_side_give_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (one, many) = (dir.path().join("one"), dir.path().join("many"));
    let settings = tiny();
    let expected = run(&settings, &one, Existing::Refuse).unwrap();
    let pipeline = open(&settings, &many, Existing::Refuse, StopFlag::default()).unwrap();
    let results = pipeline.side_by_side(3).run().unwrap();
    assert_eq!(measured(&results), measured(&expected));
    let result = |dir: &Path, stage: &str| {
        let text = fs::read_to_string(dir.join(stage).join("done.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["result"].clone()
    };
    for stage in [
        "looped_aligned",
        "looped_vanilla",
        "ar_baseline",
        "chains",
        "merged",
        "ar_relay",
        "ar_self_loop/phase-5/model",
        "ar_self_truth/phase-5/model",
        "evaluation/ar_relay",
    ] {
        assert_eq!(result(&many, stage), result(&one, stage), "{stage}");
    }
}

#[test]
fn a_failure_is_told_and_the_same_pipeline_goes_on_once_its_cause_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let whole = StopFlag::new();
    let pipeline = open(&tiny(), &path, Existing::Refuse, whole.clone())
        .unwrap()
        .side_by_side(2);
    // A file where a stage wants its directory.
    let in_the_way = path.join("ar_baseline");
    fs::write(&in_the_way, "").unwrap();
    let error = pipeline.run().unwrap_err();
    assert!(!error.is_interrupted(), "{error}");
    assert!(error.to_string().contains("ar_baseline"), "{error}");
    fs::remove_file(&in_the_way).unwrap();
    assert_eq!(pipeline.run().unwrap().arms.keys().count(), 6);
    whole.set();
    assert!(pipeline.run().unwrap_err().is_interrupted());
}

#[test]
fn runs_goes_on_and_redoes_what_a_setting_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let mut settings = tiny();
    let first = run(&settings, &path, Existing::Refuse).unwrap();
    for file in [
        "results.json",
        "report.html",
        "figures/answer_accuracy.svg",
        "figures/hit_matrix_lis_33.png",
    ] {
        assert!(path.join(file).exists(), "{file} is missing");
    }
    assert_eq!(
        Results::load(&path.join("results.json")).unwrap().arms,
        first.arms
    );
    assert_eq!(
        first.arms.keys().collect::<Vec<_>>(),
        [
            "looped_aligned",
            "looped_vanilla",
            "ar_baseline",
            "ar_relay",
            "ar_self_loop",
            "ar_self_truth"
        ]
    );

    // Going on with a finished run does nothing anew. What a kill left behind just after a stage was finished goes.
    let left = path.join("chains/unfinished.jsonl");
    assert!(!left.exists());
    fs::write(&left, "{}\n").unwrap();
    let (trained, judged) = (
        made_at(&path, "ar_relay"),
        made_at(&path, "evaluation/ar_relay"),
    );
    let again = run(&settings, &path, Existing::Resume).unwrap();
    assert_eq!(measured(&again), measured(&first));
    assert!(!left.exists());
    assert_eq!(
        (
            made_at(&path, "ar_relay"),
            made_at(&path, "evaluation/ar_relay")
        ),
        (trained, judged)
    );

    // Asked for one arm, it still tells of all that are finished.
    let pipeline = open(&settings, &path, Existing::Resume, StopFlag::default()).unwrap();
    let one = pipeline.side_by_side(2).run_arms(&["ar_relay".to_owned()]);
    assert_eq!(measured(&one.unwrap()), measured(&first));
    fs::remove_file(path.join("evaluation/ar_self_loop/done.json")).unwrap();
    let pipeline = open(&settings, &path, Existing::Resume, StopFlag::default()).unwrap();
    let pipeline = pipeline.side_by_side(2);
    let one = pipeline.run_arms(&["ar_relay".to_owned()]).unwrap();
    assert!(!one.arms.keys().any(|arm| arm == "ar_self_loop"));
    assert_eq!(one.arms.keys().count(), 5);
    assert_eq!(measured(&pipeline.run().unwrap()), measured(&first));
    drop(pipeline);

    // Another number of test problems is an evaluation anew, and no training.
    settings.evaluation.samples = 2;
    let error = run(&settings, &path, Existing::Resume)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("evaluation.samples is 3 there and 2 here"),
        "{error}"
    );
    let told = fs::read(path.join("results.json")).unwrap();
    run(&settings, &path, Existing::Update).unwrap();
    assert_eq!(made_at(&path, "ar_relay"), trained);
    assert_ne!(made_at(&path, "evaluation/ar_relay"), judged);
    // What it told before stands in no one's way, and is not lost.
    let before = path.join("set-aside/results-1");
    assert_eq!(fs::read(before.join("results.json")).unwrap(), told);
    assert!(before.join("report.html").exists() && before.join("figures").exists());
    run(&settings, &path, Existing::Update).unwrap();
    assert!(!path.join("set-aside/results-2").exists());

    // Tools that rewrite JSON change how numbers are written, and no setting.
    let file = path.join("settings.json");
    let rewritten = fs::read_to_string(&file).unwrap().replace(".0,", ",");
    fs::write(&file, &rewritten).unwrap();
    run(&settings, &path, Existing::Resume).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), rewritten);

    // Where nobody can tell what the results are of, they are kept. Nothing is made again.
    let trained = made_at(&path, "ar_relay");
    for (number, damaged) in [
        (2, Some(&b"{"[..])),
        (3, Some(b"null")),
        (4, Some(b"\xff")),
        (5, None),
    ] {
        match damaged {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let error = run(&settings, &path, Existing::Resume).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("settings.json") && text.contains("--update"),
            "{text}"
        );
        run(&settings, &path, Existing::Update).unwrap();
        assert_eq!(made_at(&path, "ar_relay"), trained);
        let before = path.join(format!("set-aside/results-{number}"));
        assert!(before.join("results.json").exists(), "{number}");
    }

    // So are other lengths to measure at. A stage's own seed is not what it is trained with, and how often it tells is not what it learns.
    let judged = made_at(&path, "evaluation/ar_relay");
    let data = |settings: &mut Settings, change: &dyn Fn(&mut TaskSettings)| {
        let DataSettings::Generated(tasks) = &mut settings.data else {
            panic!("tasks expected")
        };
        change(&mut tasks[0]);
    };
    data(&mut settings, &|ari| ari.test[1] = 7);
    settings.looped_aligned.train.seed += 1;
    settings.looped_aligned.train.log_every += 1;
    settings.ar_baseline.train.validate_every = 0;
    run(&settings, &path, Existing::Update).unwrap();
    assert_eq!(made_at(&path, "ar_relay"), trained);
    assert_ne!(made_at(&path, "evaluation/ar_relay"), judged);

    // Other longer problems are other chains, and no other model that writes them.
    let taught = ["looped_aligned", "ar_baseline"].map(|arm| made_at(&path, arm));
    let chains = made_at(&path, "chains");
    data(&mut settings, &|ari| ari.longer[0].1 -= 1);
    run(&settings, &path, Existing::Update).unwrap();
    let again = ["looped_aligned", "ar_baseline"].map(|arm| made_at(&path, arm));
    assert_eq!(again, taught);
    assert_ne!(made_at(&path, "chains"), chains);

    // So are those that are chosen otherwise.
    for change in [
        |settings: &mut Settings| settings.chains.min_confidence = 0.1,
        |settings: &mut Settings| settings.chains.tries = 2,
    ] {
        let before = ["chains", "merged"].map(|stage| made_at(&path, stage));
        change(&mut settings);
        run(&settings, &path, Existing::Update).unwrap();
        let again = ["looped_aligned", "ar_baseline"].map(|arm| made_at(&path, arm));
        assert_eq!(again, taught);
        assert_ne!(made_at(&path, "chains"), before[0]);
    }

    let error = run(&settings, &path, Existing::Refuse).unwrap_err();
    assert!(matches!(error, PipelineError::NotEmpty { .. }), "{error}");
}

#[test]
fn where_the_last_step_is_the_answer_the_last_column_ends_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = tiny();
    settings.evaluation.hit_matrices = vec![("ari".to_owned(), 7), ("lis".to_owned(), 33)];
    let pipeline = open(
        &settings,
        &dir.path().join("run"),
        Existing::Refuse,
        StopFlag::default(),
    );
    let arms = ["looped_aligned".to_owned()];
    let results = pipeline.unwrap().run_arms(&arms).unwrap();
    let ends = results.hit_matrices.iter();
    let ends: Vec<_> = ends.map(|one| (one.task.as_str(), one.step_end)).collect();
    assert_eq!(ends, [("ari", false), ("lis", true)]);
}

#[test]
fn a_run_that_is_stopped_ends_like_one_that_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let settings = tiny();
    let whole = run(&settings, &dir.path().join("whole"), Existing::Refuse).unwrap();
    let path = dir.path().join("stopped");
    let stop = StopFlag::default();
    let pipeline = open(&settings, &path, Existing::Refuse, stop.clone()).unwrap();
    let begun = path.join("ar_baseline/stage.json");
    let error = stopped_by(&begun, &stop, || pipeline.run().unwrap_err());
    drop(pipeline);
    assert!(error.is_interrupted(), "{error}");
    // In the middle: what came before is finished, what comes last is not begun.
    assert!(path.join("looped_vanilla/done.json").exists());
    assert!(!path.join("results.json").exists());
    let resumed = run(&settings, &path, Existing::Resume).unwrap();
    assert_eq!(measured(&resumed), measured(&whole));
    let chains = |run: &str| fs::read(dir.path().join(run).join("merged/merged.jsonl")).unwrap();
    assert_eq!(chains("stopped"), chains("whole"));
}

/// The weights of an arm's only checkpoint.
fn weights(run: &Path, arm: &str) -> Vec<f32> {
    let file = run.join(arm).join("step-000000004/model.safetensors");
    let bytes = fs::read(file).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let tensors = &rest[u64::from_le_bytes(*length) as usize..];
    let (numbers, []) = tensors.as_chunks() else {
        panic!("floats expected")
    };
    numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

/// Stage II begins with the baseline, not with a new model: where it learns nothing, it ends as it began.
#[test]
fn fine_tuning_begins_where_the_baseline_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = tiny();
    for train in [
        &mut settings.ar_relay.train,
        &mut settings.self_chains.as_mut().unwrap().phase.train,
    ] {
        train.learning_rate = 1e-12;
        train.optimizer = OptimizerConfig::muon(1e-12);
        train.weight_decay = 0.0;
    }
    run(&settings, dir.path(), Existing::Refuse).unwrap();
    let baseline = weights(dir.path(), "ar_baseline");
    for arm in [
        "ar_relay",
        "ar_self_loop/phase-1/model",
        "ar_self_truth/phase-5/model",
    ] {
        let found = weights(dir.path(), arm);
        let off = found.iter().zip(&baseline).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f32::max);
        assert!(
            found.len() == baseline.len() && off < 1e-6,
            "{arm} is off by {off}"
        );
    }
}

/// Equation 10: what the aligned model learns besides the answer is the steps, as much as lambda says; the vanilla one does not.
#[test]
fn lambda_reaches_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let trained = |lambda: f64| {
        let path = dir.path().join(lambda.to_string());
        let mut settings = tiny();
        settings.looped_aligned.lambda = lambda as f32;
        for stage in settings.stages_mut() {
            stage.train.log_every = 1;
            stage.task_weights = vec![2.0, 1.0, 3.0];
        }
        let pipeline = open(&settings, &path, Existing::Refuse, StopFlag::default()).unwrap();
        let arms = ["looped_aligned", "looped_vanilla"].map(str::to_owned);
        pipeline.run_arms(&arms).unwrap();
        for (arm, lambda) in [("looped_aligned", lambda), ("looped_vanilla", 0.0)] {
            let text = fs::read_to_string(path.join(arm).join("metrics.jsonl")).unwrap();
            let first = text.lines().next().unwrap();
            let first: serde_json::Value = serde_json::from_str(first).unwrap();
            let of = |number: &str| first.pointer(number).unwrap().as_f64().unwrap();
            let [mut right, mut steps] = [0.0; 2];
            for (task, weight) in [("ari", 2.0), ("ed", 1.0), ("lis", 3.0)] {
                let step = of(&format!("/tasks/{task}/step_loss"));
                right += weight * (of(&format!("/tasks/{task}/answer_loss")) + lambda * step);
                steps += step;
            }
            let loss = of("/loss");
            assert!((loss - right).abs() < 1e-4 * right, "{arm}: {loss} {right}");
            assert_eq!(steps > 1.0, arm == "looped_aligned", "{steps}");
        }
        weights(&path, "looped_aligned")
    };
    assert_ne!(trained(0.0), trained(5.0));
}
