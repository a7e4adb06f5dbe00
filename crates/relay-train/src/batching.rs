//! What one update is made of.

use serde::{Deserialize, Serialize};

use crate::{Result, TrainError};

/// What an update may have at most: indices of examples must not meet those of the next.
const MOST: usize = 1 << 24;

/// How many examples an update has, and of which lengths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Batching {
    /// Each sample's task and length is drawn for itself: the paper's way.
    Mixed {
        /// Samples of an update.
        samples: usize,
    },
    /// Every update has samples of every task, those of a task of one length: hardly any padding, small updates.
    OneLength {
        /// Columns of the looped model's window that the samples of one task may fill together; at least one sample
        /// is taken.
        tokens: usize,
    },
}

impl Batching {
    /// Checks the number.
    ///
    /// # Errors
    /// [`TrainError::Setting`] when it is 0 or above 2^24.
    pub fn validate(&self) -> Result<()> {
        let (field, value) = match *self {
            Self::Mixed { samples } => ("batching.mixed.samples", samples),
            Self::OneLength { tokens } => ("batching.one_length.tokens", tokens),
        };
        if (1..=MOST).contains(&value) {
            Ok(())
        } else {
            let right = format!("at least 1 and at most {MOST}");
            Err(TrainError::setting(field, value, right))
        }
    }
}
