//! Data sets: pure functions of their arguments, disjoint splits, lengths in proportion.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::HashSet;
use std::ops::RangeInclusive;

use relay_tasks::{
    ChainFormat, Dataset, Dialect, LisConfig, LisValues, Problem, Result, Solution, Split, Stream,
    Task, TaskConfig,
};

fn dataset(config: TaskConfig, lengths: RangeInclusive<usize>, seed: u64, split: Split) -> Dataset {
    Dataset::new(config.build().unwrap(), lengths, seed, split).unwrap()
}

#[test]
fn the_same_settings_give_the_same_problems_in_any_order() {
    for config in TaskConfig::paper() {
        let make = |seed| dataset(config, 3..=12, seed, Split::Train);
        let (one, other) = (make(7), make(7));
        let forward: Vec<Problem> = (0..40).map(|index| one.get(index).unwrap()).collect();
        let mut backward: Vec<Problem> = (0..40)
            .rev()
            .map(|index| other.get(index).unwrap())
            .collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert_eq!(one.get(u64::MAX).unwrap(), other.get(u64::MAX).unwrap());
        let with_another_seed: Vec<Problem> =
            (0..40).map(|index| make(8).get(index).unwrap()).collect();
        assert_ne!(forward, with_another_seed);
        assert_eq!(one.get_with_length(3, 20).unwrap().length, 20);
    }
}

/// The problems of a seed stay what they are: a change here makes every run before it impossible to repeat.
#[test]
fn known_problems() {
    for (split, index, expected) in [
        (
            Split::Test,
            0,
            ["9 * 2 / 8 =", "k u | u w w <sep>", "163 229 <sep>"],
        ),
        (
            Split::Train,
            5,
            [
                "4 + 2 * 2 * 7 =",
                "e e e | k e e s s <sep>",
                "171 200 215 <sep>",
            ],
        ),
        (
            Split::Valid,
            7,
            [
                "( 6 - 9 * 9 ) * 10 =",
                "p m p | w m w k v <sep>",
                "7 37 107 <sep>",
            ],
        ),
    ] {
        let found = TaskConfig::paper().map(|config| {
            let problem = dataset(config, 2..=4, 1, split).get(index);
            problem.unwrap().prompt
        });
        assert_eq!(found, expected, "{split}");
    }
}

#[test]
fn splits_share_no_problem() {
    for config in TaskConfig::paper() {
        // Short lengths, so that problems do come twice.
        let prompts = |split, seed| -> HashSet<String> {
            let set = dataset(config, 1..=3, seed, split);
            (0..600)
                .map(|index| set.get(index).unwrap().prompt)
                .collect()
        };
        let (train, valid, test) = (
            prompts(Split::Train, 1),
            prompts(Split::Valid, 2),
            prompts(Split::Test, 3),
        );
        assert!(
            train.is_disjoint(&test) && train.is_disjoint(&valid) && valid.is_disjoint(&test),
            "{config:?}"
        );
    }
}

#[test]
fn lengths_are_in_proportion_and_evenly_spread() {
    let config = TaskConfig::paper()[0];
    for lengths in [1..=15, 15..=25, 4..=4, 1..=2] {
        let set = dataset(config, lengths.clone(), 1, Split::Train);
        let period: usize = lengths.clone().sum();
        let drawn: Vec<usize> = (0..3 * period as u64)
            .map(|index| set.length_of(index))
            .collect();
        for length in lengths.clone() {
            for block in drawn.chunks(period) {
                assert_eq!(block.iter().filter(|&&it| it == length).count(), length);
            }
            // Any stretch of the order has about its share, so that every batch sees all lengths.
            let stretch = period.div_ceil(3);
            for window in drawn.windows(stretch) {
                let count = window.iter().filter(|&&it| it == length).count();
                let share = length * stretch / period;
                assert!(
                    count.abs_diff(share) <= 3,
                    "{lengths:?}: {count} of length {length} where {share} are due"
                );
            }
        }
    }
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let cases = [
        (TaskConfig::paper()[0], 0..=3, "0"),
        (TaskConfig::paper()[0], RangeInclusive::new(5, 4), "5..4"),
        (TaskConfig::paper()[1], 1..=1000, "1000"),
        (TaskConfig::paper()[2], 100..=125, "125"),
    ];
    for (config, lengths, says) in cases {
        let message = Dataset::new(config.build().unwrap(), lengths, 1, Split::Train)
            .unwrap_err()
            .to_string();
        assert!(message.contains(says), "{message}");
    }
    let task = TaskConfig::paper()[2].build().unwrap();
    assert!(task.generate(1, Split::Train, 0, 125).is_err());
    assert!(task.draw(0, &mut Stream::named(1, "test", &[])).is_err());
}

#[test]
fn a_fixed_range_allows_long_sequences() {
    let values = LisValues::Fixed {
        lowest: 126,
        highest: 249,
    };
    let task = TaskConfig::Lis(LisConfig {
        values,
        ..LisConfig::default()
    })
    .build()
    .unwrap();
    let problem = task.generate(1, Split::Test, 0, 1000).unwrap();
    assert_eq!(problem.steps.len(), 100);
    assert!(problem.answer.parse::<u32>().unwrap() < 126);
}

