//! What a codec takes, what it refuses, and what it remembers.
#![allow(clippy::unwrap_used)]

use relay_tasks::{Codec, Problem, TaskConfig};

fn paper() -> Codec {
    Codec::for_tasks(&TaskConfig::paper().map(|config| config.build().unwrap())).unwrap()
}

fn problem(task: &str, prompt: &str, steps: &[&str], answer: &str) -> Problem {
    let steps = steps.iter().map(|&step| step.to_owned()).collect();
    Problem {
        task: task.to_owned(),
        length: 2,
        prompt: prompt.to_owned(),
        steps,
        answer: answer.to_owned(),
    }
}

#[test]
fn what_cannot_be_encoded_is_named() {
    let long = "1 + ".repeat(50) + "X =";
    for (task, prompt, steps, answer, says) in [
        (
            "abc",
            "1 + 2 =",
            vec!["3"],
            "3",
            "unknown task `abc`; known are ari, ed, lis",
        ),
        ("ari", "", vec!["3"], "3", "a problem of `ari` is empty"),
        (
            "ari",
            "1 + x1 =",
            vec!["3"],
            "3",
            "token `x1` of `1 + x1 =` (task `ari`) is not in the vocabulary of 291 tokens",
        ),
        ("ari", &long, vec!["3"], "3", "..."),
        (
            "ari",
            "1 + <pad> =",
            vec!["3"],
            "3",
            "`<pad>` in `1 + <pad> =` (task `ari`) is reserved",
        ),
        (
            "ari",
            "1 + 2 =",
            vec!["<eos>"],
            "3",
            "`<eos>` in step 1 of `1 + 2 =` (task `ari`) is reserved",
        ),
        (
            "ari",
            "1 + 2 =",
            vec!["3 300"],
            "3",
            "token `300` of step 1 of `1 + 2 =` (task `ari`)",
        ),
        (
            "ari",
            "1 + 2 =",
            vec!["3"],
            "250",
            "token `250` of the answer to `1 + 2 =` (task `ari`)",
        ),
        (
            "ari",
            "1 + 2 =",
            vec![],
            "3",
            "problem `1 + 2 =` of `ari`: it has no steps",
        ),
        ("ari", "1 + 2 =", vec![" "], "3", "its step 1 is empty"),
        (
            "ari",
            "1 + 2 =",
            vec!["3"],
            "3 4",
            "its answer `3 4` has 2 tokens, needs exactly one",
        ),
        (
            "ari",
            "1 + 2 =",
            vec!["3"],
            "",
            "its answer `` has 0 tokens",
        ),
        (
            "ari",
            "1 + 2 =",
            vec!["3"],
            "4",
            "the last step of `ari` has to be the answer, `4`",
        ),
        (
            "ari",
            "1 + 2 + 3 =",
            vec!["3 + 3", "6"],
            "6",
            "step 1 does not end in `=`",
        ),
        (
            "ed",
            "a | b <sep>",
            vec!["1 , 2 ,"],
            "2",
            "step 1 holds `,`, which is what comes between steps",
        ),
        (
            "ed",
            "a | b <sep>",
            vec!["1 ,"],
            ",",
            "the answer is `,`, which ends the steps of `ed`",
        ),
    ] {
        let message = paper()
            .encode(&problem(task, prompt, &steps, answer))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(says) && message.len() < 200 && !message.contains('\n'),
            "{message}"
        );
    }
}

#[test]
fn an_unsolved_problem_has_a_prompt_only() {
    let codec = paper();
    let example = codec
        .encode_prompt("ed", 2, "a b | b a <sep>", 2, 3)
        .unwrap();
    assert_eq!(
        (example.iterations, example.width, example.prompt.len()),
        (2, 7, 7)
    );
    assert_eq!((example.steps.len(), example.answer), (0, None));
    assert_eq!(
        codec
            .encode_prompt("ed", 2, "a b | b a <sep>", 2, 30)
            .unwrap()
            .width,
        30
    );
    assert!(codec.encode_prompt("ed", 2, "a | b <sep>", 0, 3).is_err());
    assert!(
        codec
            .encode_prompt("ed", 2, "a | b <sep>", usize::MAX, 3)
            .is_err()
    );
    assert!(
        codec
            .encode_prompt("ed", 2, "a | b <sep>", 1, usize::MAX)
            .is_err()
    );
    assert!(codec.encode_prompt("ed", 2, " ", 1, 3).is_err());
}

#[test]
fn a_codec_remembers_dialects() {
    let codec = paper();
    let text = serde_json::to_string(&codec).unwrap();
    let read: Codec = serde_json::from_str(&text).unwrap();
    codec.check_same(&read).unwrap();
    let config: TaskConfig =
        serde_json::from_str(r#"{"task": "ari", "domain": {"kind": "prime_field", "p": 7}}"#)
            .unwrap();
    let [_, ed, lis] = TaskConfig::paper();
    let other = Codec::for_tasks(&[config, ed, lis].map(|config| config.build().unwrap())).unwrap();
    let message = codec.check_same(&other).unwrap_err().to_string();
    assert!(
        message.contains(r#""p":7"#) && message.contains(r#""p":11"#),
        "{message}"
    );
    let fewer = Codec::for_tasks(&[ed, lis].map(|config| config.build().unwrap())).unwrap();
    assert_eq!(
        codec.check_same(&fewer).unwrap_err().to_string(),
        "tasks ed, lis where ari, ed, lis are expected"
    );
}

#[test]
fn tasks_of_one_name_are_refused() {
    let [ari, ..] = TaskConfig::paper();
    let tasks = [ari.build().unwrap(), ari.build().unwrap()];
    assert!(
        Codec::for_tasks(&tasks)
            .unwrap_err()
            .to_string()
            .contains("two tasks")
    );
}
