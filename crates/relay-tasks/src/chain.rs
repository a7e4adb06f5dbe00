//! Chains of steps: as a model writes them, and as one line of text.

use serde::{Deserialize, Serialize};

use crate::{EOS, Example, Result, SEP, TaskError, TaskInfo, TokenId};

/// Steps and answer as a model wrote them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The steps.
    pub steps: Vec<Vec<TokenId>>,
    /// The answer; `None` if the model wrote none.
    pub answer: Option<TokenId>,
    /// Mean probability of the tokens of each step.
    pub confidence: Vec<f32>,
    /// Probability of the answer.
    pub answer_confidence: f32,
}

/// What an auto-regressive model has to write after the problem: the steps, the answer unless it is the last step, and
/// `<eos>` (equations 1 and 2). [`read_chain`] finds the same steps and answer again.
///
/// # Errors
/// When the example is not solved, or its steps could not be told apart in the text: a step lacks the task's step end,
/// or holds it elsewhere, or the last step is not the answer where it has to be.
pub fn write_chain(info: &TaskInfo, example: &Example) -> Result<Vec<TokenId>> {
    let answer = solved(example)?;
    check_form(info, &example.steps, answer, |token| {
        format!("token {token}")
    })
    .map_err(TaskError::Data)?;
    let mut tokens = Vec::with_capacity(chain_len(info, example));
    let ended = ended(info, example.steps.len());
    for (index, step) in example.steps.iter().enumerate() {
        tokens.extend(step);
        if index < ended && info.step_end.is_none() {
            tokens.push(SEP);
        }
    }
    if !info.answer_is_last_step {
        tokens.push(answer);
    }
    tokens.push(EOS);
    Ok(tokens)
}

/// Finds steps and answer again in what an auto-regressive model wrote: any tokens give some chain.
///
/// What follows the last step end is the answer if it is one token; otherwise it counts as a step without an end, and
/// there is no answer. Everything from `<eos>` on is left out. Probabilities are left empty.
pub fn read_chain(info: &TaskInfo, tokens: &[TokenId]) -> Chain {
    let tokens = tokens
        .split(|&token| token == EOS)
        .next()
        .unwrap_or_default();
    let end = info.step_end.unwrap_or(SEP);
    let mut steps: Vec<Vec<TokenId>> = tokens
        .split_inclusive(|&token| token == end)
        .map(<[_]>::to_vec)
        .collect();
    let rest = steps
        .pop_if(|step| step.last() != Some(&end))
        .unwrap_or_default();
    if info.step_end.is_none() {
        for step in &mut steps {
            step.pop();
        }
    }
    let answer = if let [answer] = rest[..] {
        Some(answer)
    } else {
        None
    };
    if !rest.is_empty() && (answer.is_none() || info.answer_is_last_step) {
        steps.push(rest);
    }
    Chain {
        steps,
        answer,
        ..Chain::default()
    }
}

/// How many tokens [`write_chain`] gives.
pub(crate) fn chain_len(info: &TaskInfo, example: &Example) -> usize {
    let steps: usize = example.steps.iter().map(Vec::len).sum();
    let separators = if info.step_end.is_none() {
        ended(info, example.steps.len())
    } else {
        0
    };
    steps + separators + usize::from(!info.answer_is_last_step) + 1
}

/// The answer of a solved example.
pub(crate) fn solved(example: &Example) -> Result<TokenId> {
    let reason = if example.steps.len() != example.iterations {
        format!(
            "an example has {} steps for {} iterations, needs as many",
            example.steps.len(),
            example.iterations
        )
    } else if example.steps.is_empty() {
        "an example has no steps, needs at least one".to_owned()
    } else {
        let missing = || TaskError::data("an example has no answer; it has to be solved first");
        return example.answer.ok_or_else(missing);
    };
    Err(TaskError::Data(reason))
}

/// That steps and answer can be told apart when they are written as one line of text. The error says what hinders it;
/// `name` is how it calls a token.
pub(crate) fn check_form(
    info: &TaskInfo,
    steps: &[Vec<TokenId>],
    answer: TokenId,
    name: impl Fn(TokenId) -> String,
) -> Result<(), String> {
    let end = info.step_end.unwrap_or(SEP);
    if answer == end {
        return Err(format!(
            "the answer is {}, which ends the steps of `{}`",
            name(end),
            info.name
        ));
    }
    if info.answer_is_last_step && steps.last().is_none_or(|last| last[..] != [answer]) {
        return Err(format!(
            "the last step of `{}` has to be the answer, {}",
            info.name,
            name(answer)
        ));
    }
    for (index, step) in steps[..ended(info, steps.len())].iter().enumerate() {
        let inner = match (info.step_end, step.split_last()) {
            (None, _) => step,
            (Some(_), Some((last, inner))) if *last == end => inner,
            (Some(_), _) => {
                return Err(format!(
                    "step {} does not end in {}, as the steps of `{}` do",
                    index + 1,
                    name(end),
                    info.name
                ));
            }
        };
        if inner.contains(&end) {
            return Err(format!(
                "step {} holds {}, which is what comes between steps",
                index + 1,
                name(end)
            ));
        }
    }
    Ok(())
}

/// How many of the steps have an end: all but a last one that is the answer.
fn ended(info: &TaskInfo, steps: usize) -> usize {
    steps.saturating_sub(usize::from(info.answer_is_last_step))
}
