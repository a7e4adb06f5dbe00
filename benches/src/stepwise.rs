//! A training run, one update at a time.
//!
//! What is measured has to be what a user's run does: batches made on a thread of their own, loss, backward pass, norm
//! of the gradients, optimizer, statistics. So the real [`Trainer`] runs, on its own thread, with an objective that waits
//! at the start of every update until it is asked to go on.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use burn::backend::Autodiff;
use burn::tensor::backend::AutodiffBackend;
use relay_models::DropoutKey;
use relay_tasks::{Chain, Codec, Example, GroupLimits};
use relay_train::{
    CausalObjective, ExampleSource, InnerModel, LoopedObjective, LossParts, Objective, Resume,
    StopFlag, TrainConfig, TrainError, Trainer,
};
use serde_json::{Value, to_value};
use tempfile::TempDir;

use crate::shape::{Shape, codec};
use crate::{Measured, Result};

/// A run of the trainer with AdamW on a batch of one shape that makes an update when it is asked to.
#[derive(Debug)]
pub struct StepwiseRun {
    /// Dropped to end the run.
    go_on: Option<SyncSender<()>>,
    waiting: Receiver<Option<f64>>,
    thread: Option<JoinHandle<()>>,
    stop: StopFlag,
    /// Metrics and the last checkpoint, removed in the end.
    _dir: TempDir,
}

impl StepwiseRun {
    /// Starts the training of an aligned looped model and waits until its first update is due.
    ///
    /// # Errors
    /// When the shape is not valid or the run cannot be started.
    pub fn looped(shape: &Shape) -> Result<Self> {
        let config = shape.looped_config();
        config.validate()?;
        let codec = codec()?;
        let objective =
            LoopedObjective::aligned(1.0, Vec::new(), GroupLimits::default(), codec.clone());
        let settings = to_value(&config)?;
        let init = move || config.init(&Default::default(), 1);
        Self::start(shape, objective, codec, settings, init, shape.examples())
    }

    /// Starts the training of an auto-regressive model on texts and waits until its first update is due.
    ///
    /// # Errors
    /// When the shape is not valid or the run cannot be started.
    pub fn causal(shape: &Shape) -> Result<Self> {
        let config = shape.causal_config();
        config.validate()?;
        let codec = codec()?;
        let objective = CausalObjective::new(Vec::new(), GroupLimits::default(), codec.clone());
        let settings = to_value(&config)?;
        let init = move || config.init(&Default::default(), 1);
        Self::start(shape, objective, codec, settings, init, shape.texts()?)
    }

    fn start<O: Objective<Autodiff<Measured>> + 'static>(
        shape: &Shape,
        objective: O,
        codec: Codec,
        settings: Value,
        init: impl FnOnce() -> O::Model + Send + 'static,
        examples: Vec<Example>,
    ) -> Result<Self> {
        let (dir, stop) = (tempfile::tempdir()?, StopFlag::new());
        let (go_on, going) = sync_channel(1);
        let (tell, waiting) = sync_channel(1);
        let objective = Waiting {
            inner: objective,
            gate: Mutex::new(Gate {
                going,
                tell,
                last_loss: None,
            }),
        };
        let config = TrainConfig {
            steps: 1 << 30,
            warmup_ratio: 0.0,
            checkpoint_every: 0,
            validate_every: 0,
            precision: shape.precision,
            ..TrainConfig::default()
        };
        let trainer = Trainer::<Autodiff<Measured>, Waiting<O>>::new(
            config,
            objective,
            codec,
            settings,
            Default::default(),
            dir.path(),
        )?
        .quiet(true);
        let source = Same(examples);
        let asked = stop.clone();
        let thread =
            thread::spawn(
                move || match trainer.run(init(), &source, &[], Resume::Fresh, &asked) {
                    Ok(_) | Err(TrainError::Interrupted { .. }) => {}
                    Err(error) => eprintln!("the training run failed: {error}"),
                },
            );
        waiting.recv()?;
        Ok(Self {
            go_on: Some(go_on),
            waiting,
            thread: Some(thread),
            stop,
            _dir: dir,
        })
    }

    /// Makes one update, to the point where the next one is due; gives its loss, summed over answers and steps.
    ///
    /// # Errors
    /// When the run has ended.
    pub fn step(&self) -> Result<f64> {
        let go_on = self.go_on.as_ref().ok_or("the run has ended")?;
        go_on.send(())?;
        Ok(self.waiting.recv()?.ok_or("the update has no loss")?)
    }
}

impl Drop for StepwiseRun {
    fn drop(&mut self) {
        self.stop.set();
        self.go_on = None;
        if let Some(thread) = self.thread.take() {
            // It has said itself what was wrong.
            let _ = thread.join();
        }
    }
}

/// The same examples for every update.
#[derive(Debug)]
struct Same(Vec<Example>);

impl ExampleSource for Same {
    fn examples(&self, _step: u64) -> relay_train::Result<Vec<Example>> {
        Ok(self.0.clone())
    }
}

/// An objective with a gate before every loss.
#[derive(Debug)]
struct Waiting<O> {
    inner: O,
    gate: Mutex<Gate>,
}

struct Gate {
    going: Receiver<()>,
    tell: SyncSender<Option<f64>>,
    /// Reads the loss of the update before. It is not read sooner: the host would wait for its device in the middle of an
    /// update.
    last_loss: Option<ReadLoss>,
}

type ReadLoss = Box<dyn FnOnce() -> Option<f64> + Send>;

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// Says that an update is due, as soon as the device has made the one before, and waits until it may start, or until
    /// nobody asks any more.
    fn wait(&mut self) {
        let last_loss = self.last_loss.take().and_then(|read| read());
        if self.tell.send(last_loss).is_ok() {
            let _ = self.going.recv();
        }
    }
}

impl<B: AutodiffBackend, O: Objective<B>> Objective<B> for Waiting<O> {
    type Model = O::Model;
    type Batch = O::Batch;

    fn name(&self) -> &str {
        "one update at a time"
    }

    fn settings(&self) -> Value {
        self.inner.settings()
    }

    fn collate(&self, examples: &[Example]) -> relay_train::Result<Vec<O::Batch>> {
        let batches = self.inner.collate(examples)?;
        assert_eq!(batches.len(), 1, "a step is one batch of the given shape");
        Ok(batches)
    }

    fn loss(
        &self,
        model: &O::Model,
        batch: &O::Batch,
        key: DropoutKey,
        device: &B::Device,
    ) -> LossParts<B> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.wait();
        let parts = self.inner.loss(model, batch, key, device);
        let total = parts.total.clone().inner();
        gate.last_loss = Some(Box::new(move || total.into_data().iter::<f64>().next()));
        parts
    }

    fn write_chains(
        &self,
        model: &InnerModel<B, Self>,
        examples: &[Example],
        device: &B::Device,
    ) -> relay_train::Result<Vec<Chain>> {
        self.inner.write_chains(model, examples, device)
    }
}
