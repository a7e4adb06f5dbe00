//! Settings of the optimizer.

use serde::{Deserialize, Serialize};

use super::{above_zero, at_least_one, check};
use crate::adamw::AdamW;
use crate::muon::Muon;
use crate::{Result, TrainError};

/// The most Newton-Schulz iterations: within one of them nothing heeds a stop, and after some ten nothing changes any more.
const MOST_NEWTON_SCHULZ: usize = 100;

/// The optimizer and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// AdamW for all parameters.
    #[serde(rename = "adamw")]
    AdamW {
        /// Decay of the mean of gradients; 0.9 as a rule.
        beta1: f64,
        /// Decay of the mean of squared gradients; 0.999 as a rule, less for short runs.
        beta2: f64,
        /// Added to the root of the mean square; 1e-8 as a rule.
        epsilon: f64,
    },
    /// Muon for the matrices of the block's layers, AdamW for the rest.
    Muon {
        /// Muon's own learning rate at its highest; 0.02 as a rule.
        learning_rate: f64,
        /// Decay of its momentum; 0.95 as a rule.
        momentum: f64,
        /// Newton-Schulz iterations; 5 as a rule.
        newton_schulz_steps: usize,
        /// `beta1` of AdamW for the rest.
        beta1: f64,
        /// `beta2` of AdamW for the rest.
        beta2: f64,
        /// `epsilon` of AdamW for the rest.
        epsilon: f64,
    },
}

impl OptimizerConfig {
    /// AdamW with the usual settings.
    pub fn adamw() -> Self {
        Self::AdamW {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        }
    }

    /// Muon with the usual settings and its own learning rate.
    pub fn muon(learning_rate: f64) -> Self {
        let (momentum, newton_schulz_steps) = (0.95, 5);
        Self::Muon {
            learning_rate,
            momentum,
            newton_schulz_steps,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::adamw()
    }
}

impl OptimizerConfig {
    /// The settings of AdamW, for all parameters or for the rest.
    pub(crate) fn adamw_part(&self) -> AdamW {
        let (Self::AdamW {
            beta1,
            beta2,
            epsilon,
        }
        | Self::Muon {
            beta1,
            beta2,
            epsilon,
            ..
        }) = *self;
        AdamW {
            beta1,
            beta2,
            epsilon,
        }
    }

    /// Muon and its own learning rate, where it moves some of the parameters.
    pub(crate) fn muon_part(&self) -> Option<(Muon, f64)> {
        match *self {
            Self::AdamW { .. } => None,
            Self::Muon {
                learning_rate,
                momentum,
                newton_schulz_steps,
                ..
            } => {
                let muon = Muon {
                    momentum,
                    newton_schulz_steps,
                };
                Some((muon, learning_rate))
            }
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let name = match self {
            Self::AdamW { .. } => "adamw",
            Self::Muon { .. } => "muon",
        };
        if let Some((muon, learning_rate)) = self.muon_part() {
            above_zero("optimizer.muon.learning_rate", learning_rate)?;
            let (momentum, steps) = (muon.momentum, muon.newton_schulz_steps);
            let inside = (0.0..1.0).contains(&momentum);
            check("optimizer.muon.momentum", momentum, inside, "in [0, 1)")?;
            let field = "optimizer.muon.newton_schulz_steps";
            at_least_one(field, steps as u64)?;
            if steps > MOST_NEWTON_SCHULZ {
                let right = format!("at most {MOST_NEWTON_SCHULZ}");
                return Err(TrainError::setting(field, steps, right));
            }
        }
        let AdamW {
            beta1,
            beta2,
            epsilon,
        } = self.adamw_part();
        for (field, beta) in [("beta1", beta1), ("beta2", beta2)] {
            check(
                &format!("optimizer.{name}.{field}"),
                beta,
                (0.0..1.0).contains(&beta),
                "in [0, 1)",
            )?;
        }
        above_zero(&format!("optimizer.{name}.epsilon"), epsilon)
    }
}
