//! A disk that fills up: one clear line, exit code 1, and the run goes on where it was once there is room again.
//!
//! The disk is a small tmpfs in a mount namespace of its own. Where such a namespace is not allowed, the test says so and
//! checks nothing.

#![cfg(target_os = "linux")]
// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Exit code of [`SCRIPT`] where there is no tmpfs to be had.
const NO_TMPFS: i32 = 77;

/// Runs the program on a disk of `$SIZE`, then again on a larger one, and copies the weights out.
const SCRIPT: &str = r#"
    mount -t tmpfs -o size="$SIZE" tmpfs "$DISK" || exit 77
    : > "$OUT/mounted"
    "$PROGRAM" --preset smoke --run-dir "$DISK/run"
    echo "exit code $?" >&2
    mount -o remount,size=64m "$DISK" || exit 77
    "$PROGRAM" --preset smoke --run-dir "$DISK/run" --resume || exit 1
    cp "$DISK"/run/ar_relay/step-*/model.safetensors "$OUT/model"
"#;

fn program() -> PathBuf {
    // Tests lie in target/PROFILE/deps, the programs in target/PROFILE/examples.
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/multitask_relay")
}

/// The weights that the run ends with, and what the program said; None without a tmpfs.
fn run_on_disk_of(size: &str) -> Option<(Vec<u8>, String)> {
    let dir = tempfile::tempdir().unwrap();
    let (disk, out) = (dir.path().join("disk"), dir.path().join("out"));
    fs::create_dir(&disk).unwrap();
    fs::create_dir(&out).unwrap();
    let Ok(Output { status, stderr, .. }) = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT])
        .env("SIZE", size)
        .env("DISK", &disk)
        .env("OUT", &out)
        .env("PROGRAM", program())
        .env("RUST_LOG", "error")
        .output()
    else {
        return None;
    };
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    if status.code() == Some(NO_TMPFS) || !out.join("mounted").exists() {
        println!("no tmpfs in a namespace here, nothing is checked: {stderr}");
        return None;
    }
    assert!(status.success(), "{size}: {stderr}");
    assert!(!stderr.contains("panicked"), "{size}: {stderr}");
    Some((fs::read(out.join("model")).unwrap(), stderr))
}

fn weights_without_trouble() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let args = ["--preset", "smoke", "--run-dir", run.to_str().unwrap()];
    let status = Command::new(program()).args(args).output().unwrap().status;
    assert!(status.success());
    fs::read(only_model(&run.join("ar_relay"))).unwrap()
}

fn only_model(stage: &Path) -> PathBuf {
    let entries = fs::read_dir(stage)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut models = entries
        .map(|path| path.join("model.safetensors"))
        .filter(|path| path.exists());
    models.next().unwrap()
}

#[test]
fn a_full_disk_is_said_so_and_loses_nothing() {
    // Full at the first checkpoint, and full when the figures are drawn.
    let outcomes = ["200k", "1200k"].map(run_on_disk_of);
    if outcomes.iter().all(Option::is_none) {
        return;
    }
    let expected = weights_without_trouble();
    for (weights, stderr) in outcomes.into_iter().flatten() {
        let errors: Vec<&str> = stderr
            .lines()
            .filter(|line| line.starts_with("error:"))
            .collect();
        assert!(
            matches!(errors[..], [error] if error.contains("No space left")),
            "{stderr}"
        );
        assert!(stderr.contains("exit code 1\n"), "{stderr}");
        assert!(
            weights == expected,
            "other weights than those of a run that had room"
        );
    }
}
