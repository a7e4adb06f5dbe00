//! Behaviour of the models on both CPU backends, in one binary: burn's generic code compiles once.

#[path = "../common/mod.rs"]
#[macro_use]
mod common;

mod causal;
mod decoding;
mod generate;
mod gradients;
mod init;
mod looped;
