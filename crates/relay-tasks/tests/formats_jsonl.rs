//! JSONL in and out: what is written is read back, what is wrong is named with file and line, nothing is half written.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::io::Cursor;
use std::path::Path;

use relay_tasks::{
    CostDialect, Dialect, EditDistanceConfig, JsonlReader, JsonlWriter, Problem, Record, Result,
    Split, TaskConfig,
};

fn reader(text: &str) -> JsonlReader<Cursor<Vec<u8>>> {
    JsonlReader::new(
        Cursor::new(text.as_bytes().to_vec()),
        Path::new("data.jsonl"),
    )
}

fn printed_example() -> (Problem, Dialect) {
    let task = TaskConfig::paper()[1].build().unwrap();
    let prompt = "o t m l | o t t m l <sep>".to_owned();
    let solution = task.solve(&prompt).unwrap();
    let problem = Problem {
        task: "ed".to_owned(),
        length: 4,
        prompt,
        steps: solution.steps,
        answer: solution.answer,
    };
    (problem, task.dialect())
}

#[test]
fn a_line_has_the_documented_form() {
    let (problem, dialect) = printed_example();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.jsonl");
    let mut writer = JsonlWriter::create(&path).unwrap();
    writer.write_problem(&problem, &dialect).unwrap();
    writer.write(&Record::of(&problem, &dialect)).unwrap();
    writer.finish().unwrap();
    let line = concat!(
        r#"{"task":"ed","dialect":{"letters":26,"largest":249,"costs":"benchmark","insert":2,"delete":2,"replace":3},"#,
        r#""length":4,"problem":"o t m l | o t t m l <sep>","#,
        r#""steps":["0 2 4 6 7 ,","2 0 2 4 6 ,","4 2 3 2 4 ,","6 4 5 4 2 ,"],"answer":"2"}"#,
        "\n"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{line}{line}"));
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for config in TaskConfig::paper() {
        let task = config.build().unwrap();
        let path = folder.path().join(task.name());
        let problems: Vec<Problem> = (0..50)
            .map(|index| task.generate(1, Split::Train, index, 6).unwrap())
            .collect();
        let mut writer = JsonlWriter::create(&path).unwrap();
        for problem in &problems {
            writer.write_problem(problem, &task.dialect()).unwrap();
        }
        writer.finish().unwrap();
        let mut reader = JsonlReader::open(&path)
            .unwrap()
            .expect(task.name(), task.dialect());
        let mut back = Vec::new();
        while let Some(problem) = reader.next_problem() {
            back.push(problem.unwrap());
        }
        assert_eq!(back, problems);
    }
}

#[test]
fn own_data_needs_no_task_dialect_or_length() {
    let text =
        "{\"problem\": \" x  +\\ty\", \"steps\": [\"x y\", \"z\"], \"answer\": \"z\"}\r\n\n   \n";
    let mut own = reader(text).default_task("own");
    let problem = own.next_problem().unwrap().unwrap();
    assert_eq!((problem.task.as_str(), problem.length), ("own", 2));
    assert_eq!(problem.prompt, "x + y");
    let unsolved: Vec<Record> = reader("{\"problem\": \"x\", \"iterations\": 7}")
        .collect::<Result<_>>()
        .unwrap();
    assert_eq!(unsolved[0].iterations, Some(7));
}

#[test]
fn what_a_model_wrote_is_read_with_what_is_said_of_it() {
    let text = r#"{"task": "own", "dialect": {}, "length": 2, "problem": "x + y", "steps": ["x y", "z"], "answer": "z",
        "confidence": [0.5, 1.0], "answer_confidence": 0.75, "answer_is_right": true, "chain_is_right": false}"#;
    let line = text.replace('\n', " ");
    let written = reader(&line).next().unwrap().unwrap();
    assert_eq!(written.confidence.as_deref(), Some(&[0.5, 1.0][..]));
    assert_eq!(
        (written.answer_is_right, written.chain_is_right),
        (Some(true), Some(false))
    );
    assert_eq!(written.into_problem().unwrap().steps, ["x y", "z"]);
}

