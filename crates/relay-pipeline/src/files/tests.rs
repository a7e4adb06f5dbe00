//! Tests of files of one's own.

use std::collections::HashSet;

use super::*;

/// The corpus of these lines.
fn corpus_of(train: Vec<Value>, longer: Vec<Value>, test: Vec<Value>) -> Result<FileCorpus> {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, lines: Vec<Value>| {
        let file = dir.path().join(name);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, text).unwrap();
        file
    };
    FileCorpus::read(&FileSettings {
        train: write("train.jsonl", train),
        longer: write("longer.jsonl", longer),
        test: write("test.jsonl", test),
    })
}

/// Files of the tasks `a`, whose lines come first, and `b`, with a longer problem of each task in `longer`.
fn read(each: usize, longer: &[&str]) -> Result<FileCorpus> {
    let solved = |task: &str, line: usize| {
        let bits = (0..8).map(|bit| ["p", "q"][line >> bit & 1]);
        let problem = format!("x {}", bits.collect::<Vec<_>>().join(" "));
        json!({ "task": task, "problem": problem, "steps": ["y"], "answer": "y", "length": 1 })
    };
    let both = ["a", "b"].into_iter();
    let train = both.flat_map(|task| (0..each).map(move |line| solved(task, line)));
    let longer = longer
        .iter()
        .map(|task| json!({ "task": task, "problem": "x x p", "iterations": 2 }));
    corpus_of(train.collect(), longer.collect(), vec![solved("a", 0)])
}

/// A problem of `length` tokens that tell `number`, in two steps.
fn numbered(length: usize, number: usize) -> Value {
    let bits = (0..length).map(|bit| if number >> bit & 1 == 1 { "p" } else { "q" });
    let problem = bits.collect::<Vec<_>>().join(" ");
    json!({ "problem": problem, "steps": ["y p", "y"], "answer": "y", "length": length })
}

#[test]
fn the_order_of_the_lines_says_nothing_of_what_is_set_aside() {
    // Lengths 9 to 12 in turns: every twentieth line has 12.
    let lines: Vec<Value> = (0..400).map(|n| numbered(9 + n % 4, n)).collect();
    let longer = vec![json!({ "problem": "p p", "iterations": 3 })];
    let lengths = |lines: Vec<Value>| {
        let corpus = corpus_of(lines, longer.clone(), vec![numbered(9, 1)]).unwrap();
        let valid = corpus.valid(400).unwrap();
        assert_eq!(valid.len(), 20);
        let text = |one: Example| corpus.codec.vocab.decode(&one.prompt[1..]);
        let mut prompts: Vec<_> = valid.into_iter().map(text).collect();
        prompts.sort();
        prompts
    };
    let found = lengths(lines.clone());
    let distinct: HashSet<usize> = found.iter().map(String::len).collect();
    assert!(distinct.len() > 2, "{distinct:?}");
    assert_eq!(lengths(lines.into_iter().rev().collect()), found);
}

#[test]
fn no_model_learns_what_is_set_aside() {
    let lines: Vec<Value> = (0..400).map(|n| numbered(9 + n % 4, n)).collect();
    let longer = vec![json!({ "problem": "p p", "iterations": 3 })];
    let corpus = corpus_of(lines, longer, vec![numbered(9, 1)]).unwrap();
    let batching = Batching::Mixed { samples: 40 };
    let watched = corpus.valid(400).unwrap();
    let watched: HashSet<_> = watched.into_iter().map(|one| one.prompt).collect();
    let learnt = [corpus.original(&batching), corpus.phase_start(&batching, 1)];
    for learnt in learnt {
        let learnt = learnt.unwrap();
        assert_eq!(learnt.len(), 380);
        let prompts = learnt
            .iter()
            .map(|one| corpus.codec.encode(one).unwrap().prompt);
        assert_eq!(prompts.filter(|prompt| watched.contains(prompt)).count(), 0);
    }
    let source = corpus.source(&batching, None, 1).unwrap();
    let drawn = (0..20).flat_map(|step| source.examples(step).unwrap());
    assert_eq!(drawn.filter(|one| watched.contains(&one.prompt)).count(), 0);
}

#[test]
fn lines_of_one_problem_are_set_aside_together() {
    // Twenty problems of twenty lines each, and one of a hundred.
    let often = (0..100).map(|_| numbered(9, 0));
    let lines = (0..400).map(|n| numbered(9, 1 + n % 20)).chain(often);
    let longer = vec![json!({ "problem": "p p", "iterations": 3 })];
    let corpus = corpus_of(lines.collect(), longer, vec![numbered(9, 1)]).unwrap();
    let watched = corpus.valid(400).unwrap();
    assert_eq!(watched.len(), 20);
    assert!(watched.iter().all(|one| one.prompt == watched[0].prompt));
    assert!(
        corpus
            .train
            .iter()
            .all(|one| one.prompt != watched[0].prompt)
    );
}

#[test]
fn a_test_problem_counts_once() {
    let test = vec![numbered(9, 1), numbered(9, 2), numbered(9, 1)];
    let longer = vec![json!({ "problem": "p p", "iterations": 3 })];
    let corpus = corpus_of(vec![numbered(9, 3)], longer, test).unwrap();
    assert_eq!(corpus.test(10).unwrap().len(), 2);
}

#[test]
fn a_longer_problem_counts_once() {
    let asked = |problem: &str| json!({ "problem": problem, "iterations": 3 });
    let longer = vec![asked("p p"), asked("p q"), asked(" p  p")];
    let corpus = corpus_of(vec![numbered(9, 3)], longer, vec![numbered(9, 1)]).unwrap();
    assert_eq!(corpus.longer(0).unwrap().len(), 2);
}

