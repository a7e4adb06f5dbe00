//! SIGINT, SIGTERM and SIGHUP end a run at its next step, with a checkpoint and the exit code that says so; a second one
//! ends it at once, unless it comes as the first one's double.

#![cfg(unix)]
// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use common::program;
use relay_pipeline::preset;
use relay_train::read_manifest;

mod common;

/// Set for the copy of this test that waits for signals.
const CHILD: &str = "RELAY_TEST_WAITS_FOR_SIGNALS";

/// More than passes between a signal and its double.
const LATER: Duration = Duration::from_millis(1100);

/// What a shell says to a command line.
fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn send(signal: &str, child: &Child) {
    shell(&format!("kill -s {signal} {}", child.id()));
}

/// As `timeout` and batch systems do, which tell the process and its group.
fn send_double(signal: &str, child: &Child) {
    let kill = format!("kill -s {signal} {}", child.id());
    shell(&format!("{kill}; sleep 0.02; {kill}"));
}

/// A run that takes far longer than the test, and saves nothing by itself; and its command, word by word.
fn endless(dir: &Path) -> (Child, Vec<String>) {
    let mut settings = preset("smoke", 1).unwrap();
    let train = &mut settings.looped_aligned.train;
    (train.steps, train.checkpoint_every, train.validate_every) = (1_000_000, 0, 0);
    train.log_every = 1;
    let file = dir.join("my settings.json");
    fs::write(&file, serde_json::to_string(&settings).unwrap()).unwrap();
    let run = dir.join("it's a run");
    let words = [
        &program("multitask_relay"),
        Path::new("--settings"),
        &file,
        Path::new("--run-dir"),
        &run,
    ];
    let words = words.map(|word| word.to_str().unwrap().to_owned());
    let child = Command::new(&words[0])
        .args(&words[1..])
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (child, words.to_vec())
}

/// Waits until there are five lines in a file.
fn some_lines(file: &Path) {
    let clock = Instant::now();
    while lines(file) < 5 {
        assert!(clock.elapsed() < Duration::from_secs(120), "it never began");
        sleep(Duration::from_millis(5));
    }
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// Whether a signal does nothing here, as where `nohup` has started these tests.
fn is_ignored(signal: &str) -> bool {
    let line = format!("kill -s {signal} $$; echo ignored");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    !output.stdout.is_empty()
}

#[test]
fn a_signal_ends_a_run_at_the_next_step_with_a_checkpoint() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if signal == "HUP" && (is_ignored(signal) || !cfg!(target_os = "linux")) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let (child, mut words) = endless(dir.path());
        let run = Path::new(&words[4]);
        let stage = run.join("looped_aligned");
        let metrics = stage.join("metrics.jsonl");
        some_lines(&metrics);
        send_double(signal, &child);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{signal}: {stderr}");
        // At that step and no later one.
        let step = read_manifest(&stage).unwrap().counters.step;
        assert_eq!(step as usize, lines(&metrics), "{signal}");
        let stopped = format!(
            "stopped at step {step}; what is done lies in {}; ",
            words[4]
        );
        assert!(stderr.contains(&stopped), "{stderr}");
        // The command that goes on can be typed as it stands.
        let (_, command) = stderr.split_once("go on with: ").unwrap();
        words.push("--resume".to_owned());
        let read = shell(&format!("printf '%s\\n' {command}"));
        assert_eq!(read.lines().collect::<Vec<_>>(), words, "{stderr}");
    }
}

#[test]
fn a_training_on_ones_own_task_is_stopped_with_a_checkpoint_and_not_begun_twice() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let training = || {
        let mut command = Command::new(program("custom_task"));
        command.args(["--steps", "1000000", "--run-dir"]).arg(&run);
        command.env("RUST_LOG", "error");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let child = training().spawn().unwrap();
    let clock = Instant::now();
    while !run.join("metrics.jsonl").exists() {
        assert!(clock.elapsed() < Duration::from_secs(120), "it never began");
        sleep(Duration::from_millis(5));
    }
    let second = training().output().unwrap();
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("is in use"), "{stderr}");
    send("INT", &child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    let step = read_manifest(&run).unwrap().counters.step;
    assert!(stderr.contains(&step.to_string()), "{step}: {stderr}");
}

#[test]
fn a_comparison_that_is_stopped_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(program("compare_devices"))
        .args(["--preset", "smoke", "--updates", "1000000"])
        .args(["--set", "looped_aligned.train.steps=1000000", "--out"])
        .arg(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    some_lines(&dir.path().join("a/metrics.jsonl"));
    send("INT", &child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("error: stopped before"), "{stderr}");
}

/// Not a test by itself: what the next ones start.
#[test]
fn waits_for_signals() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let seen = relay_examples::stop_on_signals(&stop).unwrap();
    println!("\nready");
    while !stop.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(1));
    }
    println!("\nasked by {}", seen.load(Ordering::SeqCst));
    // A step that does not end.
    sleep(Duration::from_secs(120));
}

/// A process that waits for signals, begun by `sh` with `first` done before; and what it says.
fn waiting(first: &str) -> (Child, impl FnMut(&str) -> bool) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{first}exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "waits_for_signals", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard = move |word: &str| lines.any(|line| line.unwrap() == word);
    assert!(heard("ready"));
    (child, heard)
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, number, second, code) in [
        ("INT", 2, "INT", 130),
        ("INT", 2, "TERM", 143),
        ("TERM", 15, "INT", 130),
    ] {
        let (mut child, mut heard) = waiting("");
        send(first, &child);
        assert!(heard(&format!("asked by {number}")));
        // The double of the first one.
        send(second, &child);
        sleep(LATER);
        assert!(child.try_wait().unwrap().is_none(), "{first}, {second}");
        let clock = Instant::now();
        send(second, &child);
        let output = child.wait_with_output().unwrap();
        assert!(clock.elapsed() < Duration::from_secs(30));
        assert_eq!(output.status.code(), Some(code), "{first}, {second}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("ended at once"), "{stderr}");
    }
}

/// `nohup` asks for a run that outlives its terminal.
#[test]
fn a_hang_up_that_is_ignored_stays_so() {
    let (mut child, mut heard) = waiting("trap '' HUP; ");
    send("HUP", &child);
    send("TERM", &child);
    assert!(heard("asked by 15"));
    child.kill().unwrap();
    child.wait().unwrap();
}
