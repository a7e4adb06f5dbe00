//! Lines of one's own data: wrong ones are named, odd ones are warned of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{quiet, refuses, run, text};

fn own_data(dir: &Path) -> [PathBuf; 3] {
    let (code, stderr) = run("own_data", &["--make-demo", text(dir)]);
    assert_eq!(code, 0, "{stderr}");
    ["chains.jsonl", "problems.jsonl", "test.jsonl"].map(|name| dir.join(name))
}

/// The options of `own_data` for files to train on, to write chains for and to test on, and for a directory.
fn own_data_options<'a>(files: [&'a Path; 3], run_dir: &'a Path) -> Vec<&'a str> {
    let [train, longer, test] = files.map(text);
    let named = [
        ["--preset", "smoke"],
        ["--train", train],
        ["--longer", longer],
        ["--test", test],
        ["--run-dir", text(run_dir)],
    ];
    named.concat()
}

#[test]
fn data_files_are_checked_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let [train, longer, test] = own_data(dir.path());
    let run_dir = dir.path().join("run");
    let bad = dir.path().join("bad.jsonl");
    let check = |content: &str, place: usize, parts: &[&str]| {
        fs::write(&bad, content).unwrap();
        let mut files: [&Path; 3] = [&train, &longer, &test];
        files[place] = &bad;
        let args = own_data_options(files, &run_dir);
        refuses("own_data", &args, 1, &[&["bad.jsonl"], parts].concat());
    };
    check("", 0, &["empty"]);
    check("{\"problem\": \"1 + 1 =\"\n", 0, &["line 1"]);
    check("\u{0}\u{1}garbage\n", 2, &["line 1"]);
    check(
        "{\"problem\": \"1 + 1 =\", \"steps\": [\"2\"], \"answer\": \"2 2\"}\n",
        0,
        &["line 1", "exactly one"],
    );
    check(
        "{\"problem\": \"1 + 1 =\", \"iterations\": 0}\n",
        1,
        &["line 1", "iterations"],
    );
    let beyond = "{\"problem\": \"1 + seven =\", \"steps\": [\"2\"], \"answer\": \"2\"}\n";
    check(beyond, 2, &["line 1", "seven"]);
    let missing = dir.path().join("missing.jsonl");
    let args = own_data_options([&missing, &longer, &test], &run_dir);
    refuses("own_data", &args, 1, &["missing.jsonl"]);
}

/// What a run on these files that ends well warns of.
fn warnings_of(files: [&Path; 3], run_dir: &Path) -> String {
    let mut command = quiet("own_data");
    command.args(own_data_options(files, run_dir));
    let done = command.env("RUST_LOG", "warn").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    said
}

#[test]
fn test_problems_whose_chains_are_learnt_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let [train, longer, test] = own_data(dir.path());
    let tested = fs::read_to_string(&test).unwrap();
    let last: Value = serde_json::from_str(tested.lines().last().unwrap()).unwrap();
    let iterations = last["steps"].as_array().unwrap().len();
    let shared = json!({ "problem": last["problem"], "iterations": iterations });
    let lines = format!("{}{shared}\n", fs::read_to_string(&longer).unwrap());
    fs::write(&longer, lines).unwrap();
    let said = warnings_of([&train, &longer, &test], &dir.path().join("run"));
    let warning = format!(
        "1 problems stand in both {} and {}",
        text(&longer),
        text(&test)
    );
    assert!(said.contains(&warning), "{said}");
}

/// One line of many in another form has all learnt in another form.
#[test]
fn an_odd_line_of_own_data_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let [train, longer, test] = own_data(dir.path());
    let lines = fs::read_to_string(&train).unwrap();
    let mut lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let all = lines.len();
    let steps = lines[4]["steps"].as_array_mut().unwrap();
    *steps.last_mut().unwrap() = "0 0".into();
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&train, lines).unwrap();
    let said = warnings_of([&train, &longer, &test], &dir.path().join("run"));
    let warning = format!(
        "the last step is the answer in {} of {all} lines of `data`, but not in line 5",
        all - 1
    );
    assert!(said.contains(&warning), "{said}");
}
