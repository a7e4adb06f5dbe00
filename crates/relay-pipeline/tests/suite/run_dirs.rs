//! What stands in a run directory: of others, changed, damaged, or of other settings.

use std::fs;

use relay_pipeline::{Existing, PipelineError};
use relay_train::StopFlag;

use crate::runs::{made_at, open, run, tiny};

#[test]
fn a_directory_is_for_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(&tiny(), dir.path(), Existing::Refuse, StopFlag::default()).unwrap();
    let error = open(&tiny(), dir.path(), Existing::Resume, StopFlag::default()).unwrap_err();
    assert!(matches!(error, PipelineError::Locked { .. }), "{error}");
    drop(held);
    open(&tiny(), dir.path(), Existing::Resume, StopFlag::default()).unwrap();
}

#[test]
fn what_was_trained_is_kept_where_it_no_longer_fits() {
    let dir = tempfile::tempdir().unwrap();
    let settings = tiny();
    let arms = ["ar_baseline".to_owned()];
    let train = |existing| {
        let pipeline = open(&settings, dir.path(), existing, StopFlag::default())?;
        pipeline.run_arms(&arms)
    };
    train(Existing::Refuse).unwrap();
    let checkpoint = "step-000000004/model.safetensors";
    let trained = fs::read(dir.path().join("ar_baseline").join(checkpoint)).unwrap();
    // As if another version of the program had begun it.
    let foreign = || {
        for marker in ["done.json", "stage.json"] {
            let file = dir.path().join("ar_baseline").join(marker);
            let text = fs::read_to_string(&file).unwrap();
            let begun = fs::read_to_string(dir.path().join("ar_baseline/stage.json")).unwrap();
            fs::write(file, text.replace(&begun, &"0".repeat(64))).unwrap();
        }
    };
    foreign();
    train(Existing::Resume).unwrap();
    let kept = dir.path().join("set-aside/ar_baseline-1").join(checkpoint);
    assert_eq!(fs::read(kept).unwrap(), trained);
    // The results were of it.
    assert!(dir.path().join("set-aside/results-1/report.html").exists());
    // Nor is it lost where it was asked to be redone: by a forgotten option, maybe.
    foreign();
    train(Existing::Update).unwrap();
    let kept = dir.path().join("set-aside/ar_baseline-2").join(checkpoint);
    assert_eq!(fs::read(kept).unwrap(), trained);
}

#[test]
fn a_changed_result_of_a_finished_stage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let settings = tiny();
    run(&settings, dir.path(), Existing::Refuse).unwrap();
    for file in ["evaluation/ar_relay/measured.json", "chains/chains.jsonl"] {
        let file = dir.path().join(file);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen('1', "2", 1)).unwrap();
        let error = run(&settings, dir.path(), Existing::Resume)
            .unwrap_err()
            .to_string();
        let stage = file.parent().unwrap();
        assert!(
            error.contains("was changed") && error.contains(&format!("remove {}", stage.display())),
            "{error}"
        );
        fs::write(&file, text).unwrap();
    }
    run(&settings, dir.path(), Existing::Resume).unwrap();
}

#[test]
fn no_older_checkpoint_stands_in_for_that_of_a_finished_stage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let stage = path.join("looped_aligned");
    let mut settings = tiny();
    settings.looped_aligned.train.keep_last = 2;
    run(&settings, &path, Existing::Refuse).unwrap();
    let last = stage.join("step-000000004");
    assert!(stage.join("step-000000002").exists());
    let hint = format!("remove {} to have it made anew", stage.display());
    // A training that is finished needs no optimizer any more.
    fs::remove_file(last.join("optimizer.safetensors")).unwrap();
    settings.evaluation.samples += 1;
    let taken = made_at(&path, "looped_aligned");
    run(&settings, &path, Existing::Update).unwrap();
    assert_eq!(made_at(&path, "looped_aligned"), taken);
    // The weights stay whole, so the marker of the stage holds.
    fs::remove_file(last.join("manifest.json")).unwrap();
    settings.evaluation.samples += 1;
    let error = run(&settings, &path, Existing::Update).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("step-000000004") && said.contains(&hint),
        "{said}"
    );
}

#[test]
fn a_damaged_arm_is_left_out_where_nobody_asked_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = tiny();
    let only = |arm: &str| {
        let pipeline = open(&settings, dir.path(), Existing::Resume, StopFlag::default())?;
        pipeline.run_arms(&[arm.to_owned()])
    };
    only("looped_vanilla").unwrap();
    let checkpoint = dir.path().join("looped_vanilla/step-000000004");
    fs::remove_dir_all(checkpoint).unwrap();
    let results = only("ar_baseline").unwrap();
    assert_eq!(results.arms.keys().collect::<Vec<_>>(), ["ar_baseline"]);
    assert!(dir.path().join("report.html").exists());
    let error = only("looped_vanilla").unwrap_err().to_string();
    assert!(error.contains("looped_vanilla"), "{error}");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ".2024-notes.txt",
        ".7-x.json",
        "sub/deep/.7-x.json",
        "thesis.txt",
    ];
    fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
    for number in 0..files.len() {
        // One less each time, so that every kind of file is the reason once.
        for file in &files {
            let _ = fs::remove_file(dir.path().join(file));
        }
        for file in &files[number..] {
            fs::write(dir.path().join(file), "precious").unwrap();
        }
        for existing in [Existing::Refuse, Existing::Resume, Existing::Update] {
            let error = run(&tiny(), dir.path(), existing).unwrap_err();
            assert!(matches!(error, PipelineError::Foreign { .. }), "{error}");
            assert!(
                files[number..]
                    .iter()
                    .all(|file| dir.path().join(file).exists())
            );
            assert!(!dir.path().join("lock").exists());
        }
    }
}

#[test]
fn an_altered_checkpoint_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let settings = tiny();
    run(&settings, dir.path(), Existing::Refuse).unwrap();
    for entry in fs::read_dir(dir.path().join("looped_aligned")).unwrap() {
        let file = entry.unwrap().path().join("model.safetensors");
        if let Ok(mut bytes) = fs::read(&file) {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(&file, bytes).unwrap();
        }
    }
    fs::remove_file(dir.path().join("chains/done.json")).unwrap();
    let error = run(&settings, dir.path(), Existing::Resume)
        .unwrap_err()
        .to_string();
    assert!(error.contains("looped_aligned"), "{error}");
}
