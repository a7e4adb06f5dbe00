//! An objective that goes wrong where weights have become too large, and runs of it.

use std::{path::Path, sync::Mutex};

use crate::common::*;
use relay_models::{DropoutKey, LoopedTransformer};
use relay_tasks::{Chain, Example};
use relay_train::{
    Batching, InnerModel, LoopedObjective, LossParts, Objective, OptimizerConfig, Recovery, Result,
    Resume, StopFlag, TrainConfig, Trained, Trainer,
};
use serde_json::Value;

/// The looped objective, which goes wrong from a step on where the weights have become too large.
pub struct Fragile {
    pub objective: LoopedObjective,
    /// Update from which it can go wrong.
    pub from: u64,
    /// Largest weight that it bears; above it the loss is multiplied by `spoil`.
    pub limit: f32,
    pub spoil: f32,
    /// Set in the update of this number.
    pub stop: Option<(u64, StopFlag)>,
    /// Largest weight that each update met.
    pub met: Mutex<Vec<f32>>,
}

impl Fragile {
    pub fn new(from: u64, limit: f32, spoil: f32) -> Self {
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
pub fn settings_with(recovery: Recovery) -> TrainConfig {
    TrainConfig {
        learning_rate: 0.3,
        recovery,
        ..config(OptimizerConfig::adamw())
    }
}

pub fn trainer_of(objective: Fragile, config: TrainConfig, dir: &Path) -> Trainer<Flex, Fragile> {
    trainer_by(objective, &looped(0.1), config, dir)
}

pub fn go(
    trainer: &Trainer<Flex, Fragile>,
    stop: &StopFlag,
) -> Result<Trained<LoopedTransformer<Flex>>> {
    let model = looped(0.1).init(&Default::default(), 3);
    let source = source(Batching::OneLength { tokens: 64 });
    trainer.run(model, &source, &examples(), Resume::Continue, stop)
}

/// A largest weight between those that the updates after `before` and after `after` others meet.
pub fn limit(before: u64, after: u64) -> f32 {
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
    let (before, after) = (met(before), met(after));
    assert!(before < 0.9 * after, "{before} {after}");
    (before + after) / 2.0
}
