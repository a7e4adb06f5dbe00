//! What a trainer puts into a checkpoint, and how it goes on from one.

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use serde_json::Value;

use crate::average::Average;
use crate::checkpoint::{self, MANIFEST, MODEL, OPTIMIZER, Sealed, WEIGHTS};
use crate::manifest::Manifest;
use crate::optimizer::Optimizer;
use crate::restore::Verified;
use crate::step::State;
use crate::tensors::of_model;
use crate::{Counters, Objective, Result, Resume, TrainError, Trainer, Window};

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    pub(crate) fn manifest(&self, state: &State<B, O::Model>, data: &Value) -> Result<Manifest> {
        Ok(Manifest {
            training: self.training()?,
            objective: self.objective.settings(),
            data: data.clone(),
            model: self.model_settings.clone(),
            ..Manifest::new(state.counters, state.window.clone(), self.codec.clone())
        })
    }

    /// All files of a checkpoint of a run whose source has these settings.
    pub(crate) fn sealed(&self, state: &State<B, O::Model>, data: &Value) -> Result<Sealed> {
        let contents = checkpoint::contents(state);
        Sealed::new(self.manifest(state, data)?, &contents)
            .map_err(|reason| TrainError::checkpoint(&self.dir, reason))
    }

    fn training(&self) -> Result<Value> {
        serde_json::to_value(&self.config)
            .map_err(|error| TrainError::checkpoint(&self.dir, error.to_string()))
    }

    /// The state to begin with: that of the newest good checkpoint of the directory, or the first of all.
    pub(crate) fn restore(
        &self,
        model: O::Model,
        resume: Resume,
        data: &Value,
    ) -> Result<State<B, O::Model>> {
        if self.dir.join(MANIFEST).exists() {
            let reason =
                "a run cannot go on within a checkpoint: name the directory that it lies in";
            return Err(TrainError::checkpoint(&self.dir, reason));
        }
        if resume == Resume::Fresh && !checkpoint::list(&self.dir)?.is_empty() {
            return Err(TrainError::NotEmpty {
                dir: self.dir.clone(),
            });
        }
        self.state_or_start(Verified::newest_of(&self.dir, |_| true)?, model, data)
    }

    /// The state of a checkpoint of a run with these settings, or the first of all where none was `found`.
    pub(crate) fn state_or_start(
        &self,
        found: Option<Verified>,
        model: O::Model,
        data: &Value,
    ) -> Result<State<B, O::Model>> {
        let optimizer = Optimizer::new(&self.config);
        let Some(found) = found else {
            let average = self.config.average.map(|decay| Average::new(decay, &model));
            return Ok(State {
                model,
                optimizer,
                average,
                counters: Counters::start(),
                window: Window::default(),
            });
        };
        self.check(&found, data)?;
        let state = self.state_of(&found, model.clone(), optimizer)?;
        check_unmoved(&model, &state)
            .map_err(|reason| found.wrong(format!("{OPTIMIZER}: {reason}")))?;
        tracing::info!(
            "going on after step {} from {}",
            state.counters.step,
            found.path.display()
        );
        Ok(state)
    }

    /// That a checkpoint was made by a run with these settings, but for those that no weight depends on.
    pub(crate) fn check(&self, found: &Verified, data: &Value) -> Result<()> {
        found.check(&self.codec, &self.model_settings)?;
        found.check_settings(
            "objective",
            &found.manifest.objective,
            &self.objective.settings(),
        )?;
        let (mut held, mut wanted) = (found.manifest.training.clone(), self.training()?);
        for settings in [&mut held, &mut wanted] {
            self.config.remove_bookkeeping(settings);
        }
        found.check_settings("training", &held, &wanted)?;
        if !found.manifest.data.is_null() && !data.is_null() {
            found.check_settings("data", &found.manifest.data, data)?;
        }
        let Counters {
            step, recoveries, ..
        } = found.manifest.counters;
        let (steps, retries) = (self.config.steps, self.config.recovery.retries);
        for (name, held, most) in [("step", step, steps), ("recoveries", recoveries, retries)] {
            if held > most {
                return Err(found.wrong(format!(
                    "{MANIFEST}: counters.{name} is {held}, expected at most {most}"
                )));
            }
        }
        if found.has(WEIGHTS) && self.config.average.is_none() {
            let reason = format!("{WEIGHTS} is there, but its run kept no average");
            return Err(found.wrong(reason));
        }
        Ok(())
    }

    /// The state that a checkpoint holds.
    pub(crate) fn state_of(
        &self,
        found: &Verified,
        model: O::Model,
        mut optimizer: Optimizer<B::InnerBackend>,
    ) -> Result<State<B, O::Model>> {
        let (weights, average) = match self.config.average {
            Some(decay) => {
                let averaged = found.model::<B, _>(MODEL, model.clone())?;
                (WEIGHTS, Some(Average::new(decay, &averaged)))
            }
            None => (MODEL, None),
        };
        let model = found.model::<B, _>(weights, model)?;
        let Manifest {
            counters, window, ..
        } = found.manifest.clone();
        let (tensors, step) = (found.tensors(OPTIMIZER)?, counters.step);
        optimizer
            .load(tensors, &model.valid(), step, &self.device)
            .map_err(|reason| found.wrong(format!("{OPTIMIZER}: {reason}")))?;
        Ok(State {
            model,
            optimizer,
            average,
            counters,
            window,
        })
    }
}

/// That every parameter of which the optimizer remembers nothing is as it was at the `start` of the run. A parameter without
/// gradients never moves; one that has moved would go on with moments of zero.
fn check_unmoved<B: AutodiffBackend, M: AutodiffModule<B>>(
    start: &M,
    state: &State<B, M>,
) -> Result<(), String> {
    let untouched = state.optimizer.untouched(&state.model.valid());
    if untouched.is_empty() {
        return Ok(());
    }
    let (start, now) = (of_model::<B, M>(start), of_model::<B, M>(&state.model));
    match untouched
        .iter()
        .find(|place| start.get(&place.path) != now.get(&place.path))
    {
        Some(place) => Err(format!(
            "it holds nothing of `{}`, which is not what the run started from: expected what the optimizer remembers of it",
            place.path
        )),
        None => Ok(()),
    }
}
