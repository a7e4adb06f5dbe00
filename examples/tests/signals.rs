//! SIGINT and SIGTERM end a run at its next step, with a checkpoint and the exit code that says so; a second one ends it
//! at once.

#![cfg(unix)]
// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use relay_pipeline::preset;
use relay_train::read_manifest;

/// Set for the copy of this test that waits for signals.
const CHILD: &str = "RELAY_TEST_WAITS_FOR_SIGNALS";

fn program() -> PathBuf {
    // Tests lie in target/PROFILE/deps, the programs in target/PROFILE/examples.
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/multitask_relay")
}

fn send(signal: &str, child: &Child) {
    let kill = format!("kill -s {signal} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
}

/// A run that takes far longer than the test, and saves nothing by itself.
fn endless(dir: &Path) -> Child {
    let mut settings = preset("smoke", 1).unwrap();
    let train = &mut settings.looped_aligned.train;
    (train.steps, train.checkpoint_every, train.validate_every) = (1_000_000, 0, 0);
    train.log_every = 1;
    let file = dir.join("settings.json");
    fs::write(&file, serde_json::to_string(&settings).unwrap()).unwrap();
    Command::new(program())
        .arg("--settings")
        .arg(&file)
        .arg("--run-dir")
        .arg(dir.join("run"))
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_signal_ends_a_run_at_the_next_step_with_a_checkpoint() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let dir = tempfile::tempdir().unwrap();
        let child = endless(dir.path());
        let stage = dir.path().join("run/looped_aligned");
        let metrics = stage.join("metrics.jsonl");
        let clock = Instant::now();
        let lines = || fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
        while lines() < 5 {
            assert!(clock.elapsed() < Duration::from_secs(120), "it never began");
            sleep(Duration::from_millis(5));
        }
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{signal}: {stderr}");
        assert!(
            stderr.contains("stopped at step") && stderr.contains("--resume"),
            "{stderr}"
        );
        // At that step and no later one.
        let step = read_manifest(&stage).unwrap().counters.step;
        assert_eq!(step as usize, lines(), "{signal}");
        assert!(stderr.contains(&format!("step {step};")), "{stderr}");
    }
}

/// Not a test by itself: what the next one starts.
#[test]
fn waits_for_signals() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    relay_examples::stop_on_signals(&stop).unwrap();
    println!("\nready");
    while !stop.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(1));
    }
    println!("\nasked");
    // A step that does not end.
    sleep(Duration::from_secs(120));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second, code) in [
        ("INT", "INT", 130),
        ("INT", "TERM", 143),
        ("TERM", "INT", 130),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "waits_for_signals", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = |word: &str| lines.any(|line| line.unwrap() == word);
        assert!(heard("ready"));
        send(first, &child);
        assert!(heard("asked"));
        let clock = Instant::now();
        send(second, &child);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{first}, {second}");
        assert!(clock.elapsed() < Duration::from_secs(30));
    }
}
