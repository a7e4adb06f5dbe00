//! Numbers that go wrong: skipped, gone back from, reported, and all of it the same after a kill or a stop.

use std::{fs, path::Path, sync::Mutex};

use crate::common::*;
use relay_models::{DropoutKey, LoopedTransformer};
use relay_tasks::{Chain, Example};
use relay_train::{
    Batching, InnerModel, LoopedObjective, LossParts, Objective, OptimizerConfig, Recovery, Result,
    Resume, StopFlag, TrainConfig, TrainError, Trained, Trainer,
};
use serde_json::Value;

/// The looped objective, which goes wrong from a step on where the weights have become too large.
struct Fragile {
    objective: LoopedObjective,
    /// Update from which it can go wrong.
    from: u64,
    /// Largest weight that it bears; above it the loss is multiplied by `spoil`.
    limit: f32,
    spoil: f32,
    /// Set in the update of this number.
    stop: Option<(u64, StopFlag)>,
    /// Largest weight that each update met.
    met: Mutex<Vec<f32>>,
}

impl Fragile {
    fn new(from: u64, limit: f32, spoil: f32) -> Self {
        Self {
            objective: aligned(),
            from,
            limit,
            spoil,
            stop: None,
            met: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for Fragile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fragile")
    }
}

impl Objective<Flex> for Fragile {
    type Model = LoopedTransformer<Flex>;
    type Batch = <LoopedObjective as Objective<Flex>>::Batch;

    fn name(&self) -> &str {
        "fragile"
    }

    fn settings(&self) -> Value {
        Value::Null
    }

    fn collate(&self, examples: &[Example]) -> Result<Vec<Self::Batch>> {
        Objective::<Flex>::collate(&self.objective, examples)
    }

    fn loss(
        &self,
        model: &Self::Model,
        batch: &Self::Batch,
        key: DropoutKey,
        device: &burn_flex::FlexDevice,
    ) -> LossParts<Flex> {
        let mut parts = self.objective.loss(model, batch, key, device);
        let weights = model.head_answer.weight.val().into_data();
        let largest = weights.iter::<f32>().fold(0.0, |a: f32, b| a.max(b.abs()));
        self.met.lock().unwrap().push(largest);
        if key.step >= self.from && largest > self.limit {
            parts.total = parts.total.mul_scalar(self.spoil);
        }
        if let Some((step, flag)) = &self.stop
            && key.step == *step
        {
            flag.set();
        }
        parts
    }

    fn write_chains(
        &self,
        model: &InnerModel<Flex, Self>,
        examples: &[Example],
        device: &burn_flex::FlexDevice,
    ) -> Result<Vec<Chain>> {
        Objective::<Flex>::write_chains(&self.objective, model, examples, device)
    }
}

/// Rates so high that weights grow fast, and so low after going back that they stay.
fn settings_with(recovery: Recovery) -> TrainConfig {
    TrainConfig {
        learning_rate: 0.3,
        recovery,
        ..config(OptimizerConfig::adamw())
    }
}

fn recovery(retries: u64) -> Recovery {
    Recovery {
        patience: 3,
        retries,
        rate_factor: 1e-3,
        ..Recovery::default()
    }
}

fn trainer_of(objective: Fragile, config: TrainConfig, dir: &Path) -> Trainer<Flex, Fragile> {
    let model = settings(&looped(0.1));
    Trainer::new(config, objective, codec(), model, Default::default(), dir)
        .unwrap()
        .quiet(true)
}

fn go(
    trainer: &Trainer<Flex, Fragile>,
    stop: &StopFlag,
) -> Result<Trained<LoopedTransformer<Flex>>> {
    let model = looped(0.1).init(&Default::default(), 3);
    let source = Box::new(source(Batching::OneLength { tokens: 64 }));
    trainer.run(model, source, &examples(), Resume::Continue, stop)
}

/// A largest weight between that of the checkpoint after update 3 and that which the update after 5 meets.
fn limit() -> f32 {
    let met = |updates: u64| {
        let dir = tempfile::tempdir().unwrap();
        let (objective, config) = (
            Fragile::new(99, 0.0, 1.0),
            settings_with(Recovery::default()),
        );
        let trainer = trainer_of(objective, config, dir.path()).kill_after(updates + 1);
        assert!(go(&trainer, &StopFlag::new()).unwrap_err().is_interrupted());
        *trainer.objective().met.lock().unwrap().last().unwrap()
    };
    let (before, after) = (met(3), met(5));
    assert!(before < 0.9 * after, "{before} {after}");
    (before + after) / 2.0
}

/// Weights, averages and moments at the end, and the metrics.
fn end(dir: &Path) -> (Vec<Vec<u8>>, String) {
    let files = [
        "model.safetensors",
        "weights.safetensors",
        "optimizer.safetensors",
    ];
    let files = files.map(|file| saved(dir, 12, file)).to_vec();
    (
        files,
        fs::read_to_string(dir.join("metrics.jsonl")).unwrap(),
    )
}

fn lines(dir: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).collect()
}

