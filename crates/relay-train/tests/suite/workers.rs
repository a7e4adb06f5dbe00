//! Several devices make the update of one. Here they are several threads on the one CPU.

use std::{collections::BTreeSet, path::Path, sync::Mutex, thread};

use crate::common::*;
use burn::tensor::backend::AutodiffBackend;
use relay_models::{DropoutKey, LoopedTransformer};
use relay_tasks::Example;
use relay_train::{
    Batching, InnerModel, LossParts, Objective, OptimizerConfig, Result, Resume, StopFlag,
    TrainConfig, TrainError, Trained,
};
use serde_json::Value;

/// Who adds up.
#[derive(Clone, Copy, PartialEq)]
enum Sums {
    FirstWorker,
    Collective,
}

use Sums::{Collective, FirstWorker};

/// A run of this many workers, without dropout.
fn train<B: AutodiffBackend>(
    (workers, sums): (usize, Sums),
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
    let trainer = trainer_by::<B, _>(aligned(), &model, config, dir)
        .more_devices(vec![device.clone(); workers - 1])
        .collective(sums == Collective);
    let trainer = match kill_after {
        Some(step) => trainer.kill_after(step),
        None => trainer,
    };
    let source = source(Batching::Mixed { samples: 13 });
    let model = model.init::<B>(&device, 3);
    trainer.run(model, &source, &[], Resume::Continue, &StopFlag::new())
}