#[test]
fn a_bad_line_is_named() {
    let good = r#"{"problem": "x", "steps": ["y"], "answer": "y"}"#;
    for (bad, says) in [
        ("{", "EOF"),
        ("[1, 2]", "no JSON object"),
        ("plain text", "no JSON object"),
        (r#"{"steps": ["y"], "answer": "y"}"#, "problem"),
        (r#"{"problem": "x", "answer": "y"}"#, "`steps`"),
        (r#"{"problem": "x", "steps": [], "answer": "y"}"#, "`steps`"),
        (r#"{"problem": "x", "steps": ["y"]}"#, "`answer`"),
        (
            r#"{"problem": " ", "steps": ["y"], "answer": "y"}"#,
            "`problem`",
        ),
        (r#"{"problem": 7, "steps": ["y"], "answer": "y"}"#, "string"),
        (
            r#"{"problem": "x", "step": ["y"], "answer": "y"}"#,
            "`step`",
        ),
        (
            r#"{"problem": "x", "length": -1, "steps": ["y"], "answer": "y"}"#,
            "-1",
        ),
    ] {
        let text = format!("{good}\n\n{bad}\n{good}\n");
        let mut lines = reader(&text).default_task("own");
        assert!(lines.next_problem().unwrap().is_ok());
        let message = lines.next_problem().unwrap().unwrap_err().to_string();
        assert!(
            message.starts_with("data.jsonl: line 3: ") && message.contains(says),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(lines.next_problem().is_none(), "an error ends the reading");

        let mut lines = reader(&text).skip_bad(true).default_task("own");
        let problems = std::iter::from_fn(|| lines.next_problem())
            .collect::<Result<Vec<_>>>()
            .unwrap();
        assert_eq!((problems.len(), lines.skipped()), (2, 1));
    }
}

#[test]
fn text_that_is_not_utf8_is_a_bad_line() {
    let bytes = [
        b"{\"problem\": \"x\"}\n".as_slice(),
        &[b'"', 0xff, b'\n'],
        b"{\"problem\": \"y\"}",
    ]
    .concat();
    let open = || JsonlReader::new(Cursor::new(bytes.clone()), Path::new("data.jsonl"));
    let message = open().nth(1).unwrap().unwrap_err().to_string();
    assert!(
        message.contains("line 2") && message.contains("UTF-8"),
        "{message}"
    );
    let mut lines = open().skip_bad(true);
    assert_eq!(lines.by_ref().filter(Result::is_ok).count(), 2);
    assert_eq!(lines.skipped(), 1);
}

#[test]
fn a_line_without_an_end_does_not_fill_the_memory() {
    // As from a device.
    let endless = std::io::BufReader::new(std::io::repeat(b'0'));
    let mut reader = JsonlReader::new(endless, Path::new("zeros")).skip_bad(true);
    let error = reader.next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("zeros") && error.contains("line 1: it is longer than 16 MiB"),
        "{error}"
    );
    assert!(reader.next().is_none());
}

#[test]
fn a_file_without_a_good_line_is_an_error() {
    for (text, skipped) in [("", "0"), ("\n\n", "0"), ("x\ny\n", "2")] {
        let errors: Vec<_> = reader(text)
            .skip_bad(true)
            .map(|record| record.unwrap_err().to_string())
            .collect();
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].contains("data.jsonl") && errors[0].contains(skipped),
            "{errors:?}"
        );
    }
}

#[test]
fn mixed_dialects_are_an_error_that_names_both() {
    let dialect = |costs| {
        let config = EditDistanceConfig {
            costs,
            ..EditDistanceConfig::default()
        };
        TaskConfig::Ed(config).build().unwrap().dialect()
    };
    let (one, other) = (
        dialect(CostDialect::Benchmark),
        dialect(CostDialect::TrueCosts),
    );
    let line = |dialect: &Dialect| {
        let (problem, _) = printed_example();
        serde_json::to_string(&Record::of(&problem, dialect)).unwrap()
    };
    let text = format!("{}\n{}\n{}\n", line(&one), line(&one), line(&other));
    for skip_bad in [false, true] {
        let result: Vec<_> = reader(&text).skip_bad(skip_bad).collect();
        let message = result[2].as_ref().unwrap_err().to_string();
        assert!(
            message.contains("line 3")
                && message.contains("benchmark")
                && message.contains("true_costs"),
            "{message}"
        );
    }
    let message = reader(&text)
        .expect("ed", other)
        .next()
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(message.contains("line 1"), "{message}");
    let fields_in_another_order =
        r#"{"replace":3,"letters":26,"insert":2,"largest":249,"delete":2,"costs":"benchmark"}"#;
    let same = line(&one).replace(
        &serde_json::to_string(&one).unwrap(),
        fields_in_another_order,
    );
    assert_eq!(
        reader(&format!("{}\n{same}", line(&one)))
            .filter(Result::is_ok)
            .count(),
        2
    );
}

#[test]
fn a_line_without_task_has_the_dialect_of_the_default_task() {
    let (problem, one) = printed_example();
    let other = TaskConfig::Ed(EditDistanceConfig {
        costs: CostDialect::TrueCosts,
        ..EditDistanceConfig::default()
    });
    let other = other.build().unwrap().dialect();
    let record = Record::of(&problem, &one);
    let nameless = Record {
        task: None,
        ..record.clone()
    };
    let line = |record: &Record| serde_json::to_string(record).unwrap();
    // Whether its dialect is expected, or that of a line before it, which names its task or does not.
    let of_other = Record {
        dialect: Some(other.clone()),
        ..record
    };
    let nameless_of_other = Record {
        task: None,
        ..of_other.clone()
    };
    for (text, expected, bad) in [
        (line(&nameless), Some(&other), 1),
        (format!("{}\n{}", line(&of_other), line(&nameless)), None, 2),
        (
            format!("{}\n{}", line(&nameless_of_other), line(&nameless)),
            None,
            2,
        ),
        (format!("{}\n{}", line(&nameless), line(&of_other)), None, 2),
    ] {
        let mut lines = reader(&text).default_task("ed").skip_bad(true);
        if let Some(dialect) = expected {
            lines = lines.expect("ed", dialect.clone());
        }
        let message = lines.find_map(Result::err).unwrap().to_string();
        let told = format!("line {bad}: `ed` in two dialects");
        assert!(message.contains(&told), "{message}");
    }
    // A line that is skipped says nothing of the others.
    let bad = Record {
        steps: Some(Vec::new()),
        ..of_other.clone()
    };
    let text = format!("{}\n{}", line(&bad), line(&nameless));
    let mut lines = reader(&text).default_task("ed").skip_bad(true);
    let good = lines.next_problem().unwrap().unwrap();
    assert_eq!(good.task, "ed");

    let mut lines = reader(&line(&nameless))
        .default_task("ed")
        .expect("ed", one);
    assert_eq!(lines.next().unwrap().unwrap().task.as_deref(), Some("ed"));
    let message = reader(&line(&nameless)).next_problem();
    let message = message.unwrap().unwrap_err().to_string();
    assert!(message.contains("line 1: field `task`"), "{message}");
}

#[test]
fn a_file_that_is_not_finished_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    fs::write(&path, "before").unwrap();
    let (problem, dialect) = printed_example();
    let mut writer = JsonlWriter::create(&path).unwrap();
    writer.write_problem(&problem, &dialect).unwrap();
    drop(writer);
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let message = JsonlWriter::create(folder.path()).unwrap_err().to_string();
    assert!(message.contains("directory"), "{message}");
    let message = JsonlWriter::create(&folder.path().join("none").join("data.jsonl"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("none/data.jsonl"), "{message}");
    let message = JsonlReader::open(&folder.path().join("none.jsonl"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("none.jsonl"), "{message}");
}

#[test]
#[cfg(unix)]
fn a_link_stays_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("far"), folder.path().join("near"));
    std::os::unix::fs::symlink("far", &link).unwrap();
    let (problem, dialect) = printed_example();
    for time in ["new", "replaced"] {
        let mut writer = JsonlWriter::create(&link).unwrap();
        writer.write_problem(&problem, &dialect).unwrap();
        writer.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{time}");
        assert!(fs::metadata(&target).unwrap().is_file(), "{time}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn what_editors_and_own_data_add_is_read() {
    let text = "\u{feff}{\"problem\": \"1  +\\t1\", \"steps\": [\" 2 \"], \"answer\": \"2\"}";
    let record = Record::parse(text.trim_start_matches('\u{feff}')).unwrap();
    assert_eq!(record.clone().spaced().problem, "1 + 1");
    assert_eq!(record.spaced().steps, Some(vec!["2".to_owned()]));
    let message = reader(text).next_problem().unwrap().unwrap_err();
    assert!(
        message.to_string().contains("field `task` is missing"),
        "{message}"
    );
    let unsolved = Record::parse(r#"{"problem": "1 + 1", "iterations": 1, "width": 5}"#);
    assert_eq!(unsolved.unwrap().width, Some(5));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let (problem, dialect) = printed_example();
    let write = || -> Result<()> {
        let mut writer = JsonlWriter::create(Path::new("/dev/full"))?;
        writer.write_problem(&problem, &dialect)?;
        writer.finish()
    };
    let message = write().unwrap_err().to_string();
    assert!(
        message.contains("/dev/full") && message.contains("space"),
        "{message}"
    );
    assert!(
        !fs::metadata("/dev/full").unwrap().is_file(),
        "the device is still one"
    );
}
