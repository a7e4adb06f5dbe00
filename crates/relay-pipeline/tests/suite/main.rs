//! Behaviour of the whole crate; one program, because backends take long to compile.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod claims;
mod files;
mod filters;
mod forensics_cost;
mod own_tasks;
mod pipeline;
mod predictions;
mod questions;
mod report;
mod run_dirs;
mod runs;
mod stopping;
mod sweep;
#[cfg(unix)]
mod untrusted;
mod windows;
