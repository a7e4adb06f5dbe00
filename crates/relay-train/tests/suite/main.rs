//! Behaviour of the whole crate, on both CPU backends; one program, because backends take long to compile.
#![allow(clippy::unwrap_used)]

mod checkpoints;
mod common;
mod corruption;
mod crafted;
mod divergence;
mod fragile;
mod losses;
mod lost_machines;
mod machines;
mod next_token_loss;
mod not_finite;
mod other_runs;
mod recomputing;
mod recovery;
mod resume;
mod sources;
mod training;
mod untrusted;
mod widths;
mod workers;
