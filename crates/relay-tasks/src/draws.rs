//! Drawing problems until one falls into a split.

use crate::dialect::Dialect;
use crate::error::{Result, TaskError};
use crate::random::Stream;
use crate::split::Split;
use crate::task::Task;

/// How often a problem is drawn before a split is taken to have none of its length.
const DRAWS: usize = 10_000;

/// What the random numbers of a task's problems are for: part of what they are a function of, so the text must not change.
pub(crate) fn purpose_of(name: &str, dialect: &Dialect) -> String {
    format!("problem {name} {dialect}")
}

/// Where problem `index` comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// That of the task's problems, which [`purpose_of`] gives.
    pub(crate) purpose: &'a str,
    pub(crate) seed: u64,
    pub(crate) split: Split,
    pub(crate) index: u64,
    pub(crate) length: usize,
}

/// The first of what `draw` makes that falls into the split, by the text of its problem that `prompt` gives: a pure
/// function of the task's settings and of `place`.
///
/// # Errors
/// When the task has no problems of that length or none of it in the split, and what `draw` ends with.
pub(crate) fn first_in_split<T>(
    task: &(impl Task + ?Sized),
    place: Place<'_>,
    mut draw: impl FnMut(&mut Stream) -> Result<T>,
    prompt: impl Fn(&T) -> &str,
) -> Result<T> {
    let Place {
        purpose,
        seed,
        split,
        index,
        length,
    } = place;
    if !task.lengths().contains(&length) {
        return Err(TaskError::length(task.name(), length, task.lengths()));
    }
    let mut stream = Stream::named(seed, purpose, &[split as u64, index, length as u64]);
    for _ in 0..DRAWS {
        let drawn = draw(&mut stream)?;
        if Split::of(task.name(), prompt(&drawn)) == split {
            return Ok(drawn);
        }
    }
    Err(TaskError::EmptySplit {
        task: task.name().to_owned(),
        length,
        split,
    })
}

/// What [`Task::generate`] does, for tasks that draw a problem and solve it in two steps: only the problem that falls
/// into the split is solved. Of test problems seven in eight are thrown away, so this makes them several times faster.
pub(crate) fn draw_into_split<T>(
    task: &dyn Task,
    place: Place<'_>,
    mut draw: impl FnMut(&mut Stream) -> (String, T),
) -> Result<(String, T)> {
    first_in_split(
        task,
        place,
        |stream| Ok(draw(stream)),
        |(prompt, _)| prompt.as_str(),
    )
}
