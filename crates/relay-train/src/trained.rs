//! What a training ends with.

use std::path::PathBuf;

use burn::{module::AutodiffModule, tensor::backend::AutodiffBackend};

use crate::{Counters, Effort, checkpoint, step::State};

/// A model after training.
#[derive(Debug, Clone)]
pub struct Trained<M> {
    /// The model; with the averaged weights if the run kept an average.
    pub model: M,
    /// Updates made, skipped ones included.
    pub steps: u64,
    /// Samples seen.
    pub samples: u64,
    /// Updates skipped because loss or gradient was not finite.
    pub skipped: u64,
    /// Times that the run went back to a checkpoint because of them or of a diverging loss.
    pub recoveries: u64,
    /// Seconds of training, breaks not counted.
    pub seconds: f64,
    /// What the updates that led to the result cost. Those that the run went back from are left out here, but not in
    /// `seconds`. `None` when the run was begun by a program that did not count it.
    pub effort: Option<Effort>,
    /// Name of the last checkpoint within the trainer's directory.
    pub checkpoint: PathBuf,
}

impl<M> Trained<M> {
    /// What a run ends with whose last checkpoint holds this state.
    pub(crate) fn of<B>(state: State<B, M>) -> Self
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        let Counters {
            step,
            samples,
            skipped,
            recoveries,
            seconds,
            effort,
            ..
        } = state.counters;
        if skipped > 0 {
            tracing::warn!("{skipped} of {step} updates were skipped: loss or gradient not finite");
        }
        Self {
            model: match &state.average {
                Some(average) => average.model(&state.model),
                None => state.model,
            },
            steps: step,
            samples,
            skipped,
            recoveries,
            seconds,
            effort,
            checkpoint: checkpoint::name_of(step).into(),
        }
    }
}
