//! Damaged, foreign and missing checkpoints.

use std::{fs, path::Path};

use crate::common::*;
use relay_tasks::Codec;
use relay_train::{
    OptimizerConfig, Resume, StopFlag, TrainConfig, TrainError, load_model, read_manifest,
};

type Plain = burn::backend::Flex;

fn trained(dir: &Path) {
    run::<Flex>(
        &trainer(config(OptimizerConfig::muon(0.02)), dir),
        &StopFlag::new(),
    )
    .unwrap();
}

fn load(dir: &Path) -> Result<relay_models::LoopedTransformer<Plain>, TrainError> {
    let config = looped(0.1);
    load_model::<Plain, _>(
        dir,
        config.init(&Default::default(), 0),
        &codec(),
        &settings(&config),
    )
}

#[test]
fn the_newest_good_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path());
    let (old, new) = (
        dir.path().join("step-000000009"),
        dir.path().join("step-000000012"),
    );
    assert!(
        old.exists() && !dir.path().join("step-000000006").exists(),
        "the last two are kept"
    );
    assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 12);

    let whole: Vec<(std::path::PathBuf, Vec<u8>)> = fs::read_dir(&new)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    assert_eq!(whole.len(), 4);
    for (path, bytes) in &whole {
        let mut altered = bytes.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        for damage in [
            Some(&bytes[..bytes.len() - 1]),
            Some(&bytes[..0]),
            Some(&altered),
            None,
        ] {
            match damage {
                Some(damage) => fs::write(path, damage).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            assert_eq!(
                read_manifest(dir.path()).unwrap().counters.step,
                9,
                "{}",
                path.display()
            );
            assert!(load(dir.path()).is_ok());
            fs::write(path, bytes).unwrap();
        }
    }
    assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 12);
    // Going on from the older one replaces the damaged one by the same again.
    fs::write(new.join("model.safetensors"), b"x").unwrap();
    trained(dir.path());
    for (path, bytes) in &whole {
        assert!(
            path.ends_with("manifest.json") || fs::read(path).unwrap() == *bytes,
            "{}",
            path.display()
        );
    }
}

#[test]
fn a_renamed_copy_and_left_overs_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path());
    fs::rename(
        dir.path().join("step-000000009"),
        dir.path().join("step-000000099"),
    )
    .unwrap();
    assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 12);
    let one = dir.path().join("step-000000012");
    assert_eq!(read_manifest(&one).unwrap().counters.step, 12);
    assert!(load(&one).is_ok());
    fs::create_dir(dir.path().join(".partial-step-000000013")).unwrap();
    trained(dir.path());
    assert!(!dir.path().join(".partial-step-000000013").exists());
}

#[test]
fn without_a_good_one_nothing_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path());
    for step in [9, 12] {
        fs::remove_file(
            dir.path()
                .join(format!("step-{step:09}/optimizer.safetensors")),
        )
        .unwrap();
    }
    let error = run::<Flex>(
        &trainer(config(OptimizerConfig::muon(0.02)), dir.path()),
        &StopFlag::new(),
    )
    .unwrap_err();
    assert!(matches!(&error, TrainError::NoCheckpoint { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("step-000000009: optimizer.safetensors: "),
        "{error}"
    );
}

#[test]
fn other_settings_are_named() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path());
    let other = TrainConfig {
        learning_rate: 1e-3,
        ..config(OptimizerConfig::muon(0.02))
    };
    let error = run::<Flex>(&trainer(other, dir.path()), &StopFlag::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("training.learning_rate is 0.003 there and 0.001 here"),
        "{error}"
    );

    let model = looped(0.2);
    let error = load_model::<Plain, _>(
        dir.path(),
        model.init(&Default::default(), 0),
        &codec(),
        &settings(&model),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("model.transformer.dropout is 0.1"),
        "{error}"
    );

    let other = Codec::for_tasks(&tasks()[..1]).unwrap();
    let model = looped(0.1);
    let error = load_model::<Plain, _>(
        dir.path(),
        model.init(&Default::default(), 0),
        &other,
        &settings(&model),
    )
    .unwrap_err();
    assert!(matches!(error, TrainError::Task(_)), "{error}");
}

#[test]
fn fresh_runs_keep_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path());
    let trainer = trainer::<Flex>(config(OptimizerConfig::muon(0.02)), dir.path());
    let model = looped(0.1).init(&Default::default(), 3);
    let source = Box::new(source(relay_train::Batching::Mixed { samples: 2 }));
    let error = trainer
        .run(model, source, &[], Resume::Fresh, &StopFlag::new())
        .unwrap_err();
    assert!(matches!(error, TrainError::NotEmpty { .. }), "{error}");
}

#[test]
fn an_empty_directory_has_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        load(dir.path()).unwrap_err(),
        TrainError::NoCheckpoint { .. }
    ));
    assert!(matches!(
        load(&dir.path().join("missing")).unwrap_err(),
        TrainError::NoCheckpoint { .. }
    ));
}

#[test]
fn one_too_many_is_removed_on_going_on() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    trained(dir.path());
    let killed = trainer::<Flex>(config(OptimizerConfig::muon(0.02)), other.path()).kill_after(6);
    assert!(run(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
    // As a kill after the last checkpoint, but before the removal of an older one, would leave it.
    let surplus = dir.path().join("step-000000006");
    fs::rename(other.path().join("step-000000006"), &surplus).unwrap();
    trained(dir.path());
    assert!(!surplus.exists() && dir.path().join("step-000000009").exists());
}
