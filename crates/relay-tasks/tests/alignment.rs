//! The paper's printed examples, from text to aligned windows and back.
#![allow(clippy::unwrap_used)]

use relay_tasks::{
    ArithmeticConfig, Chain, Codec, Domain, EditDistanceConfig, Example, LisConfig, PAD, Problem,
    TaskConfig, align, read_step, right_align,
};

struct Printed {
    config: TaskConfig,
    prompt: &'static str,
    steps: &'static [&'static str],
    answer: &'static str,
}

/// Appendix A. The list of arithmetic steps ends in the answer, which the paper prints on a line of its own.
fn printed() -> [Printed; 3] {
    [
        Printed {
            config: TaskConfig::Ari(ArithmeticConfig {
                domain: Domain::Integers { max: 249 },
                ..ArithmeticConfig::default()
            }),
            prompt: "( 6 + 9 ) / ( 7 + 2 * 5 - 4 * 3 ) =",
            steps: &[
                "15 / ( 7 + 2 * 5 - 4 * 3 ) =",
                "15 / ( 7 + 10 - 4 * 3 ) =",
                "15 / ( 17 - 4 * 3 ) =",
                "15 / ( 17 - 12 ) =",
                "15 / 5 =",
                "3",
            ],
            answer: "3",
        },
        Printed {
            config: TaskConfig::Ed(EditDistanceConfig::default()),
            prompt: "o t m l | o t t m l <sep>",
            steps: &["0 2 4 6 7 ,", "2 0 2 4 6 ,", "4 2 3 2 4 ,", "6 4 5 4 2 ,"],
            answer: "2",
        },
        Printed {
            config: TaskConfig::Lis(LisConfig::default()),
            prompt: "103 110 145 217 233 18 30 82 141 150 159 161 167 239 <sep>",
            steps: &["1 2 3 4 5 1 2 3 4 5 <sep>", "6 7 8 9 9 9 9 9 9 9 <sep>"],
            answer: "9",
        },
    ]
}

fn solved() -> (Codec, Vec<Problem>) {
    let tasks = printed().map(|printed| printed.config.build().unwrap());
    let codec = Codec::for_tasks(&tasks).unwrap();
    let problems = tasks.iter().zip(printed()).map(
        |(
            task,
            Printed {
                prompt,
                steps,
                answer,
                ..
            },
        )| {
            let solution = task.solve(prompt).unwrap();
            assert_eq!(solution.steps, steps);
            assert_eq!(solution.answer, answer);
            let (length, prompt) = (task.length(prompt).unwrap(), prompt.to_owned());
            assert_eq!(task.iterations(&prompt).unwrap(), steps.len());
            Problem {
                task: task.name().to_owned(),
                length,
                prompt,
                steps: solution.steps,
                answer: solution.answer,
            }
        },
    );
    let problems = problems.collect();
    (codec, problems)
}

/// What a model that has learnt everything would give back, read from windows of `width` columns.
fn read_back(example: &Example, width: usize) -> Chain {
    let aligned = align(example, width).unwrap();
    let steps = aligned
        .targets
        .chunks(width)
        .map(|columns| read_step(columns).to_vec())
        .collect();
    Chain {
        steps,
        answer: Some(aligned.answer),
        ..Chain::default()
    }
}

#[test]
fn printed_examples_go_there_and_back_in_windows_of_any_width() {
    let (codec, problems) = solved();
    for problem in &problems {
        let example = codec.encode(problem).unwrap();
        let own = example.width;
        for width in [own, own + 1, own + 2, 3 * own] {
            assert_eq!(
                codec.decode_chain(&example, &read_back(&example, width)),
                *problem,
                "width {width}"
            );
        }
    }
}

