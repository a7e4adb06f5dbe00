//! The kernels for GPUs against those for CPUs, both in bf16 or both in f32. Needs an NVIDIA Hopper
//! GPU (compute capability 9.0).
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod case;
mod decode;
mod layers;
mod numbers;
mod others;
mod updates;

use burn::backend::{Autodiff, Cuda, Flex};

type Gpu = Autodiff<Cuda>;
type Cpu = Autodiff<Flex>;
