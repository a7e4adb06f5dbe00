//! Several runs from a command line: what sweeps, seeds and the paper's figures share.

use std::sync::atomic::Ordering;

use burn::tensor::backend::AutodiffBackend;
use relay_pipeline::{Existing, Override, PipelineError, Results, SeveralRuns};
use relay_train::{Precision, StopFlag};

use crate::{CliError, DeviceName, Program, on_device, stop_on_signals};

/// Makes all runs on a device that is chosen at run time, and gives their results in the same order.
///
/// # Errors
/// A usage error for a device or settings that cannot be; a failure for everything that goes wrong on the way; an
/// interruption, with its signal, after the run in progress has been saved.
pub fn run_several(several: SeveralRuns, device: DeviceName) -> Result<Vec<Results>, CliError> {
    let stop = StopFlag::default();
    let signal = stop_on_signals(&stop.shared()).map_err(CliError::failure)?;
    let same = several.existing != Existing::Refuse;
    let outcome = on_device(device, Running { several, stop }).map_err(CliError::usage)?;
    outcome.map_err(|error| match error {
        error if error.is_interrupted() => {
            let with = if same { "" } else { " and --resume" };
            CliError::Interrupted {
                message: format!("{error}; go on with the same command{with}"),
                signal: u8::try_from(signal.load(Ordering::SeqCst)).unwrap_or(0),
            }
        }
        error if error.is_usage() => CliError::usage(error),
        error => CliError::failure(error),
    })
}

struct Running {
    several: SeveralRuns,
    stop: StopFlag,
}

impl Program for Running {
    type Output = Result<Vec<Results>, PipelineError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        self.several.run::<B>(&device, &self.stop)
    }
}

/// The changed settings that texts of the form `PATH=VALUE` stand for.
///
/// # Errors
/// Names the first text that is none.
pub fn overrides(texts: &[String]) -> Result<Vec<Override>, PipelineError> {
    texts.iter().map(|text| text.parse()).collect()
}

/// The options of `multitask_relay` that make one run, for its report.
pub fn run_command(
    preset: &str,
    seed: u64,
    overrides: &[Override],
    arms: &[String],
    device: DeviceName,
    precision: Option<Precision>,
) -> String {
    let mut command =
        format!("cargo run --release --example multitask_relay -- --preset {preset} --seed {seed}");
    for one in overrides {
        command += &format!(" --set {}", quoted(&one.to_string()));
    }
    if !arms.is_empty() {
        command += &format!(" --arms {}", arms.join(","));
    }
    if let Some(precision) = precision {
        command += &format!(" --precision {precision}");
    }
    command + &format!(" --device {device}")
}

/// A word as a shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=._,:/+-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed_as_they_stand() {
        let one = "evaluation.hit_matrices=[[\"lis\", 30]]".parse().unwrap();
        let command = run_command(
            "mini",
            2,
            &[one],
            &["ar_relay".to_owned()],
            DeviceName::Flex,
            Some(Precision::Bf16),
        );
        assert!(
            command.ends_with(
                "--preset mini --seed 2 --set 'evaluation.hit_matrices=[[\"lis\", 30]]' --arms ar_relay \
                 --precision bf16 --device flex"
            ),
            "{command}"
        );
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
