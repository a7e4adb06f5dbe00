//! Where the system gives little, it is said what is lacking: no panic, no silent end.

#![cfg(target_os = "linux")]
// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    os::unix::{fs::chown, process::ExitStatusExt},
    path::Path,
    process::{Command, Output},
};

use common::{not_tested, program};

mod common;

/// A user who runs nothing else: processes are counted by user.
const NOBODY: u32 = 65534;

/// The main job in its smallest preset, with `options`, begun by the line of a shell in which it is `"$@"`.
fn limited(line: &str, options: &[&str], run_dir: &Path) -> Output {
    Command::new("sh")
        .args(["-c", line, "sh"])
        .arg(program("multitask_relay"))
        .args(["--preset", "smoke", "--arms", "looped_vanilla", "--run-dir"])
        .arg(run_dir)
        .args(options)
        .env("RUST_LOG", "info")
        .output()
        .unwrap()
}

/// The line that begins a program as [`NOBODY`], who may have so many processes and threads.
fn as_nobody(processes: usize) -> String {
    format!(
        "exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups prlimit --nproc={processes} \"$@\""
    )
}

#[test]
fn too_few_threads_are_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let helped = limited(&as_nobody(100), &["--help"], dir.path());
    if !helped.status.success() || chown(dir.path(), Some(NOBODY), Some(NOBODY)).is_err() {
        not_tested("only root may run a program as another user");
        return;
    }
    let mut refused = 0;
    for processes in 1..=8 {
        let run = dir.path().join(processes.to_string());
        let output = limited(&as_nobody(processes), &[], &run);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{processes}: {stderr}");
        match output.status.code() {
            Some(0) => break,
            Some(1) => refused += 1,
            _ => panic!("{processes}: {:?} {stderr}", output.status),
        }
        assert!(
            stderr.contains("Resource temporarily unavailable"),
            "{processes}: {stderr}"
        );
    }
    assert!(refused > 2, "{refused}");
}

#[test]
fn a_file_that_may_not_grow_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = limited("ulimit -f 20 && exec \"$@\"", &[], &dir.path().join("run"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{:?} {stderr}",
        output.status
    );
    assert!(stderr.contains("error: cannot write"), "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
}

#[test]
fn whoever_is_out_of_processor_time_saves_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let endless = ["--set", "looped_vanilla.train.steps=1000000"];
    let output = limited("ulimit -S -t 2 && exec \"$@\"", &endless, &run);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // 24 is the signal, of which a process that does not heed it dies.
    assert_eq!(output.status.signal(), None, "{stderr}");
    assert_eq!(output.status.code(), Some(128 + 24), "{stderr}");
    assert!(
        stderr.contains("asked to stop") && stderr.contains("go on with: "),
        "{stderr}"
    );
    assert!(
        run.join("looped_vanilla").read_dir().unwrap().count() > 1,
        "{stderr}"
    );
}
