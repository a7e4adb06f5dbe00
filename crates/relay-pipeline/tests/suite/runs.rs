//! Runs that learn nothing and take no time.

use std::{fs, path::Path, time::SystemTime};

use burn::backend::{Autodiff, Flex};
use relay_pipeline::{About, Existing, Pipeline, PipelineError, Results, Settings, preset};
use relay_train::StopFlag;

pub type Backend = Autodiff<Flex>;

/// The smallest preset, made smaller.
pub fn tiny() -> Settings {
    let mut settings = preset("smoke", 3).unwrap();
    shrink(&mut settings);
    settings
}

/// A narrow model, four updates a stage.
pub fn shrink(settings: &mut Settings) {
    for transformer in [
        &mut settings.looped.transformer,
        &mut settings.causal.transformer,
    ] {
        transformer.d_model = 16;
    }
    for stage in settings.stages_mut() {
        stage.train.steps = 4;
        stage.train.checkpoint_every = 2;
        stage.train.validate_every = 2;
    }
    settings.evaluation.samples = 3;
}

/// Opens a pipeline in `dir`.
pub fn open(
    settings: &Settings,
    dir: &Path,
    existing: Existing,
    stop: StopFlag,
) -> Result<Pipeline<Backend>, PipelineError> {
    let about = About {
        device: "flex".into(),
        command: "test".into(),
    };
    Pipeline::open(
        settings.clone(),
        dir,
        existing,
        about,
        Default::default(),
        stop,
    )
}

/// Makes a whole run.
pub fn run(settings: &Settings, dir: &Path, existing: Existing) -> Result<Results, PipelineError> {
    open(settings, dir, existing, StopFlag::default())?.run()
}

/// When this stage of a run was finished.
pub fn made_at(dir: &Path, stage: &str) -> SystemTime {
    fs::metadata(dir.join(stage).join("done.json"))
        .unwrap()
        .modified()
        .unwrap()
}
