//! Devices: which backends are compiled in, and running a program on one that is named at run time.

use std::{fmt, str::FromStr};

use burn::{backend::Autodiff, tensor::backend::AutodiffBackend};

/// A backend by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// burn's own CPU backend, with the hand-written kernels: the default.
    Flex,
    /// The CPU backend on the `ndarray` crate.
    Ndarray,
    /// NVIDIA GPUs.
    Cuda,
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No such device.
    #[error("unknown device `{0}`; known are flex, ndarray, cuda")]
    Unknown(String),
    /// The device exists but this program was built without it.
    #[error("this program was built without `{0}`; build it with `--features {0}`")]
    NotCompiledIn(DeviceName),
}

impl DeviceName {
    /// What builds and starts the program `example` for this device; its options follow.
    pub fn cargo_run(self, example: &str) -> String {
        let feature = match self {
            Self::Cuda => "-p relay-examples --features cuda ",
            Self::Flex | Self::Ndarray => "",
        };
        format!("cargo run --release {feature}--example {example} --")
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "flex" => Ok(Self::Flex),
            "ndarray" => Ok(Self::Ndarray),
            "cuda" => Ok(Self::Cuda),
            other => Err(DeviceError::Unknown(other.to_owned())),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Cuda => "cuda",
        })
    }
}

/// A program that runs on any backend.
pub trait Program {
    /// What it returns.
    type Output;

    /// Runs on `device` of backend `B`.
    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output;
}

/// Runs `program` on the device called `name`.
///
/// # Errors
/// When the device is not compiled in.
pub fn on_device<P: Program>(name: DeviceName, program: P) -> Result<P::Output, DeviceError> {
    match name {
        #[cfg(feature = "flex")]
        DeviceName::Flex => Ok(program.run::<Autodiff<burn::backend::Flex>>(Default::default())),
        #[cfg(feature = "ndarray")]
        DeviceName::Ndarray => {
            Ok(program.run::<Autodiff<burn::backend::NdArray>>(Default::default()))
        }
        #[cfg(feature = "cuda")]
        DeviceName::Cuda => Ok(program.run::<Autodiff<burn::backend::Cuda>>(Default::default())),
        #[allow(unreachable_patterns)]
        other => Err(DeviceError::NotCompiledIn(other)),
    }
}
