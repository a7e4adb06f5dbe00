//! Updates whose loss is not a number.

use crate::common::*;
use burn::tensor::backend::AutodiffBackend;
use relay_models::DropoutKey;
use relay_tasks::{Chain, Example};
use relay_train::{
    Batching, InnerModel, LossParts, Objective, OptimizerConfig, Result, Resume, StopFlag,
    TrainConfig, TrainError,
};
use serde_json::Value;

/// Makes the losses of some steps not a number, and may write a chain too few.
#[derive(Debug)]
struct Spoiled<O> {
    objective: O,
    from: u64,
    to: u64,
    fewer: bool,
}

impl<B: AutodiffBackend, O: Objective<B>> Objective<B> for Spoiled<O> {
    type Model = O::Model;
    type Batch = O::Batch;

    fn name(&self) -> &str {
        "spoiled"
    }

    fn settings(&self) -> Value {
        Value::Null
    }

    fn collate(&self, examples: &[Example]) -> Result<Vec<Self::Batch>> {
        self.objective.collate(examples)
    }

    fn loss(
        &self,
        model: &O::Model,
        batch: &O::Batch,
        key: DropoutKey,
        device: &B::Device,
    ) -> LossParts<B> {
        let mut parts = self.objective.loss(model, batch, key, device);
        if (self.from..self.to).contains(&key.step) {
            parts.total = parts.total.mul_scalar(f32::NAN);
        }
        parts
    }

    fn write_chains(
        &self,
        model: &InnerModel<B, Self>,
        examples: &[Example],
        device: &B::Device,
    ) -> Result<Vec<Chain>> {
        let mut chains = self.objective.write_chains(model, examples, device)?;
        chains.truncate(examples.len() - usize::from(self.fewer));
        Ok(chains)
    }
}

fn spoiled(from: u64, to: u64, steps: u64) -> Result<u64> {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps,
        ..config(OptimizerConfig::adamw())
    };
    let objective = Spoiled {
        objective: aligned(),
        from,
        to,
        fewer: false,
    };
    let model = looped(0.0);
    let trainer = trainer_by::<Flex, _>(objective, &model, config, dir.path());
    let source = source(Batching::Mixed { samples: 2 });
    let trained = trainer.run(
        model.init(&Default::default(), 3),
        &source,
        &[],
        Resume::Fresh,
        &StopFlag::new(),
    )?;
    let finite = trained
        .model
        .head_answer
        .weight
        .val()
        .into_data()
        .iter::<f32>()
        .all(f32::is_finite);
    assert!(finite);
    Ok(trained.skipped)
}

#[test]
fn updates_that_are_not_finite_are_skipped() {
    assert_eq!(spoiled(3, 7, 10).unwrap(), 4);
}

#[test]
fn too_many_of_them_end_the_run() {
    let error = spoiled(2, 99, 40).unwrap_err();
    assert!(
        matches!(
            error,
            TrainError::NotFinite {
                step: 22,
                updates: 20
            }
        ),
        "{error}"
    );
}

#[test]
fn a_validation_that_fails_loses_no_update() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps: 10,
        validate_every: 4,
        checkpoint_every: 0,
        ..config(OptimizerConfig::adamw())
    };
    let objective = Spoiled {
        objective: aligned(),
        from: 0,
        to: 0,
        fewer: true,
    };
    let model = looped(0.0);
    let error = trainer_by::<Flex, _>(objective, &model, config, dir.path())
        .run(
            model.init(&Default::default(), 3),
            &source(Batching::Mixed { samples: 2 }),
            &examples(),
            Resume::Fresh,
            &StopFlag::new(),
        )
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the number of chains that were written"),
        "{error}"
    );
    let saved = relay_train::list_checkpoints(dir.path()).unwrap();
    assert_eq!(saved, [(4, "step-000000004".to_owned())]);
}
