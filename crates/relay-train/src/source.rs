//! Where the examples of an update come from.

use relay_tasks::Example;
use serde_json::Value;

use crate::Result;

/// Examples by the number of the update, a pure function of it: nothing has to be saved to go on exactly.
pub trait ExampleSource: std::fmt::Debug + Send + Sync {
    /// The examples of update `step`, counted from 0: at least one.
    ///
    /// # Errors
    /// When they cannot be made or read.
    fn examples(&self, step: u64) -> Result<Vec<Example>>;

    /// What the examples depend on besides `step`: a checkpoint remembers it, and a run with a source that says something
    /// else does not go on from there. Default null: nothing is compared.
    fn settings(&self) -> Value {
        Value::Null
    }
}