#[test]
fn spaces_make_no_other_problem() {
    let mut spaced = numbered(9, 1);
    spaced["problem"] = json!("p  q q q q q q q q ");
    let longer = vec![json!({ "problem": "p\tq  q q q q q q q", "iterations": 2, "length": 9 })];
    let corpus = corpus_of(vec![numbered(9, 3)], longer, vec![numbered(9, 1), spaced]).unwrap();
    assert_eq!(corpus.test(10).unwrap().len(), 1);
    let asked = &corpus.longer(0).unwrap()[0].problem;
    assert_eq!(corpus.truth(asked).unwrap().answer, "y");
    let question = Question {
        problem: " p q  q q q q q q q".to_owned(),
        iterations: Some(1),
        ..Question::default()
    };
    let asked = corpus.asked(&question).unwrap().problem;
    assert_eq!(corpus.truth(&asked).unwrap().answer, "y");
}

/// What a model writes too much must not fall off the edge of a window that knows the solution.
#[test]
fn problems_are_as_wide_in_training_and_test_as_when_they_are_asked() {
    let mut wide = numbered(9, 3);
    wide["steps"] = json!([vec!["y"; 14].join(" "), "y"]);
    let longer = vec![json!({ "problem": "p p", "iterations": 3 })];
    let corpus = corpus_of(vec![wide, numbered(9, 4)], longer, vec![numbered(9, 1)]).unwrap();
    let question = Question {
        problem: "p q q q q q q q q".to_owned(),
        iterations: Some(2),
        ..Question::default()
    };
    let asked = corpus.asked(&question).unwrap().example;
    let tested = &corpus.test(1).unwrap()[0];
    assert_eq!((tested.width, &tested.prompt), (asked.width, &asked.prompt));
    // What stands left of the steps is learnt from those that leave room for it.
    assert!(corpus.train.iter().all(|one| one.width == asked.width));
}

#[test]
fn a_question_is_as_wide_as_a_line_without_a_width() {
    let longer = vec![json!({ "problem": "p p", "iterations": 3 })];
    let corpus = corpus_of(vec![numbered(9, 3)], longer, vec![numbered(9, 1)]).unwrap();
    let question = Question {
        problem: "p p".to_owned(),
        iterations: Some(3),
        ..Question::default()
    };
    assert_eq!(
        corpus.asked(&question).unwrap().example,
        corpus.longer(0).unwrap()[0].example
    );
    let refused = |change: fn(&mut Question)| {
        let mut question = question.clone();
        change(&mut question);
        corpus.asked(&question).unwrap_err().to_string()
    };
    let unsaid = refused(|question| question.iterations = None);
    assert!(unsaid.contains("iterations is not said"), "{unsaid}");
    let wide = refused(|question| question.width = Some(5000));
    assert!(wide.contains("window is 5000, must be 1 to 1024"), "{wide}");
    let task = refused(|question| question.task = Some("ari".to_owned()));
    assert!(task.contains("`ari`") && task.contains("data"), "{task}");
    let token = refused(|question| question.problem = "p z".to_owned());
    assert!(token.contains("`z`"), "{token}");
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
            br#"["data", "x", ["y"], "y", 1]"#.to_vec(),
            "line 1: it is no JSON object",
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
    let read_with = |iterations: usize, width: usize, test: Value| {
        FileCorpus::read(&FileSettings {
            train: write("train.jsonl", solved.clone()),
            longer: write(
                "longer.jsonl",
                json!({ "problem": "x x", "iterations": iterations, "width": width }),
            ),
            test: write("test.jsonl", test),
        })
    };
    let read = |iterations, width| read_with(iterations, width, solved.clone());
    read(1000, 1000).unwrap();
    let wide = json!({ "problem": vec!["x"; 2000].join(" "), "steps": ["y"], "answer": "y" });
    let error = read_with(1000, 1000, wide).unwrap_err().to_string();
    let message = "test.jsonl: line 1: the width of the window is 2001, must be at most 1024";
    assert!(error.contains(message), "{error}");
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

#[test]
fn a_training_line_that_no_memory_bears_is_named() {
    let line = |tokens: usize, steps: usize| {
        let (problem, steps) = ("p ".repeat(tokens), vec!["y"; steps]);
        json!({ "problem": problem.trim(), "steps": steps, "answer": "y", "length": 1 })
    };
    let longer = || vec![json!({ "problem": "p p", "iterations": 3 })];
    let with = |odd: Value| {
        let mut train: Vec<Value> = (1..=40).map(|tokens| line(tokens, 2)).collect();
        train[6] = odd;
        corpus_of(train, longer(), vec![line(2, 2)])
    };
    for (odd, wrong) in [
        (
            line(20_000, 2),
            "the width of its window is 20001, must be at most 16384",
        ),
        (
            line(3, 17_000),
            "the number of its steps is 17000, must be at most 16384",
        ),
    ] {
        let error = with(odd).unwrap_err().to_string();
        assert!(
            error.contains("train.jsonl") && error.contains("line 7"),
            "{error}"
        );
        assert!(error.contains(wrong), "{error}");
    }
    // Each fits, but not the longest problem in a window that has room for the widest step.
    let mut train: Vec<Value> = (1..=40).map(|tokens| line(tokens, 2)).collect();
    train[2]["steps"] = json!(["y ".repeat(8_000).trim(), "y"]);
    train.push(line(9_000, 2));
    let error = corpus_of(train, longer(), vec![line(2, 2)]).unwrap_err();
    let wrong = "line 3: a step has 7996 tokens more than its problem";
    assert!(error.to_string().contains(wrong), "{error}");
    // A large one is told of, and taken.
    assert_eq!(with(line(1_000, 2)).unwrap().train.len(), 38);
}
