//! Behaviour of the whole crate, on both CPU backends; one program, because backends take long to compile.
#![allow(clippy::unwrap_used)]

mod checkpoints;
mod common;
mod corruption;
mod losses;
mod recovery;
mod resume;
mod sources;
mod training;
mod widths;
mod workers;
