//! The comparison of devices, on the two CPU backends.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use common::program;
use serde_json::Value;

mod common;

fn compare(out: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(program("compare_devices"));
    command.args(["--preset", "smoke", "--updates", "20", "--out"]);
    command.arg(out).args(options);
    command.env("RUST_LOG", "error").output().unwrap()
}

#[test]
fn both_backends_have_the_same_losses() {
    let dir = tempfile::tempdir().unwrap();
    let done = compare(dir.path(), &[]);
    let said = String::from_utf8_lossy(&done.stdout);
    let failed = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}{failed}");
    assert!(
        said.contains("first: ") && said.contains("largest: "),
        "{said}"
    );
    let found: Value =
        serde_json::from_slice(&fs::read(dir.path().join("compare.json")).unwrap()).unwrap();
    assert_eq!(found["compared"]["agree"], true);
    assert_eq!(found["compared"]["losses"].as_array().unwrap().len(), 20);
    let csv = fs::read_to_string(dir.path().join("losses.csv")).unwrap();
    assert!(
        csv.starts_with("update,flex f32,ndarray f32,relative difference\n"),
        "{csv}"
    );
    let svg = fs::read_to_string(dir.path().join("losses.svg")).unwrap();
    assert!(svg.contains("ndarray f32"));
    assert!(fs::metadata(dir.path().join("losses.png")).unwrap().len() > 1000);
}

#[test]
fn what_is_too_far_apart_ends_with_1_and_what_cannot_be_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let rounded = ["--b", "flex", "--precision-b", "bf16", "--no-kernels"];
    let done = compare(dir.path(), &rounded);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let strict = [&rounded[..], &["--tolerance", "1e-7"]].concat();
    let done = compare(dir.path(), &strict);
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stdout).contains("BEYOND"));

    let done = compare(dir.path(), &["--precision-b", "bf16"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("has no bf16"), "{said}");
    for options in [
        ["--arm", "chains"],
        ["--set", "looped_aligned.train.precision=bf16"],
        ["--set", "seed=5"],
        ["--set", "looped_aligned.train.log_every=5"],
        ["--set", "stage1.train.log_every=5"],
        ["--precision-b", "bf16"],
    ] {
        let out = dir.path().join("none");
        let done = compare(&out, &options);
        assert_eq!(done.status.code(), Some(2), "{options:?}");
        assert!(!out.exists(), "{options:?}");
    }
}

#[test]
fn what_no_comparison_made_stays() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("b/step-000000007");
    fs::create_dir_all(&checkpoint).unwrap();
    let done = compare(dir.path(), &[]);
    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("no comparison's"), "{said}");
    assert!(checkpoint.exists() && !dir.path().join("a").exists());
}
