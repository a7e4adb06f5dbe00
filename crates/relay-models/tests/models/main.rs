//! Behaviour of the models on both CPU backends, in one binary: burn's generic code compiles once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
#[macro_use]
mod common;

mod causal;
mod decoding;
mod generate;
mod gradients;
mod init;
mod looped;
