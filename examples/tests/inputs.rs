//! Properties of everything that reads what others wrote: arbitrary bytes, arbitrary words, and the corpus of `fuzz/` with
//! a piece of it replaced. `fuzz_inputs` runs the same functions for as long as one likes.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use proptest::prelude::*;
use relay_tasks::TaskConfig;

#[path = "../../fuzz/inputs.rs"]
mod inputs;

fn settings() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    }
}

fn corpus() -> Vec<(inputs::Input, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut all = Vec::new();
    for input in inputs::INPUTS {
        for entry in fs::read_dir(root.join(input.0)).unwrap() {
            all.push((input, fs::read(entry.unwrap().path()).unwrap()));
        }
    }
    assert!(all.len() > inputs::INPUTS.len());
    all
}

#[test]
fn the_corpus_itself_is_fine() {
    for ((_, check), data) in corpus() {
        check(&data);
    }
}

/// Otherwise nothing that is made from them would come far.
#[test]
fn the_problems_of_the_corpus_can_be_solved() {
    let tasks = TaskConfig::paper().map(|config| config.build().unwrap());
    let problems = corpus()
        .into_iter()
        .filter(|((name, _), _)| *name == "problems");
    for (_, data) in problems {
        let text = String::from_utf8(data).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let solved = tasks.iter().any(|task| task.solve(lines[0]).is_ok());
        assert!(solved && lines.len() == 3, "{text}");
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn arbitrary_bytes(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (_, check) in inputs::INPUTS {
            check(&data);
        }
    }

    #[test]
    fn arbitrary_words(words in proptest::collection::vec(
        prop_oneof![
            "[0-9]{1,3}", "[a-z]", Just("(".to_owned()), Just(")".to_owned()), Just("+".to_owned()),
            Just("-".to_owned()), Just("*".to_owned()), Just("/".to_owned()), Just("=".to_owned()),
            Just("|".to_owned()), Just("<sep>".to_owned()), Just("\n".to_owned()),
        ],
        0..40,
    )) {
        let text = words.join(" ");
        inputs::problems(text.as_bytes());
        inputs::benchmark(text.as_bytes());
    }

    #[test]
    fn a_piece_replaced(
        which in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(), length in 0_usize..20,
        piece in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let corpus = corpus();
        let ((_, check), data) = which.get(&corpus);
        let mut data = data.clone();
        let from = from.index(data.len() + 1);
        let to = (from + length).min(data.len());
        data.splice(from..to, piece);
        check(&data);
    }
}
