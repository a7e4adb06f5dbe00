//! Whole small runs.

use std::{fs, sync::Mutex};

use crate::common::*;
use burn::tensor::backend::AutodiffBackend;
use relay_tasks::{Codec, Example};
use relay_train::{
    Batching, CausalObjective, ExampleSource, Objective, OptimizerConfig, Precision, Result,
    Resume, StopFlag, ThreadPart, TrainConfig, TrainError, Trainer,
};
use serde_json::Value;

fn losses(dir: &std::path::Path) -> Vec<f64> {
    lines(dir, "train")
        .iter()
        .map(|line| line["loss"].as_f64().unwrap())
        .collect()
}

fn golden<B: AutodiffBackend>(optimizer: OptimizerConfig) -> (f64, f64) {
    golden_in::<B>(optimizer, Precision::F32)
}

fn golden_in<B: AutodiffBackend>(optimizer: OptimizerConfig, precision: Precision) -> (f64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps: 20,
        learning_rate: 1e-2,
        log_every: 5,
        checkpoint_every: 0,
        average: None,
        precision,
        ..config(optimizer)
    };
    let model = looped(0.0);
    let source = source(Batching::OneLength { tokens: 128 });
    let trained = trainer_by(aligned(), &model, config, dir.path())
        .run(
            model.init::<B>(&Default::default(), 3),
            &source,
            &examples(),
            Resume::Fresh,
            &StopFlag::new(),
        )
        .unwrap();
    assert_eq!((trained.steps, trained.skipped), (20, 0));
    assert!(trained.samples > 100);
    let losses = losses(dir.path());
    (losses[0], losses[3])
}

#[test]
fn products_in_bf16_train_about_as_well() {
    let [exact, rounded] = [Precision::F32, Precision::Bf16]
        .map(|precision| golden_in::<Flex>(OptimizerConfig::adamw(), precision));
    assert_ne!(exact, rounded, "the setting changes nothing");
    for (exact, rounded) in [(exact.0, rounded.0), (exact.1, rounded.1)] {
        assert!((exact - rounded).abs() < 0.02 * exact, "{exact} {rounded}");
    }
}

#[test]
fn a_backend_without_bf16_says_so_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("run");
    let config = TrainConfig {
        precision: Precision::Bf16,
        ..config(OptimizerConfig::adamw())
    };
    let made = Trainer::<NdArray, _>::new(
        config,
        aligned(),
        codec(),
        settings(&looped(0.0)),
        Default::default(),
        &dir,
    );
    let message = made.unwrap_err().to_string();
    assert!(
        message.starts_with("training setting `precision` is bf16: it must be f32 here: "),
        "{message}"
    );
    assert!(!dir.exists());
}

/// Recorded once; a change beyond rounding means that numbers changed.
#[test]
fn twenty_steps_give_the_recorded_losses() {
    let near = |found: (f64, f64), right: (f64, f64)| {
        assert!(
            (found.0 - right.0).abs() < 2e-2 && (found.1 - right.1).abs() < 5e-2,
            "{found:?} {right:?}"
        );
        assert!(found.1 < 0.8 * found.0, "{found:?}");
    };
    near(golden::<Flex>(OptimizerConfig::adamw()), ADAMW);
    near(golden::<NdArray>(OptimizerConfig::adamw()), ADAMW);
    near(golden::<Flex>(OptimizerConfig::muon(0.02)), MUON);
}

const ADAMW: (f64, f64) = (18.341, 10.679);
const MUON: (f64, f64) = (18.415, 10.752);

#[test]
fn the_auto_regressive_model_learns_too() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps: 20,
        learning_rate: 1e-2,
        log_every: 5,
        ..config(OptimizerConfig::adamw())
    };
    let model = causal(0.0);
    let source = source(Batching::Mixed { samples: 8 });
    let examples = &examples()[..2];
    trainer_by::<Flex, _>(next_token(), &model, config, dir.path())
        .run(
            model.init(&Default::default(), 3),
            &source,
            examples,
            Resume::Fresh,
            &StopFlag::new(),
        )
        .unwrap();
    let losses = losses(dir.path());
    assert!(losses[3] < 0.8 * losses[0], "{losses:?}");
    let metrics = fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    assert!(
        metrics.contains("\"kind\":\"valid\"") && metrics.contains("\"answer_accuracy\""),
        "{metrics}"
    );
}

#[derive(Debug)]
struct Broken(bool);

impl ExampleSource for Broken {
    fn examples(&self, step: u64) -> Result<Vec<Example>> {
        match (step, self.0) {
            (0 | 1, _) => Ok(examples()),
            (_, true) => panic!("no more"),
            (_, false) => Ok(vec![Example {
                answer: None,
                ..examples()[0].clone()
            }]),
        }
    }
}

