//! Models on disk, outside a run: read from its checkpoints, or written by a training loop of one's own.

use std::{collections::BTreeMap, path::Path};

use burn::module::Module;
use burn::tensor::backend::Backend;
use relay_models::{CausalConfig, CausalTransformer, LoopedConfig, LoopedTransformer};
use relay_tasks::{Codec, parent_dir};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::checkpoint::{MODEL, Sealed, save_as};
use crate::manifest::{Counters, Manifest};
use crate::restore::Verified;
use crate::tensors::of_model;
use crate::{Result, TrainError, Window};

/// A checkpoint's model, read and verified. Of what a training needs to go on nothing is read, so that this may be damaged.
///
/// The weights are the averaged ones if the run kept an average.
#[derive(Debug)]
pub struct Checkpoint {
    verified: Verified,
}

impl Checkpoint {
    /// Reads the newest checkpoint in `dir` whose model is good, or `dir` itself if it is one.
    ///
    /// # Errors
    /// When there is no such checkpoint.
    pub fn open(dir: &Path) -> Result<Self> {
        let verified = Verified::newest_or_error(dir, &[MODEL])?;
        Ok(Self { verified })
    }

    /// What it says about itself: codec, settings, how far the run was.
    pub fn manifest(&self) -> &Manifest {
        &self.verified.manifest
    }

    /// The looped model in it.
    ///
    /// # Errors
    /// When its settings or its parameters are those of another model.
    pub fn looped<B: Backend>(&self, device: &B::Device) -> Result<LoopedTransformer<B>> {
        let config: LoopedConfig = self.config("looped")?;
        config.validate()?;
        self.check_size(config.number_of_parameters())?;
        self.model(config.init(device, 0))
    }

    /// The auto-regressive model in it.
    ///
    /// # Errors
    /// When its settings or its parameters are those of another model.
    pub fn causal<B: Backend>(&self, device: &B::Device) -> Result<CausalTransformer<B>> {
        let config: CausalConfig = self.config("auto-regressive")?;
        config.validate()?;
        self.check_size(config.number_of_parameters())?;
        self.model(config.init(device, 0))
    }

    /// That the file may hold about so many parameters: memory must not depend on what settings say. A model of another kind may
    /// have some more; which of them are missing is told when it is read.
    fn check_size(&self, parameters: usize) -> Result<()> {
        let bytes = self
            .verified
            .manifest
            .files
            .get(MODEL)
            .map_or(0, |file| file.bytes);
        let room = bytes / size_of::<f32>() as u64;
        if parameters as u64 > room.saturating_mul(4) {
            let reason =
                format!("{MODEL} has room for {room} parameters, its settings are of {parameters}");
            return Err(self.verified.wrong(reason));
        }
        Ok(())
    }

    /// `model` with the weights in it: for models of one's own. Whether it has the settings that the weights were learnt with
    /// is for the caller to know; [`load_model`](crate::load_model) compares them.
    ///
    /// # Errors
    /// When its parameters have other names or shapes.
    pub fn model<B: Backend, M: Module<B>>(&self, model: M) -> Result<M> {
        self.verified.model(MODEL, model)
    }

    fn config<T: DeserializeOwned>(&self, kind: &str) -> Result<T> {
        serde_json::from_value(self.manifest().model.clone()).map_err(|error| {
            let reason = format!("it holds no {kind} model: {error}");
            self.verified.wrong(reason)
        })
    }
}

/// Writes a model, of any training loop, to the new directory `dir`, as a checkpoint that [`Checkpoint::open`] and
/// [`load_model`](crate::load_model) read. It holds nothing for a [`Trainer`](crate::Trainer) to go on from.
///
/// `settings` are the model's own as JSON, for the models of `relay-models` their `config()`.
///
/// # Errors
/// When there is something at `dir` already, its parent is no directory, or it cannot be written.
pub fn save_model<B: Backend, M: Module<B>>(
    dir: &Path,
    model: &M,
    settings: Value,
    codec: &Codec,
) -> Result<()> {
    if dir.exists() {
        let what = "the directory of a model";
        return Err(TrainError::input(
            what,
            dir.display(),
            "one that is not there yet",
        ));
    }
    let Some(name) = dir.file_name().and_then(|name| name.to_str()) else {
        return Err(TrainError::input(
            "the directory of a model",
            dir.display(),
            "a name in UTF-8",
        ));
    };
    let manifest = Manifest {
        model: settings,
        ..Manifest::new(Counters::default(), Window::default(), codec.clone())
    };
    let contents = BTreeMap::from([(MODEL, of_model::<B, M>(model))]);
    let sealed =
        Sealed::new(manifest, &contents).map_err(|reason| TrainError::checkpoint(dir, reason))?;
    save_as(parent_dir(dir), name, &sealed)
}
