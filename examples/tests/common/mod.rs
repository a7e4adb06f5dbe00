//! What the tests of the programs share.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// A program, which `cargo test` builds beside the tests.
pub fn program(name: &str) -> PathBuf {
    // Tests lie in target/PROFILE/deps, the programs in target/PROFILE/examples.
    let test = std::env::current_exe().unwrap();
    let folder = test
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples");
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "{} is not built: cargo build --example {name}",
        program.display()
    );
    program
}

/// Says that a test checks nothing here, where what a passing test prints is not shown.
#[allow(dead_code, reason = "not all tests depend on the machine")]
#[allow(
    clippy::explicit_write,
    reason = "`eprintln!` is kept by the test runner"
)]
pub fn not_tested(why: &str) {
    writeln!(std::io::stderr(), "not tested: {}", why.trim_end()).unwrap();
}