#[test]
fn errors_of_the_loader_arrive() {
    for panics in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let trainer = trainer::<Flex>(config(OptimizerConfig::adamw()), dir.path());
        let model = looped(0.1).init(&Default::default(), 3);
        let error = trainer
            .run(model, &Broken(panics), &[], Resume::Fresh, &StopFlag::new())
            .unwrap_err();
        let expected = if panics {
            "failed at step 2: no more"
        } else {
            "has no answer"
        };
        assert!(error.to_string().contains(expected), "{error}");
        // The two updates before it are not lost.
        let saved = relay_train::list_checkpoints(dir.path()).unwrap();
        assert_eq!(saved, [(2, "step-000000002".to_owned())]);
    }
}

#[test]
fn wrong_settings_are_named() {
    let wrong = |change: fn(&mut TrainConfig)| {
        let mut config = TrainConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert_eq!(
        wrong(|c| c.steps = 0),
        "training setting `steps` is 0: it must be at least 1"
    );
    assert!(wrong(|c| c.learning_rate = f64::NAN).contains("`learning_rate` is NaN"));
    assert!(wrong(|c| c.average = Some(1.0)).contains("`average` is 1"));
    assert!(
        wrong(|c| c.optimizer = OptimizerConfig::muon(-1.0))
            .contains("`optimizer.muon.learning_rate`")
    );
    assert!(wrong(|c| c.keep_last = 0).contains("`keep_last`"));
    let wide = wrong(|c| c.width_multiple = 1 << 42);
    assert!(
        wide.contains("`width_multiple`") && wide.contains("at most 4096"),
        "{wide}"
    );
    let text = r#"{"steps": 3, "optimiser": "adamw"}"#;
    assert!(
        serde_json::from_str::<TrainConfig>(text)
            .unwrap_err()
            .to_string()
            .contains("unknown field `optimiser`")
    );
    let text = serde_json::to_string(&config(OptimizerConfig::muon(0.02))).unwrap();
    assert_eq!(
        serde_json::from_str::<TrainConfig>(&text).unwrap(),
        config(OptimizerConfig::muon(0.02))
    );

    let dir = tempfile::tempdir().unwrap();
    let mut small = looped(0.0);
    small.transformer.vocab = 5;
    let other = Codec::for_tasks(&tasks()[..1]).unwrap();
    let made = Trainer::<Flex, _>::new(
        TrainConfig::default(),
        aligned(),
        other,
        Value::Null,
        Default::default(),
        dir.path(),
    );
    assert!(matches!(made.unwrap_err(), TrainError::Task(_)));
    let mut headless = looped(0.0);
    headless.step_head = false;
    for (config, wrong) in [
        (small, "`transformer.vocab` is 5"),
        (headless, "`step_head` is false"),
    ] {
        let trainer = trainer::<Flex>(TrainConfig::default(), dir.path());
        let (model, source) = (
            config.init(&Default::default(), 1),
            source(Batching::Mixed { samples: 6 }),
        );
        let stop = StopFlag::new();
        let run = trainer.run(model, &source, &[], Resume::Fresh, &stop);
        let error = run.unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
    }
    let mut foreign = examples();
    let vocab = codec().vocab.len();
    foreign[1].steps[0][0] = vocab as u32;
    for error in [
        Objective::<Flex>::collate(&aligned(), &foreign).unwrap_err(),
        Objective::<Flex>::collate(&next_token(), &foreign).unwrap_err(),
    ] {
        let right = format!("a token of example 1 is {vocab}: it must be below {vocab}");
        assert!(error.to_string().contains(&right), "{error}");
    }
    let objective = CausalObjective {
        task_weights: vec![1.0],
        ..next_token()
    };
    let error = Objective::<Flex>::collate(&objective, &examples()).unwrap_err();
    assert!(
        error.to_string().contains("`task_weights` is [1.0]"),
        "{error}"
    );
}

/// What runs beside a run changes nothing of it, nor does its end.
#[test]
fn a_run_that_gets_more_threads_on_its_way_computes_the_same() {
    let (alone, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run_by_muon(alone.path()).unwrap();
    let threads = rayon::ThreadPoolBuilder::new().num_threads(4);
    let mut parts = threads
        .build()
        .unwrap()
        .install(|| ThreadPart::divide(3))
        .unwrap();
    let part = parts.pop().unwrap();
    let others = Mutex::new(parts);
    let trainer = trainer::<Flex>(config(OptimizerConfig::muon(0.02)), beside.path());
    // One ends after 4 updates, the other after 8.
    let trainer = trainer.on_metrics(move |line| {
        if line["kind"] == "train" {
            others.lock().unwrap().pop();
        }
    });
    part.run(|| run(&trainer, &StopFlag::new())).unwrap();
    assert!(end(alone.path()) == end(beside.path()));
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let made = Trainer::<Flex, _>::new(
        TrainConfig::default(),
        aligned(),
        codec(),
        Value::Null,
        Default::default(),
        &file.join("run"),
    );
    assert!(matches!(made.unwrap_err(), TrainError::Io { .. }));
}
