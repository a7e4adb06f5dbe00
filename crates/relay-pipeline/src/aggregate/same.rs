//! Which runs can be put together.

use relay_train::first_difference;
use serde_json::Value;

use crate::{PipelineError, Result, Results};

/// That two runs have the same training lengths and the same settings, as far as both tell theirs.
pub(super) fn same_but_for_seeds(first: &Results, other: &Results) -> Result<()> {
    let lengths = |run: &Results| serde_json::to_string(&run.train_lengths).unwrap_or_default();
    let settings = |run: &Results| {
        let mut settings = run.settings.clone();
        drop_seeds(&mut settings);
        settings
    };
    let differs = if first.train_lengths != other.train_lengths {
        Some((
            "training lengths".to_owned(),
            lengths(first),
            lengths(other),
        ))
    } else if first.settings.is_null() || other.settings.is_null() {
        None
    } else {
        first_difference("", &settings(first), &settings(other))
    };
    match differs {
        Some((field, wanted, found)) => Err(PipelineError::settings(
            format!("{field} of the run with seed {}", other.seed),
            found,
            format!("as in the run with seed {}, {wanted}", first.seed),
        )),
        None => Ok(()),
    }
}

/// Takes out what tells the runs of several seeds apart: the seed of the run, and those of its stages.
fn drop_seeds(settings: &mut Value) {
    match settings {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "seed");
            fields.values_mut().for_each(drop_seeds);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_seeds),
        _ => {}
    }
}

/// That seeds tell the runs apart: a run that is there twice would count twice in the means.
pub(super) fn different_seeds(runs: &[Results]) -> Result<()> {
    let twice = |(place, run): &(usize, &Results)| {
        runs[..*place].iter().any(|other| other.seed == run.seed)
    };
    match runs.iter().enumerate().find(twice) {
        Some((_, run)) => Err(PipelineError::settings(
            "seeds of the runs",
            format!("{} twice", run.seed),
            "each once: runs that are put together are told apart by their seeds",
        )),
        None => Ok(()),
    }
}
