//! Tests of the chains that are kept.

use relay_tasks::{StepOrder, TaskConfig};

use super::*;
use crate::DataSettings;

fn truth(corpus: &dyn Corpus, example: &Example) -> Chain {
    let codec = corpus.codec();
    let problem = codec.decode_chain(example, &Chain::default());
    let solved = codec.encode(&corpus.truth(&problem).unwrap()).unwrap();
    Chain {
        steps: solved.steps,
        answer: solved.answer,
        ..Chain::default()
    }
}

#[test]
fn a_last_step_that_is_the_answer_counts_and_not_the_answer_head() {
    let settings = crate::preset("mini", 1).unwrap();
    let corpus = crate::corpus(&settings).unwrap();
    for unsolved in corpus.longer(0).unwrap().iter().step_by(500) {
        let mut chain = truth(corpus.as_ref(), &unsolved.example);
        let right = chain.answer;
        let other = chain
            .steps
            .iter()
            .flatten()
            .find(|&&token| Some(token) != right);
        chain.answer = other.copied();
        let mut count = ChainYield {
            wanted: 1,
            ..ChainYield::default()
        };
        let line = judge(corpus.as_ref(), unsolved, &chain, true, &mut count).unwrap();
        let last_is_answer = line.task == "ari";
        assert_eq!(line.steps.last() == Some(&line.answer), last_is_answer);
        assert_eq!(count.right, Some(usize::from(last_is_answer)));
    }
}

/// The chain of such a problem that a task gives is one of many right ones.
#[test]
fn of_chains_in_any_order_nobody_knows_how_many_are_right() {
    let mut settings = crate::preset("smoke", 1).unwrap();
    let DataSettings::Generated(tasks) = &mut settings.data else {
        panic!("tasks expected")
    };
    let TaskConfig::Ari(ari) = &mut tasks[0].task else {
        panic!("arithmetic expected")
    };
    ari.order = StepOrder::RandomExpansion;
    let corpus = crate::corpus(&settings).unwrap();
    for unsolved in corpus.longer(0).unwrap().iter() {
        let chain = truth(corpus.as_ref(), &unsolved.example);
        let mut count = ChainYield {
            wanted: 1,
            ..ChainYield::default()
        };
        let line = judge(corpus.as_ref(), unsolved, &chain, true, &mut count).unwrap();
        let one = (line.task != "ari").then_some(1);
        assert_eq!((count.kept, count.known, count.right), (1, one, one));
    }
}

/// The least sure step decides, and what is exactly as sure as is asked for is sure enough.
#[test]
fn chains_with_an_unsure_step_are_left_out() {
    let settings = crate::preset("smoke", 1).unwrap();
    let corpus = crate::corpus(&settings).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chains.jsonl");
    let ask = ChainSettings {
        min_confidence: 0.9,
        tries: 1,
    };
    let mut number = 0;
    let write = |examples: &[Example]| {
        let chain = |example: &Example| {
            let mut chain = truth(corpus.as_ref(), example);
            chain.confidence = vec![0.95; chain.steps.len()];
            let place = number % chain.steps.len();
            chain.confidence[place] = if number % 3 == 0 { 0.9 } else { 0.89 };
            // The answer is no step.
            chain.answer_confidence = 0.1;
            number += 1;
            chain
        };
        Ok(examples.iter().map(chain).collect())
    };
    let counts = write_chains(corpus.as_ref(), &ask, None, &file, write).unwrap();
    let sum = |of: fn(&ChainYield) -> usize| counts.values().map(of).sum::<usize>();
    let wanted = sum(|count| count.wanted);
    assert_eq!(sum(|count| count.kept), wanted.div_ceil(3));
    assert_eq!(sum(|count| count.unsure), wanted - wanted.div_ceil(3));
    let kept = read_lines::<ChainLine>(&file).unwrap();
    assert_eq!(kept.len(), wanted.div_ceil(3));
    let least = |line: &ChainLine| line.confidence.iter().copied().fold(1.0, f32::min);
    assert!(kept.iter().all(|line| least(line) == 0.9));
}

