//! Damaged, foreign and missing checkpoints.

use std::{fs, path::Path};

use crate::common::*;
use relay_tasks::Codec;
use relay_train::{
    Batching, Checkpoint, Curriculum, ExampleListSource, ExampleSource, LoopedObjective,
    OptimizerConfig, Resume, StopFlag, TaskSource, TrainConfig, TrainError, Trainer,
    list_checkpoints, load_model, read_manifest, save_model, write_causal_chains,
    write_looped_chains,
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
    assert!(matches!(error, TrainError::NotEmpty { .. }), "{error}");
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
fn other_settings_are_named() {
    let (dir, _) = trained();
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

#[test]
fn a_run_does_not_go_on_with_another_objective() {
    let (dir, newest) = trained();
    let before = fs::read(newest.join("manifest.json")).unwrap();
    let usual = aligned();
    for (objective, named) in [
        (
            LoopedObjective {
                lambda: 0.8,
                ..usual.clone()
            },
            "objective.lambda is 0.7 there and 0.8 here",
        ),
        (
            LoopedObjective {
                task_weights: vec![1.0, 3.0],
                ..usual.clone()
            },
            "objective.task_weights[1] is 2.0 there and 3.0 here",
        ),
        (
            LoopedObjective {
                aligned: false,
                ..usual.clone()
            },
            "objective.aligned is true there and false here",
        ),
        (
            LoopedObjective {
                limits: limits(7),
                ..usual
            },
            "objective.limits.max_samples is 8 there and 7 here",
        ),
    ] {
        let model = looped(0.1);
        let trainer = Trainer::<Flex, _>::new(
            config(OptimizerConfig::muon(0.02)),
            objective,
            codec(),
            settings(&model),
            Default::default(),
            dir.path(),
        );
        let trainer = trainer.unwrap().quiet(true);
        let source = Box::new(source(Batching::Mixed { samples: 6 }));
        let (model, stop) = (model.init(&Default::default(), 3), StopFlag::new());
        let ended = trainer.run(model, source, &examples(), Resume::Continue, &stop);
        let error = ended.unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    assert_eq!(fs::read(newest.join("manifest.json")).unwrap(), before);
}

#[test]
fn a_run_does_not_go_on_with_other_data() {
    let dir = tempfile::tempdir().unwrap();
    let of = |tasks, batching, curriculum| {
        let lengths = vec![1..=3, 4..=7];
        TaskSource::new(tasks, lengths, codec(), batching, curriculum, 1).unwrap()
    };
    let other = |batching, curriculum| of(tasks(), batching, curriculum);
    let six = Batching::Mixed { samples: 6 };
    let killed = trainer::<Flex>(config(OptimizerConfig::muon(0.02)), dir.path()).kill_after(7);
    let error = run::<Flex>(&killed, &StopFlag::new()).unwrap_err();
    assert!(error.is_interrupted(), "{error}");
    let trainer = trainer::<Flex>(config(OptimizerConfig::muon(0.02)), dir.path());
    let go_on = |source| {
        let model = looped(0.1).init(&Default::default(), 3);
        let stop = StopFlag::new();
        trainer.run(model, source, &examples(), Resume::Continue, &stop)
    };
    let late = Curriculum {
        steps: 9,
        ..Curriculum::default()
    };
    for (source, named) in [
        (
            other(Batching::Mixed { samples: 5 }, None),
            "data.batching.mixed.samples is 6 there and 5 here",
        ),
        (
            other(six.clone(), Some(late)),
            "data.curriculum is null there and {",
        ),
        (
            of(tasks_with_runs([1, 1]), six.clone(), None),
            "data.drawing.lis.runs[1] is 3 there and 1 here",
        ),
    ] {
        let error = go_on(Box::new(source)).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    assert_eq!(go_on(Box::new(other(six, None))).unwrap().steps, 12);
}

#[test]
fn a_list_of_examples_is_known_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = || config(OptimizerConfig::muon(0.02));
    let go_on = |trainer: relay_train::Trainer<Flex, _>, examples: Vec<_>| {
        let list = ExampleListSource::new(examples, Batching::Mixed { samples: 3 }, 1).unwrap();
        let model = looped(0.1).init(&Default::default(), 3);
        let stop = StopFlag::new();
        trainer.run(model, Box::new(list), &[], Resume::Continue, &stop)
    };
    let killed = trainer(config(), dir.path()).kill_after(4);
    assert!(go_on(killed, examples()).unwrap_err().is_interrupted());
    let mut other = examples();
    other[5].steps[0].swap(0, 1);
    let error = go_on(trainer(config(), dir.path()), other).unwrap_err();
    assert!(error.to_string().contains("data.hash is"), "{error}");
    let trained = go_on(trainer(config(), dir.path()), examples()).unwrap();
    assert_eq!(trained.steps, 12);
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
            let settings = serde_json::to_value(&causal).unwrap();
            let trainer = Trainer::new(config, next_token(), codec(), settings, device, dir);
            let trainer = trainer.unwrap().quiet(true).kill_after(kill);
            let model = causal.init::<Flex>(&device, 3);
            let stop = StopFlag::new();
            trainer.run(model, source(), &examples(), Resume::Continue, &stop)
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
    let source = Box::new(source(Batching::Mixed { samples: 2 }));
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
    let ((dir, _), other) = (trained(), tempfile::tempdir().unwrap());
    let killed = trainer::<Flex>(config(OptimizerConfig::muon(0.02)), other.path()).kill_after(6);
    assert!(run(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
    // As a kill after the last checkpoint, but before the removal of an older one, would leave it.
    let surplus = dir.path().join("step-000000006");
    fs::rename(other.path().join("step-000000006"), &surplus).unwrap();
    run_by_muon(dir.path()).unwrap();
    assert!(!surplus.exists() && dir.path().join("step-000000009").exists());
}
