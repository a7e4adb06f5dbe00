//! The stages that need a model: training, writing chains, fine-tuning, and what the evaluation asks of an arm.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use burn::{
    module::Module,
    tensor::backend::{AutodiffBackend, Backend},
};
use relay_tasks::{Chain, Example};
use relay_train::{
    ExampleListSource, ExampleSource, Followers, InnerModel, Leader, Objective, Resume, StopFlag,
    TrainConfig, TrainError, Trained, Trainer, load_model, with_generation_of,
};
use serde_json::json;

use crate::{
    ChainFilter, ChainSettings, ChainYield, Corpus, Made, PipelineError, Result, Settings,
    arms::{LOOPED_ALIGNED, is_looped},
    chains,
    cost::Written,
    done::{checkpoint_of, redo},
    kept_chains::KeptChains,
    merge::read_merged,
};

mod of_arm;

/// Writes chains for examples, in their order.
pub type Writer<'a> = Box<dyn Fn(&[Example]) -> Result<Vec<Chain>> + 'a>;

/// The part of a machine in a training.
#[derive(Debug)]
pub enum Machines {
    /// There are no others.
    Alone,
    /// It leads, see [`Trainer::lead`].
    Lead(Followers),
    /// It follows, see [`Trainer::follow`].
    Follow(Leader),
}

/// The stages of one run on one device.
#[derive(Debug)]
pub struct Stages<B: AutodiffBackend> {
    settings: Settings,
    corpus: Arc<dyn Corpus>,
    device: B::Device,
    stop: StopFlag,
    more_devices: Vec<B::Device>,
    #[cfg(feature = "collective")]
    collective: bool,
    machines: Machines,
    kill_after: Option<u64>,
}

impl<B: AutodiffBackend> Stages<B> {
    /// The stages of a run with these settings on `device`; they end early once `stop` is set.
    pub fn new(
        settings: Settings,
        corpus: Arc<dyn Corpus>,
        device: B::Device,
        stop: StopFlag,
    ) -> Self {
        Self {
            settings: settings.with_vocab(corpus.codec()),
            corpus,
            device,
            stop,
            more_devices: Vec::new(),
            #[cfg(feature = "collective")]
            collective: false,
            machines: Machines::Alone,
            kill_after: None,
        }
    }

    /// Trains on these devices as well, see [`Trainer::more_devices`].
    pub fn more_devices(mut self, devices: Vec<B::Device>) -> Self {
        self.more_devices = devices;
        self
    }

    /// Sums over the devices by burn's collective layer, see [`Trainer::collective`].
    #[cfg(feature = "collective")]
    pub fn collective(mut self, collective: bool) -> Self {
        self.collective = collective;
        self
    }

    /// Shares one training with other machines.
    ///
    /// On a machine that follows [`train`](Self::train) makes the updates of the leader's training of the same arm, and writes
    /// nothing: there are no files in what it gives.
    pub fn machines(mut self, machines: Machines) -> Self {
        self.machines = machines;
        self
    }

    /// Ends every training with an interruption after this many updates, without a checkpoint: for the first updates of a
    /// long training.
    pub fn kill_after(mut self, updates: u64) -> Self {
        self.kill_after = Some(updates);
        self
    }

    /// Trains an arm on the original data, going on from what `dir` holds of it.
    ///
    /// # Errors
    /// What the trainer returns.
    pub fn train(&self, arm: &str, dir: &Path) -> Result<Made> {
        let train = self.train_config(arm, None)?;
        let source = self.source(arm)?;
        let source = source.as_ref();
        if is_looped(arm) {
            let model = self.looped(arm).init::<B>(&self.device, train.seed);
            self.fit(arm, self.looped_objective(arm)?, model, source, train, dir)
        } else {
            let model = self.causal().init::<B>(&self.device, train.seed);
            self.fit(arm, self.causal_objective(arm)?, model, source, train, dir)
        }
    }

    /// Fine-tunes the auto-regressive model whose training lies in `model` on the merged data, as an arm's settings say; `phase` counts the
    /// phases of an arm that has several.
    ///
    /// # Errors
    /// When the checkpoint or the data cannot be read, and what the trainer returns.
    pub fn fine_tune(
        &self,
        arm: &str,
        phase: Option<usize>,
        model: &Path,
        merged: &Path,
        dir: &Path,
    ) -> Result<Made> {
        let codec = self.corpus.codec();
        let examples: Vec<Example> = read_merged(merged)?
            .iter()
            .map(|problem| codec.encode(problem))
            .collect::<Result<_, _>>()?;
        if examples.is_empty() {
            let nothing = "there is nothing to fine-tune on: no chain was kept, and `original` asks for no sample of the \
                           original data";
            return Err(PipelineError::corrupt(merged, format!("{arm}: {nothing}")));
        }
        let stage = self.settings.stage(arm)?;
        let train = self.train_config(arm, phase)?;
        let source = ExampleListSource::new(examples, stage.batching.clone(), train.seed)?;
        let new = self.causal().init::<B>(&self.device, train.seed);
        let model = self.load(arm, model, new)?;
        self.fit(arm, self.causal_objective(arm)?, model, &source, train, dir)
    }

