//! The program `generate_data` as its users meet it: files, messages, exit codes.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::program;
use serde_json::Value;

#[path = "../common/mod.rs"]
mod common;
mod refusals;

fn run(folder: &Path, arguments: &str) -> Output {
    Command::new(program("generate_data"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn works(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments}: {messages}");
    messages
}

/// Runs into an error: the exit code, no panic, one line of message, nothing left in the folder but what was there.
fn fails(folder: &Path, arguments: &str, code: i32, says: &str) {
    let list = || {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    let before = list();
    let output = run(folder, arguments);
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments}: {messages}");
    let errors: Vec<&str> = messages
        .lines()
        .filter(|line| !line.contains("WARN") && !line.contains("INFO"))
        .collect();
    assert_eq!(errors.len(), 1, "{arguments}: {messages}");
    assert!(
        errors[0].starts_with("error: ") && errors[0].contains(says),
        "{arguments}: {messages}"
    );
    assert!(!messages.contains("panicked"), "{messages}");
    assert_eq!(list(), before, "{arguments}");
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn makes_files_of_every_task() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (task, lengths) in [("ari", "15..25"), ("ed", "3..6"), ("lis", "100..120")] {
        let arguments =
            format!("--task {task} --lengths {lengths} --count 60 --split test --seed 1");
        works(folder, &format!("{arguments} --out one.jsonl"));
        works(folder, &format!("{arguments} --out two.jsonl"));
        assert_eq!(
            fs::read(folder.join("one.jsonl")).unwrap(),
            fs::read(folder.join("two.jsonl")).unwrap()
        );
        let made = lines(&folder.join("one.jsonl"));
        assert_eq!(made.len(), 60);
        for line in &made {
            let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
            assert_eq!(
                keys,
                ["task", "dialect", "length", "problem", "steps", "answer"]
            );
            assert_eq!(line["task"], task);
        }
    }
    assert_eq!(
        fs::read_dir(folder).unwrap().count(),
        2,
        "no other files are left"
    );
}

#[test]
fn dialects_are_options() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let dialect = |options: &str| {
        works(folder, &format!("{options} --count 1 --out one.jsonl"));
        lines(&folder.join("one.jsonl"))[0]["dialect"].to_string()
    };
    let ari =
        dialect("--task ari --lengths 3 --domain integers --largest 99 --order random-expansion");
    assert_eq!(
        ari,
        r#"{"domain":{"kind":"integers","max":99},"order":"random_expansion"}"#
    );
    let ari = dialect("--task ari --lengths 3 --prime 5");
    assert_eq!(
        ari,
        r#"{"domain":{"kind":"prime_field","p":5},"order":"left_to_right"}"#
    );
    let ed = dialect(
        "--task ed --lengths 3 --letters 4 --costs true --largest 40 --drawn 2..4 --random-share 0",
    );
    assert_eq!(
        ed,
        r#"{"letters":4,"largest":40,"costs":"true_costs","insert":2,"delete":2,"replace":3}"#
    );
    let lis = dialect("--task lis --lengths 300 --group 5 --values fixed --runs 2");
    assert_eq!(
        lis,
        r#"{"group":5,"values":{"range":"fixed","lowest":126,"highest":249}}"#
    );
}

#[test]
fn solves_lines_that_have_only_task_and_problem() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(
        folder.join("problems.jsonl"),
        r#"{"task": "ed", "problem": "o t m l | o t t m l <sep>"}
{"task": "lis", "problem": "103 110 145 217 233 18 30 82 141 150 159 161 167 239 <sep>"}
{"task": "ari", "problem": "( 6 + 9 ) / ( 7 + 2 * 5 - 4 * 3 ) ="}
"#,
    )
    .unwrap();
    works(
        folder,
        "--solve problems.jsonl --out solved.jsonl --domain integers",
    );
    let solved = lines(&folder.join("solved.jsonl"));
    let answers: Vec<&Value> = solved.iter().map(|line| &line["answer"]).collect();
    assert_eq!(answers, ["2", "9", "3"]);
    assert_eq!(solved[0]["steps"][0], "0 2 4 6 7 ,");
    assert_eq!(solved[2]["steps"].as_array().unwrap().len(), 6);
    // A file may be solved into itself, and solving it again changes nothing.
    let before = fs::read(folder.join("solved.jsonl")).unwrap();
    works(
        folder,
        "--solve solved.jsonl --out solved.jsonl --domain integers",
    );
    assert_eq!(fs::read(folder.join("solved.jsonl")).unwrap(), before);
    fails(
        folder,
        "--solve solved.jsonl --out again.jsonl",
        1,
        "two dialects",
    );
}

