//! Where examples come from.

use std::collections::BTreeMap;

use crate::common::*;
use relay_tasks::{Example, Split};
use relay_train::{
    Batching, Curriculum, ExampleListSource, ExampleSource, OptimizerConfig, Result, Resume,
    StopFlag, TaskSource,
};

#[test]
fn a_step_gives_the_same_examples_always() {
    for batching in [
        Batching::Mixed { samples: 9 },
        Batching::OneLength { tokens: 64 },
    ] {
        let (a, b) = (source(batching.clone()), source(batching));
        let later = a.examples(5).unwrap();
        assert_eq!(b.examples(5).unwrap(), later);
        assert_ne!(a.examples(6).unwrap(), later);
        assert_eq!(a.examples(5).unwrap(), later);
    }
}

#[test]
fn mixed_batches_have_lengths_in_proportion_and_no_test_problems() {
    let source = source(Batching::Mixed { samples: 1200 });
    let examples = source.examples(0).unwrap();
    assert_eq!(examples.len(), 1200);
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for example in &examples {
        *counts.entry((example.task, example.length)).or_default() += 1;
        let text = codec().vocab.decode(&example.prompt[1..]);
        assert_eq!(
            Split::of(&codec().tasks[example.task].name, &text),
            Split::Train
        );
    }
    // 600 of each task; arithmetic 1 : 2 : 3.
    for (length, right) in [(1, 100), (2, 200), (3, 300)] {
        assert!(counts[&(0, length)].abs_diff(right) < 50, "{counts:?}");
    }
    assert_eq!(counts.keys().map(|(_, length)| *length).max(), Some(7));
}

#[test]
fn batches_of_one_length_fill_their_columns() {
    let source = source(Batching::OneLength { tokens: 100 });
    for step in 0..20 {
        let examples = source.examples(step).unwrap();
        for task in 0..2 {
            let own: Vec<&Example> = examples.iter().filter(|e| e.task == task).collect();
            let width = own.iter().map(|e| e.width).max().unwrap();
            assert!(own.iter().all(|e| e.length == own[0].length));
            assert!(
                own.len() * width <= 100 && (own.len() + 2) * (width + 8) > 100,
                "{} of {width}",
                own.len()
            );
        }
    }
}

#[test]
fn a_curriculum_opens_lengths_one_by_one() {
    let grown = |start, steps| Curriculum {
        start,
        steps,
        ..Curriculum::default()
    };
    let curriculum = grown(0.0, 100);
    assert_eq!(curriculum.lengths(0, "ari", &(2..=6)), 2..=2);
    assert_eq!(curriculum.lengths(50, "ari", &(2..=6)), 2..=4);
    assert_eq!(curriculum.lengths(100, "ari", &(2..=6)), 2..=6);
    assert_eq!(curriculum.lengths(u64::MAX, "ari", &(2..=6)), 2..=6);
    assert_eq!(grown(1.0, 0).lengths(0, "ari", &(3..=3)), 3..=3);
    assert!(grown(1.5, 0).validate().is_err());

    let batching = Batching::Mixed { samples: 20 };
    let source = TaskSource::new(
        tasks(),
        vec![1..=3, 4..=7],
        codec(),
        batching,
        Some(curriculum),
        1,
    )
    .unwrap();
    assert!(
        source
            .examples(0)
            .unwrap()
            .iter()
            .all(|e| e.length == [1, 4][e.task])
    );
    assert!(source.examples(200).unwrap().iter().any(|e| e.length == 7));
}

#[test]
fn a_curriculum_may_be_for_some_tasks_only() {
    let source = |name: &str| {
        let curriculum = Curriculum {
            start: 0.0,
            steps: 100,
            tasks: vec![name.to_owned()],
        };
        let batching = Batching::Mixed { samples: 40 };
        let lengths = vec![1..=3, 4..=7];
        TaskSource::new(tasks(), lengths, codec(), batching, Some(curriculum), 1)
    };
    let names: Vec<String> = tasks().iter().map(|task| task.name().to_owned()).collect();
    let examples = source(&names[1]).unwrap().examples(0).unwrap();
    let longest = |task| {
        let of_task = examples.iter().filter(|example| example.task == task);
        of_task.map(|example| example.length).max()
    };
    assert_eq!((longest(0), longest(1)), (Some(3), Some(4)));
    let said = source("sums").unwrap_err().to_string();
    assert!(said.contains("sums"), "{said}");
}