#[test]
fn a_split_that_is_empty_is_an_error() {
    // With numbers up to 2 there is one problem of one number, which falls into one of the splits.
    let task = TaskConfig::Lis(LisConfig {
        values: LisValues::Benchmark { max: 2 },
        ..LisConfig::default()
    });
    let task = task.build().unwrap();
    let splits = [Split::Train, Split::Valid, Split::Test];
    let errors: Vec<_> = splits
        .into_iter()
        .filter_map(|split| task.generate(1, split, 0, 1).err())
        .collect();
    assert_eq!(errors.len(), 2);
    assert!(
        errors[0]
            .to_string()
            .contains("no problem of length 1 in the"),
        "{}",
        errors[0]
    );
}

/// A task with what the trait provides, whose steps may have an `x` before them, too.
#[derive(Debug)]
struct Provided<'a>(&'a dyn Task);

impl Task for Provided<'_> {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }
    fn tokens(&self) -> Vec<String> {
        self.0.tokens()
    }
    fn lengths(&self) -> RangeInclusive<usize> {
        self.0.lengths()
    }
    fn chain_format(&self) -> ChainFormat {
        self.0.chain_format()
    }
    fn draw(&self, length: usize, stream: &mut Stream) -> Result<Problem> {
        self.0.draw(length, stream)
    }
    fn length(&self, prompt: &str) -> Result<usize> {
        self.0.length(prompt)
    }
    fn iterations(&self, prompt: &str) -> Result<usize> {
        self.0.iterations(prompt)
    }
    fn step_width(&self, prompt: &str) -> Result<usize> {
        self.0.step_width(prompt)
    }
    fn solve(&self, prompt: &str) -> Result<Solution> {
        self.0.solve(prompt)
    }
    fn check_step(
        &self,
        prompt: &str,
        step: usize,
        previous: Option<&str>,
        text: &str,
    ) -> Result<bool> {
        let text = text.strip_prefix("x ").unwrap_or(text);
        self.0.check_step(prompt, step, previous, text)
    }
}

#[test]
fn a_chain_is_right_if_its_steps_are() {
    let task = TaskConfig::paper()[1].build().unwrap();
    let problem = task.generate(1, Split::Train, 0, 4).unwrap();
    let (prompt, steps) = (&problem.prompt, &problem.steps);
    let task = Provided(task.as_ref());
    let right = |steps: &[String], answer: &str| task.check_chain(prompt, steps, answer).unwrap();
    let first_wrong = |steps: &[String]| task.first_wrong_step(prompt, steps).unwrap();
    assert!(right(steps, &problem.answer));
    assert!(!right(&steps[1..], &problem.answer) && !right(steps, "x"));
    let mut other = steps.clone();
    other[2] = format!("x {}", other[2]);
    assert!(right(&other, &problem.answer));
    assert_eq!(first_wrong(&other), None);
    other[2] = "x".to_owned();
    assert!(!right(&other, &problem.answer));
    assert_eq!(first_wrong(&other), Some(3));
}

#[test]
fn no_length_is_generated_that_the_task_does_not_have() {
    for config in TaskConfig::paper() {
        let task = config.build().unwrap();
        let longest = *task.lengths().end();
        for task in [task.as_ref(), &Provided(task.as_ref())] {
            let error = task.generate(1, Split::Train, 0, longest + 1).unwrap_err();
            assert!(
                error.to_string().contains(&(longest + 1).to_string()),
                "{error}"
            );
        }
    }
}

/// The tasks generate faster than the provided method does, and exactly the same.
#[test]
fn generate_is_the_provided_method() {
    for config in TaskConfig::paper() {
        let task = config.build().unwrap();
        for index in 0..20 {
            let provided = Provided(task.as_ref())
                .generate(1, Split::Test, index, 9)
                .unwrap();
            assert_eq!(task.generate(1, Split::Test, index, 9).unwrap(), provided);
        }
    }
}

#[test]
fn problems_are_drawn_as_the_design_says() {
    let share = |config: TaskConfig, length, holds: &dyn Fn(&Problem) -> bool| {
        let set = dataset(config, length..=length, 1, Split::Train);
        let hits = (0..4000)
            .filter(|&index| holds(&set.get(index).unwrap()))
            .count();
        hits as f64 / 4000.0
    };
    let [ari, ed, lis] = TaskConfig::paper();
    for operator in ["+", "-", "*", "/"] {
        let found = share(ari, 1, &|problem| {
            problem.prompt.split(' ').nth(1) == Some(operator)
        });
        assert!((found - 0.25).abs() < 0.03, "{operator}: {found}");
    }
    let halves = |problem: &Problem| -> [usize; 2] {
        let (first, second) = problem.prompt.split_once(" | ").unwrap();
        [first.split(' ').count(), second.split(' ').count() - 1]
    };
    for longer in 0..=3 {
        let found = share(ed, 12, &|problem| halves(problem)[1] == 12 + longer);
        assert!(
            (0.08..0.5).contains(&found),
            "{longer} letters longer: {found}"
        );
    }
    // Edited strings are close; random ones, two in five, are far, and so are a few that were edited often: with half or with
    // one and a half times as many random ones it were 0.28 and 0.62.
    let far = share(ed, 20, &|problem| {
        problem.answer.parse::<usize>().unwrap() > 26
    });
    assert!((0.38..0.54).contains(&far), "{far}");
    // Without planted runs a random sequence of 60 numbers has about 13 in its longest.
    let planted = share(lis, 60, &|problem| {
        problem.answer.parse::<usize>().unwrap() > 17
    });
    assert!(planted > 0.5, "{planted}");
}
