//! What of the files is refused, and what is warned of.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
};

use relay_tasks::{Codec, Example, Problem, ends_in_answer, is_closed_by};

use crate::{
    FileSettings, Result,
    corpus::{Sizes, Unsolved},
    line_file::at,
};

/// Problems without those that stand there already: none must count, or be learnt, twice. A warning says how many lines go.
pub(super) fn first_of_each<T>(
    mut lines: Vec<T>,
    problem: impl Fn(&T) -> &Problem,
    file: &Path,
) -> Vec<T> {
    let all = lines.len();
    let mut seen = HashSet::new();
    lines.retain(|line| {
        let Problem { task, prompt, .. } = problem(line);
        seen.insert((task.clone(), prompt.clone()))
    });
    match all - lines.len() {
        0 => {}
        n => tracing::warn!(
            "{}: {n} lines repeat a problem, and do not count",
            file.display()
        ),
    }
    lines
}

/// Warns of tasks that no training is watched with, as they have too few lines to set one aside.
pub(super) fn warn_of_unwatched(codec: &Codec, valid: &[Example], file: &Path) {
    for (task, info) in codec.tasks.iter().enumerate() {
        if !valid.iter().any(|example| example.task == task) {
            tracing::warn!(
                "{}: so few problems of `{}` that none is set aside; no training on them is validated",
                file.display(),
                info.name
            );
        }
    }
}

/// Warns of test problems that a model learns, with their solutions or with the chains that are written for them, and of
/// problems that it learns with both.
pub(super) fn warn_of_shared(
    original: &[Problem],
    longer: &[Unsolved],
    tests: &[Problem],
    files: &FileSettings,
) {
    fn key(problem: &Problem) -> (&str, &str) {
        (&problem.task, &problem.prompt)
    }
    let original: HashSet<_> = original.iter().map(key).collect();
    let longer: HashSet<_> = longer.iter().map(|one| key(&one.problem)).collect();
    let tests: HashSet<_> = tests.iter().map(key).collect();
    let warn = |one: &HashSet<_>, [a, b]: [&Path; 2], other: &HashSet<_>, so: &str| match one
        .intersection(other)
        .count()
    {
        0 => {}
        n => tracing::warn!(
            "{n} problems stand in both {} and {}{so}",
            a.display(),
            b.display()
        ),
    };
    let FileSettings {
        train,
        longer: further,
        test,
    } = files;
    warn(&original, [train, test], &tests, "");
    warn(
        &longer,
        [further, test],
        &tests,
        ": their answers tell how many of the written chains are right, but the fine-tuned model is tested on problems \
         whose chains it has learnt",
    );
    warn(
        &original,
        [train, further],
        &longer,
        ": they are learnt with the chain of each",
    );
}

/// The widest window to train on: one head's attention alone is 1 GiB there.
const WIDEST: usize = 1 << 14;

/// The most iterations to train on.
const MOST_ITERATIONS: usize = 1 << 14;

/// From how many times the median on a problem is told of that is so much larger than the others.
const OUTLIER: usize = 16;

/// That no training problem is larger than what a training can bear. Tells of one that is far larger than most: it has a
/// micro-batch of its own, may take longer than all the others together, and it is by the largest one that longer problems are judged.
pub(super) fn check_training_sizes(train: &[Example], file: &Path) -> Result<()> {
    type Size = fn(&Example) -> usize;
    let sizes: [(&str, Size, usize); 2] = [
        ("the width of its window", |example| example.width, WIDEST),
        (
            "the number of its steps",
            |example| example.iterations,
            MOST_ITERATIONS,
        ),
    ];
    for (what, size, most) in sizes {
        let Some((line, found, median)) = largest_and_median(train.iter().map(size).collect())
        else {
            return Ok(());
        };
        if found > most {
            let wrong = format!("{what} is {found}, must be at most {most} to be trained on");
            return Err(at(file, line, &wrong));
        }
        if found > OUTLIER * median {
            tracing::warn!(
                "{}, line {}: {what} is {found}, that of half of the lines at most {median}; this one problem may take longer than \
                 all the others, and memory for its square",
                file.display(),
                line + 1
            );
        }
    }
    Ok(())
}

/// The most iterations, and the widest window, that memory is risked for.
pub(super) fn most_of(train: &[Example]) -> Sizes {
    let most = |known: Option<usize>| (16 * known.unwrap_or(0)).max(1024);
    Sizes {
        iterations: most(train.iter().map(|example| example.iterations).max()),
        width: most(train.iter().map(|example| example.width).max()),
    }
}

/// The first line with the largest number, that number, and the median; `None` without lines.
fn largest_and_median(mut all: Vec<usize>) -> Option<(usize, usize, usize)> {
    let line = (0..all.len()).max_by_key(|&line| (all[line], std::cmp::Reverse(line)))?;
    let (largest, middle) = (all[line], all.len() / 2);
    Some((line, largest, *all.select_nth_unstable(middle).1))
}