#[test]
fn windows_are_as_wide_as_the_input_or_the_longest_step() {
    let (codec, problems) = solved();
    let widths: Vec<usize> = problems
        .iter()
        .map(|problem| codec.encode(problem).unwrap().width)
        .collect();
    // Each input with its tag.
    assert_eq!(widths, [18 + 1, 11 + 1, 15 + 1]);
    let lis = TaskConfig::Lis(LisConfig::default()).build().unwrap();
    let short = Problem {
        length: 1,
        ..problems[2].clone()
    };
    let solution = lis.solve("103 <sep>").unwrap();
    let short = Problem {
        prompt: "103 <sep>".to_owned(),
        steps: solution.steps,
        answer: solution.answer,
        ..short
    };
    assert_eq!(
        codec.encode(&short).unwrap().width,
        11,
        "ten values and <sep> are more than the input"
    );
}

#[test]
fn the_window_of_the_printed_edit_distance() {
    let (codec, problems) = solved();
    let example = codec.encode(&problems[1]).unwrap();
    let aligned = align(&example, 14).unwrap();
    assert_eq!(
        codec.vocab.decode(&aligned.input),
        "<pad> <pad> [ED] o t m l | o t t m l <sep>"
    );
    let rows: Vec<String> = aligned
        .targets
        .chunks(14)
        .map(|row| codec.vocab.decode(row))
        .collect();
    let pads = "<pad> ".repeat(8);
    let expected = ["0 2 4 6 7 ,", "2 0 2 4 6 ,", "4 2 3 2 4 ,", "6 4 5 4 2 ,"]
        .map(|row| format!("{pads}{row}"));
    assert_eq!(rows, expected);
    // The six tokens and the one pad left of them.
    let mask = [[false; 7], [true; 7]].concat();
    assert!(aligned.mask.chunks(14).all(|row| row == mask));
    assert_eq!(codec.vocab.decode(&[aligned.answer]), "2");
}

#[test]
fn a_step_as_wide_as_the_window_has_no_pad_to_learn() {
    let example = Example {
        task: 0,
        length: 1,
        iterations: 2,
        width: 3,
        prompt: vec![3, 4],
        steps: vec![vec![5, 6, 7], vec![8]],
        answer: Some(8),
    };
    let aligned = align(&example, 3).unwrap();
    assert_eq!(aligned.targets, [5, 6, 7, PAD, PAD, 8]);
    assert_eq!(aligned.mask, [true, true, true, false, true, true]);
    assert_eq!(read_back(&example, 3).steps, example.steps);
}

#[test]
fn what_cannot_be_aligned_is_an_error() {
    let (codec, problems) = solved();
    let example = codec.encode(&problems[1]).unwrap();
    let message = |example: &Example, width| align(example, width).unwrap_err().to_string();
    assert_eq!(
        message(&example, 11),
        "12 tokens do not fit into a window of 11 columns"
    );
    assert_eq!(
        message(&example, 0),
        "6 tokens do not fit into a window of 0 columns"
    );
    assert!(
        message(
            &Example {
                answer: None,
                ..example.clone()
            },
            12
        )
        .contains("no answer")
    );
    assert!(
        message(
            &Example {
                iterations: 3,
                ..example.clone()
            },
            12
        )
        .contains("4 steps for 3 iterations")
    );
    assert!(
        message(
            &Example {
                iterations: 0,
                steps: Vec::new(),
                ..example
            },
            12
        )
        .contains("no steps")
    );
    assert!(right_align(&[1, 2], 1).is_err());
    assert_eq!(right_align(&[], 2).unwrap(), [PAD, PAD]);
}

#[test]
fn a_step_is_read_right_of_the_last_pad() {
    for (columns, step) in [
        (&[0, 0, 5, 6][..], &[5, 6][..]),
        (&[7, 0, 5, 0, 6], &[6]),
        (&[5, 6], &[5, 6]),
        (&[5, 0], &[]),
        (&[0, 0], &[]),
        (&[], &[]),
    ] {
        assert_eq!(read_step(columns), step);
    }
}
