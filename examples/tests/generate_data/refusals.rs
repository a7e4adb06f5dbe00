//! Bad lines, wrong usage, and files that cannot be read or written.

use std::fs;

use super::{fails, lines, run, works};

#[test]
fn bad_lines_are_named_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = r#"{"task": "ed", "problem": "a b | b a <sep>"}"#;
    for (bad, says) in [
        ("not json", "no JSON object"),
        (
            r#"{"task": "sum", "problem": "1 + 1"}"#,
            "unknown task `sum`; known are ari, ed, lis",
        ),
        (r#"{"problem": "a | b <sep>"}"#, "`task`"),
        (r#"{"task": "ed", "problem": "a | B <sep>"}"#, "`B`"),
        (
            r#"{"task": "lis", "problem": "10 999 <sep>"}"#,
            "999 is outside",
        ),
        (r#"{"task": "ari", "problem": "1 / 0 ="}"#, "1 / 0"),
    ] {
        fs::write(folder.join("in.jsonl"), format!("{good}\n{bad}\n{good}\n")).unwrap();
        fails(
            folder,
            "--solve in.jsonl --out out.jsonl",
            1,
            "in.jsonl: line 2: ",
        );
        fails(folder, "--solve in.jsonl --out out.jsonl", 1, says);
        let messages = works(folder, "--solve in.jsonl --out out.jsonl --skip-bad");
        assert!(
            messages.contains("line 2") && messages.contains("skipped 1 bad lines"),
            "{messages}"
        );
        assert_eq!(lines(&folder.join("out.jsonl")).len(), 2);
        fs::remove_file(folder.join("out.jsonl")).unwrap();
    }
    fs::write(folder.join("in.jsonl"), "x\ny\n").unwrap();
    fails(
        folder,
        "--solve in.jsonl --out out.jsonl --skip-bad",
        1,
        "no usable line (2 bad ones skipped)",
    );
    fs::write(folder.join("in.jsonl"), "").unwrap();
    fails(
        folder,
        "--solve in.jsonl --out out.jsonl",
        1,
        "no usable line",
    );
}

#[test]
fn wrong_usage_takes_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (arguments, says) in [
        ("", "--out"),
        ("--out x", "--task"),
        ("--task sum --lengths 3 --out x", "sum"),
        ("--task ari --lengths 0..3 --out x", "length 0"),
        ("--task ari --lengths -3..3 --out x", "15..25"),
        ("--task ari --lengths 5..3 --out x", "3..5"),
        ("--task ari --lengths 3..5000 --out x", "4096"),
        ("--task ed --lengths 3..90 --out x", "possible are 1..82"),
        (
            "--task lis --lengths 100..125 --out x",
            "possible are 1..124",
        ),
        ("--task lis --lengths abc --out x", "abc"),
        ("--task ari --lengths 3 --count 0 --out x", "count"),
        ("--task ari --lengths 3 --count -1 --out x", "-1"),
        (
            "--task ari --lengths 3 --split dev --out x",
            "train, valid or test",
        ),
        ("--task ari --lengths 3 --format csv --out x", "csv"),
        ("--task ari --lengths 3 --prime 12 --out x", "12"),
        ("--task ari --lengths 3 --domain reals --out x", "reals"),
        (
            "--task ari --lengths 3 --domain integers --prime 5 --out x",
            "--prime",
        ),
        (
            "--task ari --lengths 3 --largest 99 --out x",
            "--domain integers",
        ),
        ("--task ari --lengths 3 --letters 4 --out x", "--task ed"),
        ("--task ed --lengths 3 --letters 99 --out x", "99"),
        ("--task ed --lengths 3 --drawn 0..3 --out x", "drawn"),
        ("--task lis --lengths 3 --group 0 --out x", "group"),
        (
            "--task lis --lengths 3 --lowest 9 --out x",
            "--values fixed",
        ),
        ("--task ed --lengths 3 --nonsense --out x", "--nonsense"),
        ("--task ed --lengths 3 --skip-bad --out x", "--solve"),
        ("--solve a --convert b --out x", "--convert"),
        ("--solve a --lengths 3 --out x", "--lengths"),
        ("--solve a --input-format benchmark --out x", "--task"),
    ] {
        fails(folder, arguments, 2, says);
    }
    assert_eq!(run(folder, "--help").status.code(), Some(0));
    assert_eq!(run(folder, "--version").status.code(), Some(0));
}

#[test]
fn files_that_cannot_be_read_or_written_are_failures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fails(folder, "--solve none.jsonl --out x", 1, "none.jsonl");
    fails(folder, "--solve . --out x", 1, ".");
    fails(folder, "--task ed --lengths 3 --out none/x", 1, "none/x");
    fails(folder, "--task ed --lengths 3 --out .", 1, "directory");
    // What was in the place of the output stays when the work fails.
    fs::write(
        folder.join("in.jsonl"),
        "{\"task\": \"ed\", \"problem\": \"a | b <sep>\"}\nbad\n",
    )
    .unwrap();
    fs::write(folder.join("out.jsonl"), "before").unwrap();
    fails(folder, "--solve in.jsonl --out out.jsonl", 1, "line 2");
    assert_eq!(
        fs::read_to_string(folder.join("out.jsonl")).unwrap(),
        "before"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    fails(
        folder.path(),
        "--task lis --lengths 50 --count 2000 --out /dev/full",
        1,
        "No space left",
    );
}
