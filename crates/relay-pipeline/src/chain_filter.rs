//! A rule of one's own for the chains that are learnt from.

use std::fmt::Debug;

use relay_tasks::Chain;
use relay_train::TrainError;
use serde_json::Value;

use crate::{Result, Unsolved};

/// A rule by which the chains that the looped model wrote for longer problems are kept to learn from, beside the confidence that
/// the settings ask for; see [`Pipeline::filtering`](crate::Pipeline::filtering). Nobody knows which chains are right, but something may
/// tell, such as a last step that does not agree with the answer.
///
/// ```
/// use relay_pipeline::{ChainFilter, Result, Unsolved};
/// use relay_tasks::Chain;
/// use serde_json::{Value, json};
///
/// /// The last token of the last step has to be the answer.
/// #[derive(Debug)]
/// struct Agrees;
///
/// impl ChainFilter for Agrees {
///     fn keep(&self, _: &[Unsolved], chains: &[Chain]) -> Result<Vec<bool>> {
///         let agrees = |chain: &Chain| chain.steps.last().and_then(|step| step.last()) == chain.answer.as_ref();
///         Ok(chains.iter().map(agrees).collect())
///     }
///
///     fn fingerprint(&self) -> Value {
///         json!("the last token is the answer")
///     }
/// }
/// ```
pub trait ChainFilter: Debug + Send + Sync {
    /// Which of `chains` are kept, a word for each, in their order; `problems` are what they were written for.
    ///
    /// # Errors
    /// Whatever keeps it from telling; the stage ends with it.
    fn keep(&self, problems: &[Unsolved], chains: &[Chain]) -> Result<Vec<bool>>;

    /// All that it depends on: where that changes, chains are written and judged anew.
    fn fingerprint(&self) -> Value;
}

/// Takes out of `kept` what the filter, if there is one, does not keep.
///
/// # Errors
/// What the filter returns, and when it has not one word for each chain.
pub(crate) fn filter(
    filter: Option<&dyn ChainFilter>,
    (problems, chains): (&[Unsolved], &[Chain]),
    kept: &mut [bool],
) -> Result<()> {
    let Some(filter) = filter else {
        return Ok(());
    };
    let words = filter.keep(problems, chains)?;
    if words.len() != chains.len() {
        return Err(TrainError::Input {
            what: "the number of words of the filter of chains".to_owned(),
            value: words.len().to_string(),
            expected: format!("{}, one for each chain", chains.len()),
        }
        .into());
    }
    for (kept, word) in kept.iter_mut().zip(words) {
        *kept &= word;
    }
    Ok(())
}
