//! Problems that are asked of a trained model, by a command line or a file of lines.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use common::program;

mod common;

/// What `solve` gives for lines on standard input: the exit code, and both outputs.
fn solve(run: &Path, options: &[&str], lines: impl AsRef<[u8]>) -> (Option<i32>, String, String) {
    let mut child = Command::new(program("solve"))
        .arg("--run-dir")
        .arg(run)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // Of what is wrong with its options it says so before it has read them.
    let _ = input.write_all(lines.as_ref());
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn each_line_is_answered_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let trained = Command::new(program("multitask_relay"))
        .args(["--preset", "smoke", "--arms", "looped_vanilla", "--run-dir"])
        .arg(&run)
        .output()
        .unwrap();
    assert!(trained.status.success(), "{trained:?}");
    let (task, arm) = (["--task", "ari"], ["--arm", "looped_vanilla"]);
    let options = [task, arm].concat();
    // As editors of some systems write it.
    let (code, stdout, stderr) = solve(&run, &options, "\u{feff}1 + 2 =\r\n\r\n2 * 2 =\r\n");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.contains("ari: 1 + 2 =\n") && stdout.contains("ari: 2 * 2 =\n"),
        "{stdout}"
    );
    let (code, _, stderr) = solve(&run, &options, "1 + 2 =\n\n1 + =\n");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("error: line 3 of standard input: "),
        "{stderr}"
    );
    let (code, _, stderr) = solve(&run, &options, b"1 + 2 =\n\n1 \xff 2 =\n");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("error: line 3 of standard input is no UTF-8 text"),
        "{stderr}"
    );
    let given = |problems: &[&str]| solve(&run, &[&options, problems].concat(), "").2;
    assert!(given(&["1 + 2 =", "1 + ="]).contains("error: problem 2: "));
    assert!(
        given(&["1 + ="]).starts_with("error: `1 + =`"),
        "{}",
        given(&["1 + ="])
    );
    // The arm that is meant where none is said.
    let (code, _, stderr) = solve(&run, &task, "1 + 2 =\n");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("must be one that the run has trained: looped_vanilla"),
        "{stderr}"
    );

    // Whoever asks is told if the model is not the one that the run stands for.
    let answers = |warning: &str| {
        let (code, stdout, stderr) = solve(&run, &options, "1 + 2 =\n");
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("ari: 1 + 2 =\n"), "{stdout}");
        let told = stderr.contains("WARN");
        assert!(
            told != warning.is_empty() && stderr.contains(warning),
            "{stderr}"
        );
    };
    answers("");
    let settings = run.join("settings.json");
    let held = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, held.replacen("\"seed\": 1", "\"seed\": 2", 1)).unwrap();
    answers("other settings");
    fs::write(&settings, held).unwrap();
    fs::remove_file(run.join("looped_vanilla/done.json")).unwrap();
    answers("not marked as trained to its end");
    let (code, _, stderr) = solve(dir.path(), &options, "1 + 2 =\n");
    assert!(
        code == Some(2) && stderr.contains(&run.display().to_string()),
        "{stderr}"
    );
    #[cfg(unix)]
    a_signal_ends_a_long_problem(&run, &options);
}

#[cfg(unix)]
fn a_signal_ends_a_long_problem(run: &Path, options: &[&str]) {
    let problem = "1 + ".repeat(1500) + "1 =";
    let mut child = Command::new(program("solve"))
        .arg("--run-dir")
        .arg(run)
        .args(options)
        .arg(problem)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    // A signal that nobody listens for yet ends it in another way.
    let listens = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_none_or(|mask| mask >> 1 & 1 == 1)
    };
    while !listens() {
        sleep(Duration::from_millis(10));
    }
    let sent = Command::new("kill").args(["-s", "INT", &pid]).status();
    assert!(sent.unwrap().success());
    let clock = Instant::now();
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(130));
    assert!(clock.elapsed() < Duration::from_secs(20));
}
