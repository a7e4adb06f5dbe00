//! Settings of a training run.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Precision, Recovery, Result, TrainError};

mod optimizer;

pub use optimizer::OptimizerConfig;

/// Updates that can be counted, with room for the indices of the examples of each.
const MOST_STEPS: u64 = 1 << 39;

/// How one model is trained. Everything that changes what is learnt from given data is here or in the objective. A run goes
/// on with the settings it was begun with, but for [some that change nothing in its weights](Self::remove_bookkeeping).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Updates of the weights. Default 1000; more learn more.
    pub steps: u64,
    /// Learning rate of AdamW at its highest. Default 5e-4, the paper's; small models bear more.
    pub learning_rate: f64,
    /// Share of the updates during which the learning rate rises linearly. Default 0.01, the paper's.
    pub warmup_ratio: f64,
    /// Share of the learning rate that it falls to linearly, reached just after the last update: with 0 that one still
    /// moves the weights. Default 0, the paper's.
    pub final_ratio: f64,
    /// Decoupled weight decay of matrices; vectors (norms, biases) have none. Default 0.01, the paper's.
    pub weight_decay: f64,
    /// Global norm that gradients are clipped to; 0 for no clipping. Default 1.
    pub clip_norm: f64,
    /// Optimizer. Default AdamW, the paper's; Muon learns with fewer samples.
    pub optimizer: OptimizerConfig,
    /// Decay of a running average of the weights, which validation and the result then use. Default none;
    /// 0.999 smooths the end of a short run.
    pub average: Option<f64>,
    /// Updates between two lines of metrics. Default 100.
    pub log_every: u64,
    /// Updates between two validations; 0 for none. Default 1000.
    pub validate_every: u64,
    /// The most validation examples of each task. Default 200.
    pub validate_samples: usize,
    /// Updates between two checkpoints; 0 for one at the end only. Default 1000.
    pub checkpoint_every: u64,
    /// Checkpoints to keep, at least 1. Default 2, so that a damaged one does not lose the run.
    pub keep_last: usize,
    /// Seed of the dropout masks. Default 1.
    pub seed: u64,
    /// What happens when the numbers go wrong. Default: 20 skipped updates in a row end the run.
    // Left out where it is the default, so that checkpoints from before there was such a setting can be resumed.
    #[serde(skip_serializing_if = "is_default")]
    pub recovery: Recovery,
    /// What the products of a layer multiply: `f32`, the default, or `bf16`, which is faster on GPUs and on processors with
    /// AVX-512 BF16, and less exact. Weights, norms, softmax, losses and the optimizer stay f32. A backend without bf16 is
    /// refused. On GPUs `f32` keeps 16 bits of what kernels multiply.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Micro-batches get padding until their width is a multiple of this many columns. Default 0, for none; 16 or so makes
    /// few shapes of many, for devices that compile or choose kernels by shape. It changes results by rounding only, and
    /// dropout by other masks.
    #[serde(skip_serializing_if = "is_default")]
    pub width_multiple: usize,
}

/// For fields that are left out of a file where they have their default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            learning_rate: 5e-4,
            warmup_ratio: 0.01,
            final_ratio: 0.0,
            weight_decay: 0.01,
            clip_norm: 1.0,
            optimizer: OptimizerConfig::default(),
            average: None,
            log_every: 100,
            validate_every: 1000,
            validate_samples: 200,
            checkpoint_every: 1000,
            keep_last: 2,
            seed: 1,
            recovery: Recovery::default(),
            precision: Precision::F32,
            width_multiple: 0,
        }
    }
}

/// The most validation examples of a task, all of which are in memory.
const MOST_VALIDATED: u64 = 1 << 24;

/// The most columns that a width is made a multiple of: all of them are padding that is computed.
const WIDEST_MULTIPLE: u64 = 4096;

impl TrainConfig {
    /// Takes out of a training's settings, as JSON, those that no weight depends on: when it logs, validates and saves, and how much
    /// of that is kept.
    ///
    /// Two trainings whose settings are the same without these learn the same, and each can go on from the other's checkpoints.
    /// Where a training may go back to a checkpoint, its results depend on which ones there are, and where a divergence does more
    /// than be told, on when lines of metrics are due: what says so stays.
    pub fn remove_bookkeeping(&self, settings: &mut Value) {
        let Some(settings) = settings.as_object_mut() else {
            return;
        };
        let mut fields = vec!["validate_every", "validate_samples"];
        if self.recovery.on_divergence.acts().is_none() {
            fields.push("log_every");
            if !self.recovery.goes_back() {
                fields.extend(["checkpoint_every", "keep_last"]);
            }
        }
        for field in fields {
            settings.remove(field);
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`TrainError::Setting`] names the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        self.check_counts()?;
        self.check_rates()?;
        self.recovery.validate()?;
        self.check_divergence()?;
        self.optimizer.validate()
    }

    fn check_counts(&self) -> Result<()> {
        at_least_one("steps", self.steps)?;
        at_most("steps", self.steps, MOST_STEPS)?;
        at_least_one("log_every", self.log_every)?;
        at_least_one("keep_last", self.keep_last as u64)?;
        let (samples, columns) = (self.validate_samples as u64, self.width_multiple as u64);
        at_most("validate_samples", samples, MOST_VALIDATED)?;
        at_most("width_multiple", columns, WIDEST_MULTIPLE)
    }

    fn check_rates(&self) -> Result<()> {
        above_zero("learning_rate", self.learning_rate)?;
        for (field, share) in [
            ("warmup_ratio", self.warmup_ratio),
            ("final_ratio", self.final_ratio),
        ] {
            check(field, share, (0.0..=1.0).contains(&share), "in [0, 1]")?;
        }
        for (field, number) in [
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm),
        ] {
            let possible = (0.0..f64::INFINITY).contains(&number);
            check(field, number, possible, "a number of at least 0")?;
        }
        let Some(average) = self.average else {
            return Ok(());
        };
        let possible = average > 0.0 && average < 1.0;
        check("average", average, possible, "between 0 and 1, or none")
    }

    /// Else the last checkpoint might hold what diverged, and no line of metrics had told yet.
    fn check_divergence(&self) -> Result<()> {
        let (every, log_every) = (self.checkpoint_every, self.log_every);
        match self.recovery.on_divergence.acts() {
            Some(name) if !every.is_multiple_of(log_every) => {
                let right = format!(
                    "a multiple of `log_every`, {log_every}, where `recovery.on_divergence` is {name}"
                );
                Err(TrainError::setting("checkpoint_every", every, right))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn check(field: &str, value: f64, right: bool, expected: &str) -> Result<()> {
    if right {
        Ok(())
    } else {
        Err(TrainError::setting(field, value, expected))
    }
}

fn above_zero(field: &str, value: f64) -> Result<()> {
    check(
        field,
        value,
        // Updates are made in f32, where less may be nothing.
        value as f32 > 0.0 && (value as f32).is_finite(),
        "a number above 0 that f32 can hold",
    )
}

pub(crate) fn at_least_one(field: &str, value: u64) -> Result<()> {
    if value >= 1 {
        Ok(())
    } else {
        Err(TrainError::setting(field, value, "at least 1"))
    }
}

fn at_most(field: &str, value: u64, most: u64) -> Result<()> {
    if value <= most {
        Ok(())
    } else {
        Err(TrainError::setting(field, value, format!("at most {most}")))
    }
}
