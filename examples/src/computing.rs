//! The options that say where and how a program computes.

use clap::Args;
use relay_pipeline::{Override, PipelineError, Settings};
use relay_train::Precision;

use crate::{CliError, DeviceName};

/// Options that the programs with runs have in common.
#[derive(Debug, Clone, Args)]
pub struct Computing {
    /// Where the computation runs: `flex`, `ndarray` or `cuda`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// What the layers' products multiply in training, `f32` or `bf16`: bf16 is faster on processors with AVX-512 BF16 and
    /// less exact [default: as the settings say].
    #[arg(long)]
    pub precision: Option<Precision>,
    /// Work on up to N runs and stages at the same time where they do not need each other, each on its share of the
    /// threads [default: as many as there are threads; 1 on a GPU]. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

impl Computing {
    /// The device.
    ///
    /// # Errors
    /// A usage error for one that does not exist.
    pub fn device(&self) -> Result<DeviceName, CliError> {
        self.device.parse().map_err(CliError::usage)
    }

    /// How much is worked on at the same time on `device`; 0 stands for as much as there are threads.
    pub fn jobs(&self, device: DeviceName) -> usize {
        match (self.jobs, device) {
            (Some(jobs), _) => usize::from(jobs),
            (None, DeviceName::Cuda) => 1,
            (None, _) => 0,
        }
    }
}

/// The settings as a program's options ask for them: one task alone, in another precision, with single ones changed.
///
/// # Errors
/// When there is no such task, or a change does not fit.
pub fn adjusted(
    mut settings: Settings,
    task: Option<&str>,
    precision: Option<Precision>,
    sets: &[Override],
) -> Result<Settings, PipelineError> {
    if let Some(task) = task {
        settings = settings.single_task(task)?;
    }
    if let Some(precision) = precision {
        settings.set_precision(precision);
    }
    settings.with(sets)
}

/// That no changed setting asks for another seed than the option `--seed` or `--seeds`.
///
/// # Errors
/// Names both.
pub fn check_seed(settings: &Settings, seed: u64) -> Result<(), PipelineError> {
    if settings.seed == seed {
        return Ok(());
    }
    let right = format!("{seed}, as --seed or --seeds says: another one is asked for there");
    let found = settings.seed.to_string();
    Err(PipelineError::settings("seed", found, right))
}