/// How many tokens the widest step has beyond its problem: by so many all windows are wider than their problems. Warns of one that
/// has far more than others have.
///
/// # Errors
/// When a window would be too wide to train on.
pub(super) fn widest_step(train: &[Example], file: &Path) -> Result<usize> {
    let beyond = |one: &Example| one.width - one.prompt.len();
    let Some((line, found, median)) = largest_and_median(train.iter().map(beyond).collect()) else {
        return Ok(0);
    };
    let longest = train.iter().map(|one| one.prompt.len()).max().unwrap_or(0);
    if longest + found > WIDEST {
        let wrong = format!(
            "a step has {found} tokens more than its problem, so that windows are up to {} wide, must be at most {WIDEST} to be \
             trained on",
            longest + found
        );
        return Err(at(file, line, &wrong));
    }
    if found > OUTLIER * median.max(1) {
        tracing::warn!(
            "{}, line {}: a step has {found} tokens more than its problem, those of half of the lines at most {median}; the windows of \
             all problems are {found} tokens wider than these because of it",
            file.display(),
            line + 1
        );
    }
    Ok(found)
}

/// That no problem of a file is larger than `most`.
pub(super) fn check_sizes<'a>(
    examples: impl Iterator<Item = &'a Example> + Clone,
    most: Sizes,
    file: &Path,
) -> Result<()> {
    type Size = fn(&Example) -> usize;
    let sizes: [(&str, Size, usize); 2] = [
        (
            "the width of the window",
            |example| example.width,
            most.width,
        ),
        ("iterations", |example| example.iterations, most.iterations),
    ];
    for (what, size, most) in sizes {
        let mut found = examples.clone().map(size).enumerate();
        if let Some((line, found)) = found.find(|(_, found)| *found > most) {
            let rule = "16 times the most of the training problems, or 1024 if that is more";
            let wrong = format!("{what} is {found}, must be at most {most} ({rule})");
            return Err(at(file, line, &wrong));
        }
    }
    Ok(())
}

/// Warns of a form that nearly all lines of a task have, and not all: the text of chains then is of the other form for all.
pub(super) fn warn_of_odd_lines(codec: &Codec, problems: &[Problem], file: &Path) {
    for info in &codec.tasks {
        let own = problems.iter().enumerate();
        let own: Vec<_> = own.filter(|(_, p)| p.task == info.name).collect();
        let warn = |what: &str, has: &dyn Fn(&Problem) -> bool| {
            let odd: Vec<usize> = own
                .iter()
                .filter(|(_, p)| !has(p))
                .map(|(at, _)| *at)
                .collect();
            if let [first, ..] = odd[..]
                && 20 * odd.len() <= own.len()
            {
                tracing::warn!(
                    "{}: {what} in {} of {} lines of `{}`, but not in line {}: so it is not taken for the form of all; if \
                     that is a mistake, mend it",
                    file.display(),
                    own.len() - odd.len(),
                    own.len(),
                    info.name,
                    first + 1
                );
            }
        };
        if !info.answer_is_last_step {
            warn("the last step is the answer", &ends_in_answer);
        }
        if info.step_end.is_none()
            && let Some(end) = usual_end(own.iter().map(|(_, problem)| *problem))
        {
            let has = |problem: &Problem| inner_steps(problem).all(|step| is_closed_by(step, &end));
            warn(&format!("every step ends in `{end}`"), &has);
        }
    }
}

/// The steps without a last one that is the answer.
fn inner_steps(problem: &Problem) -> impl Iterator<Item = &str> {
    let steps = problem.steps.len() - usize::from(ends_in_answer(problem));
    problem.steps[..steps].iter().map(String::as_str)
}

/// The token that most steps end in.
fn usual_end<'a>(problems: impl Iterator<Item = &'a Problem>) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for end in problems.flat_map(inner_steps).filter_map(last_token) {
        *counts.entry(end).or_default() += 1;
    }
    let usual = counts.into_iter().max_by_key(|(_, count)| *count);
    usual.map(|(end, _)| end.to_owned())
}

fn last_token(step: &str) -> Option<&str> {
    step.split_whitespace().next_back()
}

/// Warns of lengths that are tested and lie between those of the training problems: everything later takes these for a range.
pub(super) fn warn_of_gaps(codec: &Codec, train: &[Example], test: &[Example], file: &Path) {
    for (task, info) in codec.tasks.iter().enumerate() {
        let lengths = |examples: &[Example]| -> BTreeSet<usize> {
            let own = examples.iter().filter(|example| example.task == task);
            own.map(|example| example.length).collect()
        };
        let trained = lengths(train);
        let (Some(first), Some(last)) = (trained.first(), trained.last()) else {
            continue;
        };
        let tested = lengths(test);
        let gaps = tested
            .range(first..=last)
            .filter(|length| !trained.contains(length));
        let gaps: Vec<String> = gaps.map(usize::to_string).collect();
        if !gaps.is_empty() {
            tracing::warn!(
                "{}: no training line of `{}` has length {}, but shorter and longer ones do: it counts as trained",
                file.display(),
                info.name,
                gaps.join(", ")
            );
        }
    }
}
