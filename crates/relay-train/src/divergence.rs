//! A loss that is far above its own past: telling it from noise, and what a run does about it.

use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};

use crate::after_update::Log;
use crate::{Objective, Result, TrainError, Trainer, Window};

/// What a run does about a loss that is far above its past.
///
/// Whatever it is, it is decided at a line of metrics, by the losses of the lines before it alone, so that a run which
/// is killed at any moment decides the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDivergence {
    /// It says so and goes on; the default.
    #[default]
    Report,
    /// It goes back to its last checkpoint with smaller learning rates, as after updates that were not finite; the two
    /// share [`retries`](crate::Recovery::retries) and [`rate_factor`](crate::Recovery::rate_factor). With none left it ends.
    GoBack,
    /// It ends with a message; its checkpoints of every [`checkpoint_every`](crate::TrainConfig::checkpoint_every) updates are
    /// of before.
    End,
}

/// What the loss of a run was like, by its lines of metrics; part of a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossPast {
    /// Mean loss of the first line.
    pub first: Option<f64>,
    /// Running mean of the lines' losses.
    pub usual: Option<f64>,
}

impl OnDivergence {
    /// Its name in files; `None` where a run just goes on.
    pub(crate) fn acts(self) -> Option<&'static str> {
        match self {
            Self::Report => None,
            Self::GoBack => Some("go_back"),
            Self::End => Some("end"),
        }
    }
}

impl LossPast {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The usual loss, if that of `window` is far above it.
    pub(crate) fn diverged(&self, window: &Window, factor: f64) -> Option<f64> {
        let (first, usual) = (self.first?, self.usual?);
        let loss = window.mean_loss();
        let far = window.updates > 0 && loss > factor * usual && loss > 0.5 * first;
        (far && factor > 0.0).then_some(usual)
    }

    /// Takes in a line of metrics.
    pub(crate) fn add(&mut self, window: &Window) {
        if window.updates == 0 {
            return;
        }
        let loss = window.mean_loss();
        self.first = self.first.or(Some(loss));
        self.usual = Some(self.usual.map_or(loss, |usual| 0.7 * usual + 0.3 * loss));
    }
}

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    /// Says that the loss of the line of metrics at `step` is far above the `usual` one.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where the run must not just go on.
    pub(crate) fn diverged(&self, step: u64, loss: f64, usual: f64, log: &mut Log) -> Result<()> {
        log.metrics.diverged(step, loss, usual)?;
        if self.config.recovery.on_divergence.acts().is_some() {
            return Err(TrainError::Diverged { step, loss, usual });
        }
        tracing::warn!(
            "step {step}: the loss, {loss:.4}, is far above its past, {usual:.4}: the run diverges"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(loss: f64) -> Window {
        Window {
            updates: 2,
            loss: 2.0 * loss,
            ..Window::default()
        }
    }

    #[test]
    fn a_loss_far_above_its_past_is_told_from_noise() {
        let mut past = LossPast::default();
        assert_eq!(past.diverged(&window(9.0), 3.0), None);
        for loss in [4.0, 2.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] {
            assert_eq!(past.diverged(&window(loss), 3.0), None);
            past.add(&window(loss));
        }
        // Three times almost nothing is not much.
        assert_eq!(past.diverged(&window(1.9), 3.0), None);
        assert!(past.diverged(&window(2.1), 3.0).is_some());
        assert!(past.diverged(&window(f64::INFINITY), 3.0).is_some());
        assert_eq!(past.diverged(&window(2.1), 0.0), None);
        assert_eq!(past.diverged(&Window::default(), 3.0), None);
    }
}
