//! What the settings of a run say of an arm: its model, its objective, its training, and all that these depend on.

use burn::tensor::backend::AutodiffBackend;
use relay_models::{CausalConfig, LoopedConfig};
use relay_tasks::Stream;
use relay_train::{CausalObjective, ExampleSource, LoopedObjective, TrainConfig};
use serde_json::{Value, json};

use super::Stages;
use crate::{
    DataUse, Done, Result,
    arms::{AR_RELAY, LOOPED_ALIGNED, is_looped},
    json::to_value,
};

impl<B: AutodiffBackend> Stages<B> {
    /// All that the weights of an arm's training depend on, besides the data.
    ///
    /// # Errors
    /// When the settings cannot be written as JSON.
    pub fn describe(&self, arm: &str) -> Result<Value> {
        // The stage's own seed is not what it is trained with.
        let mut stage = self.settings.stage(arm)?.clone();
        stage.train.seed = self.settings.seed;
        let mut settings = to_value(&stage)?;
        stage.train.remove_bookkeeping(&mut settings["train"]);
        Ok(json!({ "model": self.model_settings(arm)?, "stage": settings }))
    }

    /// All that the training of an arm on the original data depends on.
    ///
    /// # Errors
    /// When data that are files cannot be read.
    pub(crate) fn made_from(&self, arm: &str) -> Result<Value> {
        Ok(json!({
            "data": self.corpus.fingerprint(DataUse::Training)?, "seed": self.settings.seed,
            "stage": self.describe(arm)?,
        }))
    }

    /// All that the fine-tuning of Stage II depends on.
    ///
    /// # Errors
    /// When the settings cannot be written as JSON.
    pub(crate) fn fine_tuned_from(&self, baseline: &Done, merged: &Done) -> Result<Value> {
        Ok(json!({
            "baseline": baseline.result, "merged": merged.result,
            "stage": self.describe(AR_RELAY)?, "seed": self.settings.seed,
        }))
    }

    /// The original training data of an arm.
    pub(crate) fn source(&self, arm: &str) -> Result<Box<dyn ExampleSource>> {
        let stage = self.settings.stage(arm)?;
        let seed = self.train_config(arm, None)?.seed;
        self.corpus
            .source(&stage.batching, stage.curriculum.as_ref(), seed)
    }

    /// The updates of an arm's training.
    pub(crate) fn updates(&self, arm: &str) -> Result<u64> {
        Ok(self.settings.stage(arm)?.train.steps)
    }

    /// The settings of an arm's model, as its checkpoints and markers hold them.
    pub(super) fn model_settings(&self, arm: &str) -> Result<Value> {
        if is_looped(arm) {
            to_value(&self.looped(arm))
        } else {
            to_value(self.causal())
        }
    }

    pub(crate) fn causal(&self) -> &CausalConfig {
        &self.settings.causal
    }

    pub(crate) fn looped(&self, arm: &str) -> LoopedConfig {
        LoopedConfig {
            step_head: arm == LOOPED_ALIGNED,
            ..self.settings.looped.clone()
        }
    }

    pub(crate) fn looped_objective(&self, arm: &str) -> Result<LoopedObjective> {
        let stage = self.settings.stage(arm)?;
        Ok(LoopedObjective {
            aligned: arm == LOOPED_ALIGNED,
            lambda: stage.lambda,
            task_weights: stage.task_weights.clone(),
            limits: stage.groups,
            checkpoint_iterations: stage.checkpoint_iterations,
            codec: self.corpus.codec().clone(),
        })
    }

    pub(crate) fn causal_objective(&self, arm: &str) -> Result<CausalObjective> {
        let stage = self.settings.stage(arm)?;
        Ok(CausalObjective::new(
            stage.task_weights.clone(),
            stage.groups,
            self.corpus.codec().clone(),
        ))
    }

    /// The stage's own settings with a seed of its own, so that no two arms or phases see the same draws.
    pub(super) fn train_config(&self, arm: &str, phase: Option<usize>) -> Result<TrainConfig> {
        let phase: Vec<u64> = phase.into_iter().map(|phase| phase as u64).collect();
        let seed = Stream::named(self.settings.seed, arm, &phase).next_u64() >> 32;
        Ok(TrainConfig {
            seed,
            ..self.settings.stage(arm)?.train.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use relay_tasks::GroupLimits;
    use relay_train::StopFlag;

    use super::*;
    use crate::{
        Settings,
        arms::{ARMS, LOOPED_VANILLA},
    };

    /// Settings in which no two arms have anything in common.
    fn unlike() -> Settings {
        let mut settings = crate::preset("smoke", 5).unwrap();
        for (number, stage) in (1..).zip(settings.stages_mut()) {
            stage.lambda = 0.5 * number as f32;
            stage.task_weights = [1.0, 2.0, 3.0].map(|weight| weight * number as f32).into();
            stage.groups = GroupLimits {
                max_samples: number,
                max_tokens: 100 * number,
                max_waste: 0.01 * number as f32,
            };
            stage.checkpoint_iterations = 10 * number;
            stage.train.steps = number as u64;
        }
        settings
    }

    #[test]
    fn every_arm_learns_by_its_own_settings() {
        let settings = unlike();
        let corpus = crate::corpus(&settings).unwrap();
        let stages = Stages::<Autodiff<Flex>>::new(
            settings.clone(),
            corpus,
            Default::default(),
            StopFlag::new(),
        );
        let mut seeds = std::collections::BTreeSet::new();
        for arm in ARMS {
            let stage = settings.stage(arm).unwrap();
            let train = stages.train_config(arm, None).unwrap();
            assert_eq!(train.steps, stage.train.steps, "{arm}");
            assert!(
                seeds.insert(train.seed),
                "{arm} draws what another arm does"
            );
            if !is_looped(arm) {
                let objective = stages.causal_objective(arm).unwrap();
                assert_eq!(objective.task_weights, stage.task_weights, "{arm}");
                assert_eq!(objective.limits, stage.groups, "{arm}");
                continue;
            }
            let steps = arm != LOOPED_VANILLA;
            assert_eq!(stages.looped(arm).step_head, steps, "{arm}");
            let objective = stages.looped_objective(arm).unwrap();
            assert_eq!((objective.aligned, objective.lambda), (steps, stage.lambda));
            assert_eq!(objective.task_weights, stage.task_weights);
            assert_eq!(objective.limits, stage.groups);
            assert_eq!(objective.checkpoint_iterations, stage.checkpoint_iterations);
        }
        let phases = (0..5).map(|phase| stages.train_config("ar_self_loop", Some(phase)));
        assert!(
            phases
                .into_iter()
                .all(|phase| seeds.insert(phase.unwrap().seed))
        );
    }
}
