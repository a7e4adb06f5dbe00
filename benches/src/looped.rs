//! A looped model with its objective and a batch, for measuring losses and gradients without a trainer.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::{Tensor, TensorData};
use relay_models::{DropoutKey, LoopedInput, LoopedTransformer};
use relay_tasks::GroupLimits;
use relay_train::{GradientSet, LoopedMicroBatch, LoopedObjective, Objective};

use crate::shape::{Shape, codec};
use crate::{Measured, Result};

/// A looped model and one micro-batch.
#[derive(Debug)]
pub struct LoopedWork {
    model: LoopedTransformer<Autodiff<Measured>>,
    inner: LoopedTransformer<Measured>,
    objective: LoopedObjective,
    batch: LoopedMicroBatch,
}

impl LoopedWork {
    /// Makes model and batch of a shape.
    ///
    /// # Errors
    /// When the shape is not valid.
    pub fn new(shape: &Shape) -> Result<Self> {
        let config = shape.looped_config();
        config.validate()?;
        let model = config.init(&Default::default(), 1);
        let objective = LoopedObjective::aligned(1.0, vec![], GroupLimits::default(), codec()?);
        let batches = Objective::<Autodiff<Measured>>::collate(&objective, &shape.examples())?;
        let batch = batches.into_iter().next().ok_or("no batch")?;
        Ok(Self {
            inner: model.valid(),
            model,
            objective,
            batch,
        })
    }

    /// All iterations, each read out; gives the sum of the last logits.
    pub fn forward(&self) -> f64 {
        let host = &self.batch.host;
        let tokens = TensorData::new(host.tokens.clone(), [host.size, host.width]);
        let input = LoopedInput {
            tokens: Tensor::from_data(tokens, &Default::default()),
            pads: host.pads.clone(),
            dropout: None,
        };
        let mut last = None;
        self.inner.forward(input, host.iterations, |_, state| {
            last = self.inner.step_logits(state.clone());
        });
        last.map_or(f64::NAN, |logits| f64::from(logits.sum().into_scalar()))
    }

    /// Loss and gradients; gives both's size.
    pub fn backward(&self) -> (f64, f64) {
        let key = DropoutKey {
            seed: 1,
            step: 0,
            batch: 0,
        };
        let parts = self
            .objective
            .loss(&self.model, &self.batch, key, &Default::default());
        let loss = f64::from(parts.total.clone().inner().into_scalar());
        let mut gradients = GradientSet::new();
        gradients.add(&self.model, parts.total.backward());
        (loss, gradients.norm())
    }
}
