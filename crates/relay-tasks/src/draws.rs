//! Drawing until a split is hit, without solving what is thrown away.

use crate::error::{Result, TaskError};
use crate::random::Stream;
use crate::split::Split;
use crate::task::Task;

/// How often a problem is drawn before a split is taken to have none of its length.
const DRAWS: usize = 10_000;

/// Where problem `index` comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) seed: u64,
    pub(crate) split: Split,
    pub(crate) index: u64,
    pub(crate) length: usize,
}

/// What [`Task::generate`] does, for tasks that draw a problem and solve it in two steps: only the problem that falls
/// into the split is solved. Of test problems seven in eight are thrown away, so this makes them several times faster.
pub(crate) fn draw_into_split<T>(
    task: &dyn Task,
    place: Place,
    mut draw: impl FnMut(&mut Stream) -> (String, T),
) -> Result<(String, T)> {
    let Place {
        seed,
        split,
        index,
        length,
    } = place;
    if !task.lengths().contains(&length) {
        return Err(TaskError::length(task.name(), length, task.lengths()));
    }
    let purpose = format!("problem {} {}", task.name(), task.dialect());
    let mut stream = Stream::named(seed, &purpose, &[split as u64, index, length as u64]);
    for _ in 0..DRAWS {
        let (prompt, drawn) = draw(&mut stream);
        if Split::of(task.name(), &prompt) == split {
            return Ok((prompt, drawn));
        }
    }
    Err(TaskError::data(format!(
        "`{}` has no problem of length {length} in the {split} split",
        task.name()
    )))
}