fn many_make_the_updates_of_one<B: AutodiffBackend>(sums: Sums, optimizer: OptimizerConfig) {
    let place = tempfile::tempdir().unwrap();
    let one = place.path().join("1");
    let right = train::<B>((1, sums), optimizer.clone(), &one, None).unwrap();
    // With 20 workers some have nothing to do.
    for workers in [2, 3, 20] {
        let dir = place.path().join(workers.to_string());
        let found = train::<B>((workers, sums), optimizer.clone(), &dir, None).unwrap();
        let what = format!("{workers} workers");
        near(&weights(&right.model), &weights(&found.model), &what);
        assert_eq!((found.samples, found.effort), (right.samples, right.effort));
        let (expected, told) = (lines(&one, "train"), lines(&dir, "train"));
        assert_eq!(expected.len(), told.len(), "{what}");
        for (a, b) in expected.iter().zip(&told) {
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
    many_make_the_updates_of_one::<Flex>(FirstWorker, OptimizerConfig::adamw());
    many_make_the_updates_of_one::<Flex>(FirstWorker, OptimizerConfig::muon(0.02));
    many_make_the_updates_of_one::<NdArray>(FirstWorker, OptimizerConfig::adamw());
}

#[test]
fn so_they_do_by_the_collective_layer() {
    let _alone = the_layer();
    many_make_the_updates_of_one::<Flex>(Collective, OptimizerConfig::adamw());
    many_make_the_updates_of_one::<Flex>(Collective, OptimizerConfig::muon(0.02));
    // The layer has a thread for each processor, and needs one for each backend.
    if thread::available_parallelism().unwrap().get() > 1 {
        many_make_the_updates_of_one::<NdArray>(Collective, OptimizerConfig::adamw());
        many_make_the_updates_of_one::<NdArray>(Collective, OptimizerConfig::muon(0.02));
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_workers() {
    let place = tempfile::tempdir().unwrap();
    let adamw = OptimizerConfig::adamw;
    let one = place.path().join("1");
    let whole = train::<Flex>((1, FirstWorker), adamw(), &one, None).unwrap();
    let dir = place.path().join("2");
    let killed = train::<Flex>((2, FirstWorker), adamw(), &dir, Some(5)).unwrap_err();
    assert!(killed.is_interrupted());
    let found = train::<Flex>((3, FirstWorker), adamw(), &dir, None).unwrap();
    near(&weights(&whole.model), &weights(&found.model), "resumed");
}

/// The usual objective, but that something happens before it computes, and that it may name another task.
#[derive(Debug)]
struct Before {
    before: fn(DropoutKey),
    task: Option<usize>,
}

impl Objective<Flex> for Before {
    type Model = LoopedTransformer<Flex>;
    type Batch = relay_train::LoopedMicroBatch;

    fn name(&self) -> &str {
        "before"
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
        (self.before)(key);
        let parts = aligned().loss(model, batch, key, device);
        let task = self.task.unwrap_or(parts.task);
        LossParts { task, ..parts }
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

/// How a run of this many workers ends if this happens before they compute, and what it learnt.
fn train_with(before: fn(DropoutKey), shared: (usize, Sums), dir: &Path) -> Result<Vec<f32>> {
    train_on(Before { before, task: None }, shared, dir)
}

fn train_on(objective: Before, (workers, sums): (usize, Sums), dir: &Path) -> Result<Vec<f32>> {
    let model = looped(0.0);
    let device = Default::default();
    let config = config(OptimizerConfig::adamw());
    let trainer = trainer_by::<Flex, _>(objective, &model, config, dir)
        .more_devices(vec![device; workers - 1])
        .collective(sums == Collective);
    let source = source(Batching::Mixed { samples: 13 });
    let model = model.init(&device, 3);
    let trained = trainer.run(model, &source, &[], Resume::Fresh, &StopFlag::new())?;
    Ok(weights(&trained.model))
}

/// Fails on the second of two workers, or of four.
fn fail_on_second(key: DropoutKey) {
    assert!(key.batch % 4 != 1, "no memory left");
}

fn ends_with_the_reason(workers: usize, sums: Sums) {
    let dir = tempfile::tempdir().unwrap();
    let error = train_with(fail_on_second, (workers, sums), dir.path()).unwrap_err();
    assert!(
        matches!(error, TrainError::Worker { rank: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("no memory left"), "{error}");
    // Nothing is learnt yet. Later no update is lost but the one that failed.
    let saved = |dir: &Path| relay_train::list_checkpoints(dir).unwrap().len();
    assert_eq!(saved(dir.path()), 0);
    let later = |key: DropoutKey| {
        if key.step == 2 {
            fail_on_second(key);
        }
    };
    train_with(later, (workers, sums), dir.path()).unwrap_err();
    assert!(dir.path().join("step-000000002").exists());
    assert_eq!(saved(dir.path()), 1);
}

#[test]
fn a_worker_that_fails_ends_the_run_with_its_reason() {
    ends_with_the_reason(2, FirstWorker);
    ends_with_the_reason(4, FirstWorker);
}

#[test]
fn so_it_does_with_the_collective_layer_and_another_run_can_have_it() {
    let _alone = the_layer();
    let place = tempfile::tempdir().unwrap();
    let dir = |name: &str| place.path().join(name);
    let right = train_with(drop, (1, FirstWorker), &dir("one")).unwrap();
    for workers in [2, 4] {
        ends_with_the_reason(workers, Collective);
        let found = train_with(drop, (workers, Collective), &dir(&workers.to_string())).unwrap();
        near(&right, &found, "after a failure");
    }
    // On the thread of the first worker, and so of the run.
    let fail = |key: DropoutKey| {
        assert!(
            key.step < 2 || !key.batch.is_multiple_of(4),
            "no memory left"
        )
    };
    let failed = thread::scope(|scope| {
        let run = || train_with(fail, (4, Collective), &dir("first"));
        scope.spawn(run).join()
    });
    assert!(failed.is_err());
    let found = train_with(drop, (4, Collective), &dir("again")).unwrap();
    near(&right, &found, "after a panic");
}

#[test]
fn the_collective_layer_serves_one_run_at_a_time() {
    let _alone = the_layer();
    let place = tempfile::tempdir().unwrap();
    let begin_another = |key: DropoutKey| {
        let place = tempfile::tempdir().unwrap();
        let another = train_with(drop, (2, Collective), &place.path().join("refused"));
        let error = another.unwrap_err().to_string();
        let right = "`collective` is true: it must be false while another run";
        assert!(error.contains(right), "{error}");
        if key.step == 0 && key.batch == 0 {
            train_with(drop, (2, FirstWorker), &place.path().join("good")).unwrap();
        }
    };
    train_with(begin_another, (2, Collective), &place.path().join("first")).unwrap();
}

#[test]
fn a_loss_of_a_task_that_there_is_not_ends_the_run() {
    let place = tempfile::tempdir().unwrap();
    for workers in [1, 2] {
        let objective = Before {
            before: drop,
            task: Some(2),
        };
        let dir = place.path().join(workers.to_string());
        let error = train_on(objective, (workers, FirstWorker), &dir).unwrap_err();
        let says = "the task of a loss is 2: it must be below 2";
        assert!(error.to_string().contains(says), "{error}");
        // Before anything was saved that would tell of it for ever.
        assert!(relay_train::list_checkpoints(&dir).unwrap().is_empty());
    }
}

/// The keys of the masks that one run had.
static KEYS: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// No two micro-batches of a run have the same masks, be they of one update, of one worker or not.
#[test]
fn every_micro_batch_has_masks_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let note = |key: DropoutKey| KEYS.lock().unwrap().push((key.step, key.batch));
    for workers in [1, 3] {
        KEYS.lock().unwrap().clear();
        let dir = place.path().join(workers.to_string());
        train_with(note, (workers, FirstWorker), &dir).unwrap();
        let keys = KEYS.lock().unwrap();
        let distinct: BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len(), "{workers} workers: {keys:?}");
        let updates: BTreeSet<u64> = keys.iter().map(|(step, _)| *step).collect();
        assert_eq!(updates.len(), 12);
        assert!(keys.len() > 12, "several micro-batches in an update");
    }
}
