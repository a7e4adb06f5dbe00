//! Tests of files of one's own.

use super::*;

/// Files of the tasks `a`, whose lines come first, and `b`, with a longer problem of each task in `longer`.
fn read(each: usize, longer: &[&str]) -> Result<FileCorpus> {
    let dir = tempfile::tempdir().unwrap();
    let solved = |task: &str, line: usize| {
        let problem = format!("x {}", ["p", "q"][line % 2]);
        json!({ "task": task, "problem": problem, "steps": ["y"], "answer": "y", "length": 1 })
    };
    let write = |name: &str, lines: Vec<Value>| {
        let file = dir.path().join(name);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, text).unwrap();
        file
    };
    let both = ["a", "b"].into_iter();
    let train = both.flat_map(|task| (0..each).map(move |line| solved(task, line)));
    let longer = longer
        .iter()
        .map(|task| json!({ "task": task, "problem": "x x p", "iterations": 2 }));
    FileCorpus::read(&FileSettings {
        train: write("train.jsonl", train.collect()),
        longer: write("longer.jsonl", longer.collect()),
        test: write("test.jsonl", vec![solved("a", 0)]),
    })
}

#[test]
fn every_task_is_watched_wherever_its_lines_stand() {
    let corpus = read(50, &["a", "b"]).unwrap();
    let tasks = |samples| -> Vec<usize> {
        let valid = corpus.valid(samples).unwrap();
        valid.iter().map(|example| example.task).collect()
    };
    assert_eq!(tasks(5), [0, 0, 1, 1]);
    assert_eq!(tasks(1), [0, 1]);
    assert_eq!(corpus.train.len(), 96);
}

#[test]
fn a_task_without_a_solved_problem_is_named() {
    let error = read(5, &["a", "c"]).unwrap_err().to_string();
    assert!(
        error.contains("longer.jsonl") && error.contains("`c`"),
        "{error}"
    );
}

#[test]
fn a_bad_line_is_named_once_and_in_words() {
    let read = |text: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.jsonl");
        std::fs::write(&file, text).unwrap();
        read_lines::<SolvedLine>(&file).map(|(lines, _)| lines.len())
    };
    let line = r#"{"problem":"x","steps":["y"],"answer":"y"}"#;
    assert_eq!(
        read(format!("\u{feff}{line}\r\n{line}\n\n \n").as_bytes()).unwrap(),
        2
    );
    let wrong = line.replace('}', r#","length":-1}"#);
    for (text, message) in [
        (format!("{line}\n\n{line}").into_bytes(), "line 2: is blank"),
        (
            [line.as_bytes(), b"\n\"\xff\""].concat(),
            "line 2: is no UTF-8 text",
        ),
        (
            wrong.into_bytes(),
            "expected a whole number of at least 0 (column",
        ),
        (
            b"{\n".to_vec(),
            "line 1: EOF while parsing an object (column",
        ),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(
            error.contains(message) && !error.contains("at line"),
            "{error}"
        );
    }
}

#[test]
fn what_is_beyond_all_memory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, line: Value| {
        let file = dir.path().join(name);
        std::fs::write(&file, format!("{line}\n")).unwrap();
        file
    };
    let solved = json!({ "problem": "x p", "steps": ["y"], "answer": "y" });
    let read = |iterations: usize, width: usize| {
        FileCorpus::read(&FileSettings {
            train: write("train.jsonl", solved.clone()),
            longer: write(
                "longer.jsonl",
                json!({ "problem": "x x", "iterations": iterations, "width": width }),
            ),
            test: write("test.jsonl", solved.clone()),
        })
    };
    read(1000, 1000).unwrap();
    for (iterations, width, message) in [
        (
            2,
            100_000,
            "the width of the window is 100000, must be at most 1024",
        ),
        (100_000, 2, "iterations is 100000, must be at most 1024"),
    ] {
        let error = read(iterations, width).unwrap_err().to_string();
        let message = format!("longer.jsonl: line 1: {message}");
        assert!(error.contains(&message), "{error}");
    }
}