#[test]
fn goes_back_to_the_last_checkpoint_with_a_smaller_rate_and_does_so_exactly() {
    let limit = limit();
    let fragile = || Fragile::new(5, limit, f32::NAN);
    let config = || settings_with(recovery(2));
    let whole = tempfile::tempdir().unwrap();
    let trained = go(
        &trainer_of(fragile(), config(), whole.path()),
        &StopFlag::new(),
    )
    .unwrap();
    assert_eq!((trained.steps, trained.recoveries), (12, 1));
    let told = lines(whole.path(), "recovery");
    assert_eq!(told.len(), 1, "{told:?}");
    // Updates 6 to 8 were not finite; the checkpoint after 3 is the last before them.
    assert_eq!(
        (&told[0]["step"], &told[0]["not_finite_up_to"]),
        (&4.into(), &8.into())
    );
    let expected = end(whole.path());
    for kill in [2, 4, 5, 6, 7, 10] {
        let dir = tempfile::tempdir().unwrap();
        let killed = trainer_of(fragile(), config(), dir.path()).kill_after(kill);
        assert!(go(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
        go(
            &trainer_of(fragile(), config(), dir.path()),
            &StopFlag::new(),
        )
        .unwrap();
        assert!(end(dir.path()) == expected, "killed after {kill}");
    }
    for step in [1, 3, 4, 5, 6, 7, 9] {
        for keep_last in [1, 2] {
            let dir = tempfile::tempdir().unwrap();
            let stop = StopFlag::new();
            let objective = Fragile {
                stop: Some((step, stop.clone())),
                ..fragile()
            };
            // How many checkpoints are kept is no part of what is learnt, but of the settings.
            let config = TrainConfig {
                keep_last,
                ..config()
            };
            let stopped = go(&trainer_of(objective, config.clone(), dir.path()), &stop);
            assert!(stopped.unwrap_err().is_interrupted());
            go(&trainer_of(fragile(), config, dir.path()), &StopFlag::new()).unwrap();
            assert!(
                end(dir.path()) == expected,
                "stopped in update {step}, {keep_last} kept"
            );
        }
    }
}

#[test]
fn without_a_checkpoint_it_goes_back_to_the_start() {
    let limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        checkpoint_every: 0,
        ..settings_with(recovery(1))
    };
    let trainer = trainer_of(Fragile::new(5, limit, f32::NAN), config, dir.path());
    assert_eq!(go(&trainer, &StopFlag::new()).unwrap().recoveries, 1);
    assert_eq!(lines(dir.path(), "recovery")[0]["step"], 1);
    assert_eq!(lines(dir.path(), "train").len(), 3);
}

#[test]
fn ends_with_a_message_when_nothing_helps() {
    for retries in [0, 2] {
        let dir = tempfile::tempdir().unwrap();
        let objective = Fragile::new(5, -1.0, f32::INFINITY);
        let trainer = trainer_of(objective, settings_with(recovery(retries)), dir.path());
        let error = go(&trainer, &StopFlag::new()).unwrap_err();
        assert!(
            matches!(
                error,
                TrainError::NotFinite {
                    step: 8,
                    updates: 3
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("`recovery.retries`"), "{error}");
        // Five good updates, three bad ones, from the checkpoint after 3 on again each time.
        let met = trainer.objective().met.lock().unwrap().len() as u64;
        assert!(met >= 8 + 5 * retries, "{met}");
    }
}

#[test]
fn a_loss_far_above_its_past_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        learning_rate: 1e-3,
        ..settings_with(Recovery::default())
    };
    let trainer = trainer_of(Fragile::new(8, -1.0, 50.0), config, dir.path());
    go(&trainer, &StopFlag::new()).unwrap();
    let told = lines(dir.path(), "divergence");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["step"], 12);
    assert!(told[0]["loss"].as_f64() > told[0]["usual_loss"].as_f64());
}
