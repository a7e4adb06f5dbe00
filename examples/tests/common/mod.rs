//! What the tests of the programs share.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};

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
