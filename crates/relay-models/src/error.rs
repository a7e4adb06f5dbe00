//! What can go wrong with settings and inputs.

/// Result with [`ModelError`].
pub type Result<T, E = ModelError> = core::result::Result<T, E>;

/// An error of this crate. The message says what, where, and what would be right.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A field of a model's settings holds a value that cannot work.
    #[error("model setting `{field}` is {value}: it must be {expected}")]
    Setting {
        /// Path of the field, such as `transformer.heads`.
        field: &'static str,
        /// The value found.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A prompt or a batch of prompts does not fit the model.
    #[error("{what} is {value}: it must be {expected}")]
    Input {
        /// What was looked at, such as `token 3 of prompt 0`.
        what: String,
        /// The value found.
        value: String,
        /// What would be right.
        expected: String,
    },
}

impl ModelError {
    pub(crate) fn setting(
        field: &'static str,
        value: impl core::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting {
            field,
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    pub(crate) fn input(
        what: impl Into<String>,
        value: impl core::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Input {
            what: what.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}
