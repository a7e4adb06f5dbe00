//! One type for the settings of all three tasks, as configuration files hold them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::arithmetic::ArithmeticConfig;
use crate::edit_distance::EditDistanceConfig;
use crate::error::Result;
use crate::lis::LisConfig;
use crate::task::Task;

/// The settings of one of the paper's tasks. In JSON and TOML the field `task` names which: `ari`, `ed` or `lis`; the
/// other fields are those of its settings, and an unknown one is an error.
///
/// ```
/// use relay_tasks::{LisConfig, TaskConfig};
///
/// let config: TaskConfig = serde_json::from_str(r#"{"task": "lis", "group": 5}"#)?;
/// assert_eq!(config, TaskConfig::Lis(LisConfig { group: 5, ..LisConfig::default() }));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskConfig {
    /// Arithmetic.
    Ari(ArithmeticConfig),
    /// Edit distance.
    Ed(EditDistanceConfig),
    /// Longest increasing subsequence.
    Lis(LisConfig),
}

impl TaskConfig {
    /// The three tasks with the paper's settings, in the paper's order.
    #[must_use]
    pub fn paper() -> [Self; 3] {
        [
            Self::Ari(ArithmeticConfig::default()),
            Self::Ed(EditDistanceConfig::default()),
            Self::Lis(LisConfig::default()),
        ]
    }

    /// Name of the task that these settings are for.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ari(_) => crate::Arithmetic::NAME,
            Self::Ed(_) => crate::EditDistance::NAME,
            Self::Lis(_) => crate::Lis::NAME,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`TaskError::Setting`](crate::TaskError::Setting) with the field, its value and what would be right.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Ari(config) => config.validate(),
            Self::Ed(config) => config.validate(),
            Self::Lis(config) => config.validate(),
        }
    }

    /// Makes the task.
    ///
    /// # Errors
    /// As [`TaskConfig::validate`].
    pub fn build(self) -> Result<Arc<dyn Task>> {
        Ok(match self {
            Self::Ari(config) => Arc::new(config.build()?),
            Self::Ed(config) => Arc::new(config.build()?),
            Self::Lis(config) => Arc::new(config.build()?),
        })
    }
}
