//! Several devices make the update of one. Here they are several threads on the one CPU.

use std::{fs, path::Path};

use crate::common::*;
use burn::tensor::backend::AutodiffBackend;
use relay_models::{DropoutKey, LoopedTransformer};
use relay_tasks::Example;
use relay_train::{
    Batching, InnerModel, LossParts, Objective, OptimizerConfig, Result, Resume, StopFlag,
    TrainConfig, TrainError, Trained, Trainer,
};
use serde_json::Value;

/// A run of so many workers, without dropout.
fn train<B: AutodiffBackend>(
    workers: usize,
    optimizer: OptimizerConfig,
    dir: &Path,
    kill_after: Option<u64>,
) -> Result<Trained<LoopedTransformer<B>>> {
    let config = TrainConfig {
        steps: 6,
        log_every: 1,
        validate_every: 0,
        ..config(optimizer)
    };
    let model = looped(0.0);
    let device = B::Device::default();
    let trainer = Trainer::<B, _>::new(
        config,
        aligned(),
        codec(),
        settings(&model),
        device.clone(),
        dir,
    )?
    .more_devices(vec![device.clone(); workers - 1])
    .quiet(true);
    let trainer = match kill_after {
        Some(step) => trainer.kill_after(step),
        None => trainer,
    };
    let source = Box::new(source(Batching::Mixed { samples: 13 }));
    let model = model.init::<B>(&device, 3);
    trainer.run(model, source, &[], Resume::Continue, &StopFlag::new())
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn many_make_the_updates_of_one<B: AutodiffBackend>(optimizer: OptimizerConfig) {
    let place = tempfile::tempdir().unwrap();
    let one = place.path().join("1");
    let right = train::<B>(1, optimizer.clone(), &one, None).unwrap();
    // With 20 workers some have nothing to do.
    for workers in [2, 3, 20] {
        let dir = place.path().join(workers.to_string());
        let found = train::<B>(workers, optimizer.clone(), &dir, None).unwrap();
        let what = format!("{workers} workers");
        near(&weights(&right.model), &weights(&found.model), &what);
        assert_eq!((found.samples, found.effort), (right.samples, right.effort));
        for (a, b) in lines(&one).iter().zip(&lines(&dir)) {
            for number in ["/loss", "/gradient_norm", "/tasks/lis/step_loss"] {
                let [a, b] = [a, b].map(|line| line.pointer(number).unwrap().as_f64().unwrap());
                assert!((a - b).abs() < 1e-3 * a.abs(), "{what}: {number} {a} {b}");
            }
            assert_eq!(a["skipped"], b["skipped"]);
        }
    }
}

#[test]
fn several_workers_make_the_updates_of_one_with_all_samples() {
    many_make_the_updates_of_one::<Flex>(OptimizerConfig::adamw());
    many_make_the_updates_of_one::<Flex>(OptimizerConfig::muon(0.02));
    many_make_the_updates_of_one::<NdArray>(OptimizerConfig::adamw());
}

#[test]
fn a_run_goes_on_with_another_number_of_workers() {
    let place = tempfile::tempdir().unwrap();
    let whole = train::<Flex>(1, OptimizerConfig::adamw(), &place.path().join("1"), None).unwrap();
    let dir = place.path().join("2");
    let killed = train::<Flex>(2, OptimizerConfig::adamw(), &dir, Some(5)).unwrap_err();
    assert!(killed.is_interrupted());
    let found = train::<Flex>(3, OptimizerConfig::adamw(), &dir, None).unwrap();
    near(
        &weights(&whole.model),
        &weights(&found.model),
        "gone on with",
    );
}

/// Panics on every worker but the first.
#[derive(Debug)]
struct Fragile;

impl Objective<Flex> for Fragile {
    type Model = LoopedTransformer<Flex>;
    type Batch = relay_train::LoopedMicroBatch;

    fn name(&self) -> &str {
        "fragile"
    }

    fn settings(&self) -> Value {
        Value::Null
    }

    fn collate(&self, examples: &[Example]) -> Result<Vec<Self::Batch>> {
        Objective::<Flex>::collate(&aligned(), examples)
    }

    fn share(&self, batch: Self::Batch, workers: usize) -> Vec<Option<Self::Batch>> {
        Objective::<Flex>::share(&aligned(), batch, workers)
    }

    fn loss(
        &self,
        model: &Self::Model,
        batch: &Self::Batch,
        key: DropoutKey,
        device: &<Flex as burn::tensor::backend::BackendTypes>::Device,
    ) -> LossParts<Flex> {
        assert!(key.batch.is_multiple_of(2), "no memory left");
        aligned().loss(model, batch, key, device)
    }

    fn write_chains(
        &self,
        model: &InnerModel<Flex, Self>,
        examples: &[Example],
        device: &<Flex as burn::tensor::backend::BackendTypes>::Device,
    ) -> Result<Vec<relay_tasks::Chain>> {
        Objective::<Flex>::write_chains(&aligned(), model, examples, device)
    }
}

#[test]
fn a_worker_that_fails_ends_the_run_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let model = looped(0.0);
    let device = Default::default();
    let trainer = Trainer::<Flex, _>::new(
        config(OptimizerConfig::adamw()),
        Fragile,
        codec(),
        settings(&model),
        device,
        dir.path(),
    )
    .unwrap()
    .more_devices(vec![device])
    .quiet(true);
    let source = Box::new(source(Batching::Mixed { samples: 13 }));
    let model = model.init(&device, 3);
    let ended = trainer.run(model, source, &[], Resume::Fresh, &StopFlag::new());
    let error = ended.unwrap_err();
    assert!(
        matches!(error, TrainError::Worker { rank: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("no memory left"), "{error}");
}
