//! Which lines of the training data a training is watched with.

use std::collections::{BTreeMap, HashSet};

use relay_tasks::Problem;

/// Of how many training problems of a task one is set aside to watch the training with.
const VALID_SHARE: usize = 20;

/// The lines, up to one in [`VALID_SHARE`] of every task, that trainings are watched with. Which ones depends on their problems
/// only, so that the order of a file, such as lengths in turns, has no part in it. Lines of the same problem stay together: what
/// is watched with is learnt from none of them.
pub(super) fn set_aside(problems: &[Problem]) -> HashSet<usize> {
    let mut of_task: BTreeMap<&str, Vec<([u8; 32], usize)>> = BTreeMap::new();
    for (index, Problem { task, prompt, .. }) in problems.iter().enumerate() {
        // Of the text: the numbers of tokens depend on the order of the file, too.
        let place = (*blake3::hash(prompt.as_bytes()).as_bytes(), index);
        of_task.entry(task).or_default().push(place);
    }
    let mut aside = HashSet::new();
    for mut places in of_task.into_values() {
        places.sort_unstable();
        let mut share = places.len() / VALID_SHARE;
        for lines in places.chunk_by(|one, other| one.0 == other.0) {
            if lines.len() <= share {
                share -= lines.len();
                aside.extend(lines.iter().map(|(_, index)| index));
            }
        }
    }
    aside
}

/// The lines that are `aside`, and the others.
pub(super) fn split<T>(lines: Vec<T>, aside: &HashSet<usize>) -> (Vec<T>, Vec<T>) {
    let numbered = lines.into_iter().enumerate();
    let (aside, others): (Vec<_>, Vec<_>) = numbered.partition(|(index, _)| aside.contains(index));
    let bare = |numbered: Vec<(usize, T)>| numbered.into_iter().map(|(_, line)| line).collect();
    (bare(aside), bare(others))
}
