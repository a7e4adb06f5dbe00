//! Tests of problems drawn from tasks.

use relay_tasks::{ArithmeticConfig, Domain, TaskConfig};

use super::*;
use crate::DataSettings;

/// The tasks of `mini`.
fn mini() -> Vec<TaskSettings> {
    match crate::preset("mini", 1).unwrap().data {
        DataSettings::Generated(tasks) => tasks,
        _ => panic!("tasks expected"),
    }
}

/// Arithmetic modulo 2, of which a length has few problems.
fn modulo_2(test: [usize; 2]) -> GeneratedCorpus {
    let ari = TaskSettings {
        task: TaskConfig::Ari(ArithmeticConfig {
            domain: Domain::PrimeField { p: 2 },
            ..ArithmeticConfig::default()
        }),
        test,
        ..mini().remove(0)
    };
    GeneratedCorpus::new(&[ari], 1).unwrap()
}

#[test]
fn a_length_without_test_problems_is_left_out() {
    // There are 14 problems with one operator, and none of them is a test problem.
    let corpus = modulo_2([1, 3]);
    let lengths = corpus.test(5).unwrap();
    let lengths: BTreeSet<_> = lengths.iter().map(|e| e.length).collect();
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn original_problems_have_their_shares_in_the_updates_before() {
    let tasks = mini();
    let lis = TaskSettings {
        original: 4620,
        ..tasks[2].clone()
    };
    let corpus = GeneratedCorpus::new(&[lis], 1).unwrap();
    let counts = |batching| {
        let problems = corpus.original(&batching).unwrap();
        let of_length = |length| problems.iter().filter(|one| one.length == length).count();
        (3..=30).map(of_length).collect::<Vec<_>>()
    };
    let even = counts(Batching::OneLength { tokens: 1024 });
    assert_eq!(even, [165; 28]);
    // 3 + 4 + ... + 30 is 462.
    let mixed = counts(Batching::Mixed { samples: 512 });
    let right: Vec<usize> = (3..=30).map(|length| 10 * length).collect();
    assert_eq!(mixed, right);
}

#[test]
fn chains_of_a_trained_length_are_of_other_problems_than_the_original_ones() {
    let tasks = mini();
    let lis = TaskSettings {
        train: [29, 30],
        original: 200,
        longer: vec![(30, 100), (31, 100)],
        self_phases: vec![(30, 100)],
        ..tasks[2].clone()
    };
    let corpus = GeneratedCorpus::new(&[lis], 1).unwrap();
    let original = corpus.original(&Batching::Mixed { samples: 1 }).unwrap();
    let original: BTreeSet<_> = original.into_iter().map(|one| one.prompt).collect();
    let repeated = |unsolved: Vec<Unsolved>| {
        let mut prompts = unsolved.iter().map(|one| &one.problem.prompt);
        prompts.any(|prompt| original.contains(prompt))
    };
    for round in 0..2 {
        assert!(!repeated(corpus.longer(round).unwrap()));
        assert!(!repeated(corpus.phase(0, round).unwrap()));
    }
}

#[test]
fn a_length_without_validation_problems_is_left_out() {
    let tasks = mini();
    let valid = |lengths: [usize; 2], samples| {
        // Of twelve numbers alone none is a validation problem.
        let mut lis = tasks[2].clone();
        lis.train = lengths;
        GeneratedCorpus::new(&[lis], 1).unwrap().valid(samples)
    };
    let found = valid([1, 3], 50).unwrap();
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(|example| example.length > 1));
    let error = valid([1, 1], 50).unwrap_err().to_string();
    assert!(error.contains("train is lis 1..1"), "{error}");
    assert!(valid([1, 1], 0).unwrap().is_empty());
}

/// The texts of all problems that are learnt, of those whose chains are written, and of those to watch and to measure.
#[test]
fn nothing_that_is_measured_is_learnt_or_written() {
    let mut tasks = mini();
    for task in &mut tasks {
        // The longest trained length is written, too.
        let trained = task.train[1];
        task.original = 300;
        task.longer.push((trained, 30));
        task.self_phases.push((trained, 30));
        let counts = task.longer.iter_mut().chain(&mut task.self_phases);
        counts.for_each(|(_, count)| *count = 30);
    }
    let corpus = GeneratedCorpus::new(&tasks, 1).unwrap();
    let examples = |examples: Vec<Example>| {
        let text = |one: Example| (one.task, corpus.codec.vocab.decode(&one.prompt[1..]));
        examples.into_iter().map(text).collect::<BTreeSet<_>>()
    };
    let (valid, test) = (corpus.valid(300).unwrap(), corpus.test(30).unwrap());
    let (valid, test) = (examples(valid), examples(test));
    assert!(valid.is_disjoint(&test));
    let written =
        |unsolved: Vec<Unsolved>| examples(unsolved.into_iter().map(|one| one.example).collect());
    let mut used = Vec::new();
    for batching in [
        Batching::OneLength { tokens: 512 },
        Batching::Mixed { samples: 64 },
    ] {
        let problems = corpus.original(&batching).unwrap();
        let encoded = problems.iter().map(|one| corpus.codec.encode(one).unwrap());
        used.push(("original", examples(encoded.collect())));
        let source = corpus.source(&batching, None, 1).unwrap();
        let drawn = (0..30).flat_map(|step| source.examples(step).unwrap());
        used.push(("training", examples(drawn.collect())));
    }
    for round in 0..2 {
        used.push(("longer", written(corpus.longer(round).unwrap())));
        for phase in 0..tasks[0].self_phases.len() {
            used.push(("phase", written(corpus.phase(phase, round).unwrap())));
        }
    }
    for (what, used) in used {
        assert!(!used.is_empty() && used.is_disjoint(&test), "{what}");
        assert!(used.is_disjoint(&valid), "{what}");
    }
}

/// A model that failed at a problem fails at it again, and a chain that is kept twice counts twice.
#[test]
fn every_round_and_every_phase_draws_other_problems() {
    let mut lis = mini().remove(2);
    lis.longer = vec![(36, 40)];
    lis.self_phases = vec![(36, 40); 3];
    let corpus = GeneratedCorpus::new(&[lis], 1).unwrap();
    let mut drawn = vec![corpus.longer(0).unwrap(), corpus.longer(1).unwrap()];
    let prompts = |all: &[Vec<Unsolved>]| {
        let all = all.iter().flatten();
        all.map(|one| one.problem.prompt.clone())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(prompts(&drawn).len(), 80);
    drawn.clear();
    for phase in 0..3 {
        drawn.extend((0..2).map(|round| corpus.phase(phase, round).unwrap()));
    }
    assert_eq!(prompts(&drawn).len(), 6 * 40);
}

#[test]
fn a_test_problem_counts_once() {
    // The same are drawn again and again.
    let corpus = modulo_2([2, 2]);
    let found = corpus.test(400).unwrap();
    let distinct: BTreeSet<_> = found.iter().map(|one| one.prompt.clone()).collect();
    assert_eq!(found.len(), distinct.len());
    assert!(found.len() < 400 && found.len() > 2, "{}", found.len());
}