/// One that is missing would give the others to problems that are not theirs.
#[test]
fn a_writer_that_leaves_one_out_is_an_error() {
    let settings = crate::preset("smoke", 1).unwrap();
    let corpus = crate::corpus(&settings).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chains.jsonl");
    let write = |examples: &[Example]| {
        let others = examples.iter().skip(1);
        Ok(others.map(|one| truth(corpus.as_ref(), one)).collect())
    };
    let error = write_chains(corpus.as_ref(), &settings.chains, None, &file, write).unwrap_err();
    let says = "the number of chains that were written is 199: it must be 200";
    assert!(error.to_string().contains(says), "{error}");
    assert!(!file.exists());
    let test = corpus.test(5).unwrap();
    let measured =
        crate::evaluate::evaluate(corpus.as_ref(), &settings.evaluation, &test, true, write);
    assert!(measured.is_err());
}

#[test]
fn later_rounds_write_about_as_many_chains_as_are_missing() {
    let settings = crate::preset("mini", 1).unwrap();
    let corpus = crate::corpus(&settings).unwrap();
    let wanted = corpus.longer(0).unwrap().len();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chains.jsonl");
    let drawn = Drawn {
        tries: 3,
        longer: &|round| corpus.longer(round),
    };
    let (mut written, mut seen) = (0, 0);
    let write = |examples: &[Example]| {
        written += examples.len();
        Ok(examples
            .iter()
            .map(|one| truth(corpus.as_ref(), one))
            .collect())
    };
    // Every tenth is not taken.
    let accept = |examples: &[Example], _: &[Unsolved], _: &[Chain]| {
        let mut take = || {
            seen += 1;
            seen % 10 != 0
        };
        Ok(examples.iter().map(|_| take()).collect())
    };
    let counts = keep_chains(corpus.as_ref(), drawn, &file, write, accept).unwrap();
    assert!(counts.values().all(|count| count.kept == count.wanted));
    assert!(written < wanted * 5 / 4, "{written} chains for {wanted}");
}

/// What decides is the confidence and the rule together.
#[test]
fn a_rule_of_ones_own_is_asked_too() {
    #[derive(Debug)]
    struct Short(usize);
    impl ChainFilter for Short {
        fn keep(&self, problems: &[Unsolved], chains: &[Chain]) -> Result<Vec<bool>> {
            assert!(problems.iter().all(|one| one.problem.steps.is_empty()));
            let words = problems.iter().zip(chains).skip(self.0);
            Ok(words.map(|(one, _)| one.problem.length == 7).collect())
        }

        fn fingerprint(&self) -> serde_json::Value {
            "short".into()
        }
    }
    let settings = crate::preset("smoke", 1).unwrap();
    let corpus = crate::corpus(&settings).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chains.jsonl");
    let ask = ChainSettings {
        min_confidence: 0.9,
        tries: 1,
    };
    let mut number = 0;
    let mut write = |examples: &[Example]| {
        let chain = |example: &Example| {
            let mut chain = truth(corpus.as_ref(), example);
            let sure = if number % 2 == 0 { 0.95 } else { 0.85 };
            chain.confidence = vec![sure; chain.steps.len()];
            number += 1;
            chain
        };
        Ok(examples.iter().map(chain).collect())
    };
    let counts = write_chains(corpus.as_ref(), &ask, Some(&Short(0)), &file, &mut write).unwrap();
    for (key, count) in &counts {
        let right = if key.ends_with(" 7") {
            count.wanted.div_ceil(2)
        } else {
            0
        };
        assert!(count.kept.abs_diff(right) <= 1, "{key}: {count:?}");
        assert_eq!(count.kept + count.unsure, count.wanted, "{key}");
    }
    assert!(counts.keys().any(|key| key.ends_with(" 7")));
    // One word too few would give the others to chains that are not theirs.
    let error =
        write_chains(corpus.as_ref(), &ask, Some(&Short(1)), &file, &mut write).unwrap_err();
    assert!(error.to_string().contains("one for each chain"), "{error}");
}