#[test]
fn a_line_without_task_is_of_the_dialect_of_the_option_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    works(
        folder,
        "--task ed --lengths 3 --count 2 --costs true --out ed.jsonl",
    );
    let text = fs::read_to_string(folder.join("ed.jsonl")).unwrap();
    fs::write(folder.join("in.jsonl"), text.replace(r#""task":"ed","#, "")).unwrap();
    for way in ["--solve", "--convert"] {
        fails(
            folder,
            &format!("--task ed {way} in.jsonl --out out.jsonl"),
            1,
            "line 1: `ed` in two dialects",
        );
        works(
            folder,
            &format!("--task ed --costs true {way} in.jsonl --out out.jsonl"),
        );
        assert_eq!(fs::read_to_string(folder.join("out.jsonl")).unwrap(), text);
        fs::remove_file(folder.join("out.jsonl")).unwrap();
    }
}

#[test]
fn converts_to_the_benchmark_s_files_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (task, dialect) in [
        ("ari", "--order random-expansion"),
        ("ed", "--letters 4"),
        ("lis", "--group 5"),
    ] {
        let options = format!("--task {task} {dialect}");
        works(
            folder,
            &format!("{options} --lengths 2..12 --count 40 --out one.jsonl"),
        );
        works(
            folder,
            &format!("{options} --lengths 2..12 --count 40 --out made.txt --format benchmark"),
        );
        works(
            folder,
            &format!("{options} --convert one.jsonl --out one.txt --format benchmark"),
        );
        assert_eq!(
            fs::read(folder.join("made.txt")).unwrap(),
            fs::read(folder.join("one.txt")).unwrap()
        );
        works(
            folder,
            &format!("{options} --convert one.txt --input-format benchmark --out two.jsonl"),
        );
        assert_eq!(
            fs::read(folder.join("one.jsonl")).unwrap(),
            fs::read(folder.join("two.jsonl")).unwrap()
        );
        works(
            folder,
            &format!("{options} --convert one.jsonl --out direct.txt --format benchmark-direct"),
        );
        assert_eq!(
            fs::read_to_string(folder.join("direct.txt"))
                .unwrap()
                .lines()
                .count(),
            40
        );
    }
    works(
        folder,
        "--task ari --lengths 8 --count 20 --order random-expansion --format benchmark --out ari.txt",
    );
    fails(
        folder,
        "--task ari --convert ari.txt --input-format benchmark --out x.jsonl",
        1,
        "wrong in this dialect",
    );
}

#[test]
fn files_of_one_task_and_of_several_are_read_in_their_dialects() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // A number too small for edit distance, of which this file has none.
    let small = "--domain integers --largest 5";
    works(
        folder,
        &format!("--task ari {small} --lengths 1..3 --out ari.jsonl"),
    );
    works(
        folder,
        &format!("--convert ari.jsonl {small} --out again.jsonl"),
    );
    let output = run(
        folder,
        "--convert ari.jsonl --domain integers --largest 5 --group 4 --out x",
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("--group was of no use"),
        "{said}"
    );
    fs::remove_file(folder.join("x")).unwrap();
    works(
        folder,
        "--task lis --group 5 --lengths 4..9 --out lis.jsonl",
    );
    let [ari, lis] = ["ari", "lis"].map(|task| {
        let text = fs::read_to_string(folder.join(format!("{task}.jsonl"))).unwrap();
        text.lines().next().unwrap().to_owned()
    });
    // The first line names no task.
    let ari = ari.replacen("\"task\":\"ari\",", "", 1);
    assert!(!ari.contains("\"task\""), "{ari}");
    fs::write(folder.join("both.jsonl"), format!("{ari}\n{lis}\n")).unwrap();
    let both = format!("--task ari --convert both.jsonl {small} --group 5 --values fixed");
    for skip in ["", "--skip-bad "] {
        let arguments = format!("{both} {skip}--out x");
        fails(folder, &arguments, 1, "one that lis can have");
    }
    let both = "--task ari --convert both.jsonl --domain integers --group 5";
    fails(folder, &format!("{both} --out x"), 1, "line 1");
    let ed = r#"{"task":"ed","problem":"a | b <sep>"}"#;
    fs::write(folder.join("two.jsonl"), format!("{ed}\n{lis}\n")).unwrap();
    works(
        folder,
        "--solve two.jsonl --group 5 --letters 4 --out x.jsonl",
    );
    fails(
        folder,
        "--solve two.jsonl --group 5 --format benchmark --out x.txt",
        1,
        "begins with ed",
    );
    assert!(!folder.join("x.txt").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn standard_output_keeps_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.jsonl");
    fs::write(&path, "before\n").unwrap();
    let all = fs::File::options().append(true).open(&path).unwrap();
    let options = "--task ari --lengths 3 --count 4 --out /dev/stdout";
    let ended = Command::new(program("generate_data"))
        .args(options.split(' '))
        .stdout(all)
        .stderr(std::process::Stdio::null())
        .status();
    assert!(ended.unwrap().success());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\n{"), "{text}");
    assert_eq!(text.lines().count(), 5);
}
