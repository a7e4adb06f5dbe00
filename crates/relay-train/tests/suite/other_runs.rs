//! Checkpoints of another run are refused, and what differs is named.

use std::fs;

use crate::common::*;
use relay_tasks::Codec;
use relay_train::{
    Batching, Curriculum, ExampleListSource, LoopedObjective, OptimizerConfig, Resume, StopFlag,
    TaskSource, TrainConfig, TrainError, load_model,
};

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
    let error = load_model::<burn::backend::Flex, _>(
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
    let error = load_model::<burn::backend::Flex, _>(
        dir.path(),
        model.init(&Default::default(), 0),
        &other,
        &settings(&model),
    )
    .unwrap_err();
    assert!(matches!(error, TrainError::Task(_)), "{error}");
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
        let config = config(OptimizerConfig::muon(0.02));
        let trainer = trainer_by::<Flex, _>(objective, &model, config, dir.path());
        let source = source(Batching::Mixed { samples: 6 });
        let (model, stop) = (model.init(&Default::default(), 3), StopFlag::new());
        let ended = trainer.run(model, &source, &examples(), Resume::Continue, &stop);
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
    let go_on = |source: &TaskSource| {
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
        let error = go_on(&source).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    assert_eq!(go_on(&other(six, None)).unwrap().steps, 12);
}

#[test]
fn a_list_of_examples_is_known_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = || config(OptimizerConfig::muon(0.02));
    let go_on = |trainer: relay_train::Trainer<Flex, _>, examples: Vec<_>| {
        let list = ExampleListSource::new(examples, Batching::Mixed { samples: 3 }, 1).unwrap();
        let model = looped(0.1).init(&Default::default(), 3);
        let stop = StopFlag::new();
        trainer.run(model, &list, &[], Resume::Continue, &stop)
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
