//! Loop alignment: windows, targets and masks (section 3.3).

use crate::{Example, PAD, Result, TaskError, TokenId, chain::solved};

/// A solved problem, aligned with the iterations of the loop.
///
/// Everything ends in the last column of a window of `width` columns, with `<pad>` on the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aligned {
    /// Index of the task.
    pub task: usize,
    /// Problem length.
    pub length: usize,
    /// Iterations T.
    pub iterations: usize,
    /// Columns n of the window.
    pub width: usize,
    /// Tag and problem `[n]`.
    pub input: Vec<TokenId>,
    /// Targets of every iteration `[T, n]`.
    pub targets: Vec<TokenId>,
    /// Mask M of every iteration `[T, n]` (equation 6): the step's tokens and the one `<pad>` just left of them, which a
    /// step as wide as the example's own window has no room for.
    pub mask: Vec<bool>,
    /// The answer, which the last column has to give after iteration T.
    pub answer: TokenId,
}

/// Aligns a solved problem in a window of `width` columns.
///
/// # Errors
/// When the problem is not solved, or its input or a step does not fit into the window.
pub fn align(example: &Example, width: usize) -> Result<Aligned> {
    let answer = solved(example)?;
    let mut targets = Vec::with_capacity(width * example.steps.len());
    let mut mask = Vec::with_capacity(targets.capacity());
    for step in &example.steps {
        push_right(&mut targets, step, width)?;
        let masked = masked_columns(example, step).min(width);
        mask.resize(mask.len() + width - masked, false);
        mask.resize(mask.len() + masked, true);
    }
    Ok(Aligned {
        task: example.task,
        length: example.length,
        iterations: example.iterations,
        width,
        input: right_align(&example.prompt, width)?,
        targets,
        mask,
        answer,
    })
}

/// `tokens` at the right end of `width` columns, `<pad>` left of them.
///
/// # Errors
/// When there are more tokens than columns.
pub fn right_align(tokens: &[TokenId], width: usize) -> Result<Vec<TokenId>> {
    let mut window = Vec::with_capacity(width.max(tokens.len()));
    push_right(&mut window, tokens, width)?;
    Ok(window)
}

/// The step that a row of columns spells: all that stands right of its last `<pad>`.
pub fn read_step(columns: &[TokenId]) -> &[TokenId] {
    let start = columns
        .iter()
        .rposition(|&token| token == PAD)
        .map_or(0, |last| last + 1);
    &columns[start..]
}

/// How many columns from the right the mask of a step holds. The pad that counts is one of the example's own window: where there
/// is none, a wider window of a batch gives none either, so that a loss does not depend on who else is in the batch.
pub(crate) fn masked_columns(example: &Example, step: &[TokenId]) -> usize {
    (step.len() + 1).min(example.width.max(step.len()))
}

fn push_right(rows: &mut Vec<TokenId>, tokens: &[TokenId], width: usize) -> Result<()> {
    let Some(pads) = width.checked_sub(tokens.len()) else {
        let count = tokens.len();
        return Err(TaskError::data(format!(
            "{count} tokens do not fit into a window of {width} columns"
        )));
    };
    rows.resize(rows.len() + pads, PAD);
    rows.extend_from_slice(tokens);
    Ok(())
}
