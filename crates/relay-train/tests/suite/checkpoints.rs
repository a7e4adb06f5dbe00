//! Damaged, foreign and missing checkpoints.

use std::{fs, path::Path};

use crate::common::*;
use relay_train::{
    Batching, Checkpoint, Curriculum, ExampleListSource, ExampleSource, OptimizerConfig, Resume,
    StopFlag, TaskSource, TrainError, list_checkpoints, load_model, read_manifest, save_model,
    write_causal_chains, write_looped_chains,
};

type Plain = burn::backend::Flex;

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
fn a_model_needs_no_run() {
    let (dir, new) = trained();
    let device = Default::default();
    for place in [dir.path(), &new] {
        let checkpoint = Checkpoint::open(place).unwrap();
        assert_eq!(checkpoint.manifest().counters.step, 12);
        let model = checkpoint.looped::<Plain>(&device).unwrap();
        let write = |model: &_| write_looped_chains(model, &examples(), &device).unwrap();
        assert_eq!(write(&model), write(&load(place).unwrap()));
        let error = checkpoint.causal::<Plain>(&device).unwrap_err().to_string();
        assert!(error.contains("no auto-regressive model"), "{error}");
    }

    // From a training loop of one's own.
    let config = causal(0.0);
    let model = config.init::<Plain>(&device, 7);
    let place = dir.path().join("mine");
    let described = serde_json::to_value(&config).unwrap();
    save_model(&place, &model, described.clone(), &codec()).unwrap();
    let found = Checkpoint::open(&place).unwrap();
    let write = |model: &_| write_causal_chains(model, &examples(), &codec(), &device).unwrap();
    assert_eq!(write(&found.causal(&device).unwrap()), write(&model));
    assert_eq!(found.manifest().codec, codec());
    let error = found.looped::<Plain>(&device).unwrap_err().to_string();
    assert!(
        error.contains("mine") && error.contains("is missing"),
        "{error}"
    );
    let error = save_model(&place, &model, described, &codec()).unwrap_err();
    assert!(error.to_string().contains("not there yet"), "{error}");
    let error = run_by_muon(&place).unwrap_err().to_string();
    assert!(error.contains("within a checkpoint"), "{error}");
}

#[test]
fn the_newest_good_one_is_taken() {
    let (dir, new) = trained();
    let old = dir.path().join("step-000000009");
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
    run_by_muon(dir.path()).unwrap();
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
    let (dir, one) = trained();
    fs::rename(
        dir.path().join("step-000000009"),
        dir.path().join("step-000000099"),
    )
    .unwrap();
    assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 12);
    assert_eq!(read_manifest(&one).unwrap().counters.step, 12);
    assert!(load(&one).is_ok());
    fs::create_dir(dir.path().join(".partial-step-000000013")).unwrap();
    run_by_muon(dir.path()).unwrap();
    assert!(!dir.path().join(".partial-step-000000013").exists());
}

#[test]
fn without_a_good_one_nothing_starts_anew() {
    let (dir, _) = trained();
    for step in [9, 12] {
        fs::remove_file(
            dir.path()
                .join(format!("step-{step:09}/optimizer.safetensors")),
        )
        .unwrap();
    }
    let error = run_by_muon(dir.path()).unwrap_err();
    assert!(matches!(&error, TrainError::NoCheckpoint { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("step-000000009: optimizer.safetensors: "),
        "{error}"
    );
}

#[test]
fn a_directory_is_for_one_training() {
    let (dir, _) = trained();
    let held = relay_train::lock(dir.path()).unwrap();
    let error = run_by_muon(dir.path()).unwrap_err();
    assert!(
        matches!(&error, TrainError::Locked { path } if path == dir.path()),
        "{error}"
    );
    drop(held);
    run_by_muon(dir.path()).unwrap();
}

/// Over several epochs of a list, and with lengths that open one by one.
#[test]
fn the_auto_regressive_model_ends_the_same_after_a_kill() {
    let late = Curriculum {
        steps: 9,
        ..Curriculum::default()
    };
    let three = || Batching::Mixed { samples: 3 };
    let list = || ExampleListSource::new(examples(), three(), 1).unwrap();
    let drawn = || {
        let lengths = vec![1..=3, 4..=7];
        TaskSource::new(tasks(), lengths, codec(), three(), Some(late.clone()), 1).unwrap()
    };
    let sources: [&dyn Fn() -> Box<dyn ExampleSource>; 2] =
        [&|| Box::new(list()), &|| Box::new(drawn())];
    for source in sources {
        let go = |dir: &Path, kill| {
            let config = config(OptimizerConfig::muon(0.02));
            let (causal, device) = (causal(0.1), Default::default());
            let trainer = trainer_by(next_token(), &causal, config, dir).kill_after(kill);
            let model = causal.init::<Flex>(&device, 3);
            let stop = StopFlag::new();
            trainer.run(
                model,
                source().as_ref(),
                &examples(),
                Resume::Continue,
                &stop,
            )
        };
        let made = |dir: &Path| {
            let metrics = fs::read(dir.join("metrics.jsonl")).unwrap();
            (saved(dir, 12, "model.safetensors"), metrics)
        };
        let whole = tempfile::tempdir().unwrap();
        go(whole.path(), u64::MAX).unwrap();
        for kill in [2, 7, 9] {
            let dir = tempfile::tempdir().unwrap();
            assert!(go(dir.path(), kill).unwrap_err().is_interrupted());
            go(dir.path(), u64::MAX).unwrap();
            assert!(
                made(dir.path()) == made(whole.path()),
                "killed after {kill}"
            );
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_not_kept_for_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let killed = |step| {
        let trainer = trainer(config(OptimizerConfig::adamw()), dir.path()).kill_after(step);
        let error = run::<Flex>(&trainer, &StopFlag::new()).unwrap_err();
        assert!(error.is_interrupted(), "{error}");
    };
    killed(8);
    // What a stop after step 7 had left, with a manifest that is not its own.
    let place = |step: u64| dir.path().join(format!("step-{step:09}"));
    fs::rename(place(6), place(7)).unwrap();
    killed(10);
    let there = list_checkpoints(dir.path()).unwrap().into_iter();
    assert_eq!(there.map(|(step, _)| step).collect::<Vec<_>>(), [9, 6]);
}

#[test]
fn a_run_within_a_checkpoint_is_refused() {
    let (dir, _) = trained();
    let within = dir.path().join("step-000000009");
    let trainer = trainer(config(OptimizerConfig::muon(0.02)), &within);
    let error = run::<Flex>(&trainer, &StopFlag::new()).unwrap_err();
    let right = "name the directory that it lies in";
    assert!(error.to_string().contains(right), "{error}");
}

#[test]
fn fresh_runs_keep_what_is_there() {
    let (dir, _) = trained();
    let trainer = trainer::<Flex>(config(OptimizerConfig::muon(0.02)), dir.path());
    let model = looped(0.1).init(&Default::default(), 3);
    let source = source(Batching::Mixed { samples: 2 });
    let error = trainer
        .run(model, &source, &[], Resume::Fresh, &StopFlag::new())
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
    let ((dir, _), other) = (trained(), tempfile::tempdir().unwrap());
    let killed = trainer::<Flex>(config(OptimizerConfig::muon(0.02)), other.path()).kill_after(6);
    assert!(run(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
    // As a kill after the last checkpoint, but before the removal of an older one, would leave it.
    let surplus = dir.path().join("step-000000006");
    fs::rename(other.path().join("step-000000006"), &surplus).unwrap();
    run_by_muon(dir.path()).unwrap();
    assert!(!surplus.exists() && dir.path().join("step-000000009").exists());
}