    /// Writes chains for the corpus's longer problems with the looped model in `model`, unless they are `kept`; says what became
    /// of them, and what it cost.
    ///
    /// # Errors
    /// When the checkpoint or the problems cannot be read, or the file cannot be written.
    pub(crate) fn write_chains(
        &self,
        model: &Path,
        file: &Path,
        settings: &ChainSettings,
        own: Option<&dyn ChainFilter>,
        kept: &mut KeptChains,
    ) -> Result<(BTreeMap<String, ChainYield>, Written<'_>)> {
        let mut written = Written::by(LOOPED_ALIGNED, self.corpus.codec());
        let writer = self.writer(LOOPED_ALIGNED, model)?;
        let write =
            |examples: &[Example]| Ok(written.count(examples, kept.write(examples, &writer)?));
        let counts = chains::write_chains(self.corpus.as_ref(), settings, own, file, write)?;
        Ok((counts, written))
    }

    /// What writes the chains of an arm whose training lies in `dir`.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    pub fn writer(&self, arm: &str, dir: &Path) -> Result<Writer<'_>> {
        if is_looped(arm) {
            let new = self.looped(arm).init::<B::InnerBackend>(&self.device, 0);
            let model = self.load(arm, dir, new)?;
            self.writing(arm, self.looped_objective(arm)?, model)
        } else {
            let new = self.causal().init::<B::InnerBackend>(&self.device, 0);
            let model = self.load(arm, dir, new)?;
            self.writing(arm, self.causal_objective(arm)?, model)
        }
    }

    /// `model`, of an arm's settings, with the weights that the training in `dir` made.
    fn load<I: Backend, M: Module<I>>(&self, arm: &str, dir: &Path, model: M) -> Result<M> {
        let place = checkpoint_of(dir)?;
        let settings = self.model_settings(arm)?;
        load_model(&place, model, self.corpus.codec(), &settings).map_err(|error| match error {
            // Nothing else would do for a stage that is finished.
            TrainError::Checkpoint { .. } | TrainError::NoCheckpoint { .. } if place != dir => {
                PipelineError::corrupt(dir, format!("{error}; {}", redo(dir)))
            }
            error => error.into(),
        })
    }

    fn writing<'a, O: Objective<B> + 'a>(
        &'a self,
        arm: &str,
        objective: O,
        model: InnerModel<B, O>,
    ) -> Result<Writer<'a>> {
        let precision = self.settings.stage(arm)?.train.precision;
        Ok(Box::new(move |examples| {
            if self.stop.is_set() {
                return Err(PipelineError::Stopped);
            }
            let write = || objective.write_chains(&model, examples, &self.device);
            Ok(with_generation_of::<B, _>(precision, write)?)
        }))
    }

    fn fit<O: Objective<B>>(
        &self,
        arm: &str,
        objective: O,
        model: O::Model,
        source: &dyn ExampleSource,
        train: TrainConfig,
        dir: &Path,
    ) -> Result<Made> {
        let valid = self.corpus.valid(train.validate_samples)?;
        let trainer = Trainer::new(
            train,
            objective,
            self.corpus.codec().clone(),
            self.model_settings(arm)?,
            self.device.clone(),
            dir,
        )?
        .more_devices(self.more_devices.clone());
        #[cfg(feature = "collective")]
        let trainer = trainer.collective(self.collective);
        let trainer = match self.kill_after {
            Some(updates) => trainer.kill_after(updates),
            None => trainer,
        };
        let trainer = match &self.machines {
            Machines::Alone => trainer,
            Machines::Lead(followers) => trainer.lead(followers.clone()),
            Machines::Follow(leader) => {
                let followed = trainer.follow(model, source, leader, &self.stop)?;
                return Ok(Made {
                    files: Vec::new(),
                    seconds: None,
                    notes: json!({ "updates": followed.steps }),
                });
            }
        };
        let trained: Trained<O::Model> =
            trainer.run(model, source, &valid, Resume::Continue, &self.stop)?;
        Ok(Made {
            files: vec![trained.checkpoint.join("model.safetensors")],
            seconds: Some(trained.seconds),
            notes: json!({
                "updates": trained.steps, "samples": trained.samples, "skipped": trained.skipped,
                "recoveries": trained.recoveries, "effort": trained.effort,
            }),
        })
    }
}