#[test]
fn a_list_gives_every_example_once_an_epoch() {
    let examples = examples();
    let index = |example: &Example| examples.iter().position(|e| e == example).unwrap();
    let source =
        ExampleListSource::new(examples.clone(), Batching::Mixed { samples: 3 }, 4).unwrap();
    let seen: Vec<usize> = (0..8)
        .flat_map(|step| source.examples(step).unwrap())
        .map(|e| index(&e))
        .collect();
    for epoch in seen.chunks(8) {
        let mut sorted = epoch.to_vec();
        sorted.sort();
        assert_eq!(sorted, (0..8).collect::<Vec<_>>());
    }
    assert_ne!(seen[..8], seen[8..16]);
    // Asked for in any order, a step is the same.
    let again =
        ExampleListSource::new(examples.clone(), Batching::Mixed { samples: 3 }, 4).unwrap();
    let backwards: Vec<Vec<Example>> = (0..8)
        .rev()
        .map(|step| again.examples(step).unwrap())
        .collect();
    let forwards: Vec<usize> = backwards.iter().rev().flatten().map(index).collect();
    assert_eq!(forwards, seen);
}

#[test]
fn a_list_in_batches_of_one_length() {
    let examples: Vec<Example> = (0..40)
        .map(|i| example(usize::from(i % 4 == 0), 4, i))
        .collect();
    let widest = examples.iter().map(|e| e.width).max().unwrap();
    let source = ExampleListSource::new(
        examples.clone(),
        Batching::OneLength { tokens: 3 * widest },
        4,
    )
    .unwrap();
    let mut seen = vec![0; 40];
    // 30 examples of the first task in batches of at least 3, no batch smaller than the others by more than one.
    for step in 0..10 {
        let batch = source.examples(step).unwrap();
        let own: Vec<&Example> = batch.iter().filter(|e| e.task == 0).collect();
        assert!((2..=6).contains(&own.len()), "{}", own.len());
        for example in own {
            seen[examples.iter().position(|e| e == example).unwrap()] += 1;
        }
    }
    assert!(
        (0..40).filter(|i| i % 4 != 0).all(|i| seen[i] >= 1),
        "{seen:?}"
    );
}

#[test]
fn what_cannot_be_is_an_error() {
    let made = |lengths, batching| {
        TaskSource::new(tasks(), lengths, codec(), batching, None, 1)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(made(vec![1..=3], Batching::Mixed { samples: 1 }).contains("`lengths` is 1 ranges"));
    assert!(
        made(vec![0..=3, 4..=7], Batching::Mixed { samples: 1 })
            .contains("no problems of length 0")
    );
    assert!(
        made(vec![1..=3, 4..=7], Batching::Mixed { samples: 0 })
            .contains("`batching.mixed.samples` is 0")
    );
    let unsolved = Example {
        answer: None,
        ..examples()[0].clone()
    };
    for bad in [vec![], vec![unsolved]] {
        assert!(ExampleListSource::new(bad, Batching::Mixed { samples: 1 }, 1).is_err());
    }
}

/// Has examples for some updates only.
#[derive(Debug)]
struct UsedUp;

impl ExampleSource for UsedUp {
    fn examples(&self, step: u64) -> Result<Vec<Example>> {
        Ok(if step < 2 { examples() } else { Vec::new() })
    }
}

#[test]
fn updates_without_examples_and_tasks_that_nobody_knows_are_errors() {
    let run = |valid: &[Example]| {
        let dir = tempfile::tempdir().unwrap();
        let trainer = trainer::<Flex>(config(OptimizerConfig::adamw()), dir.path());
        let model = looped(0.1).init(&Default::default(), 3);
        let stop = StopFlag::new();
        let outcome = trainer.run(model, &UsedUp, valid, Resume::Fresh, &stop);
        outcome.unwrap_err().to_string()
    };
    let error = run(&[]);
    assert!(
        error.contains("the list of examples of update 2 is empty"),
        "{error}"
    );
    let mut unknown = examples()[0].clone();
    unknown.task = 2;
    let error = run(&[unknown]);
    assert!(
        error.contains("is 2") && error.contains("below 2, the number of tasks"),
        "{error}"
    );
}
