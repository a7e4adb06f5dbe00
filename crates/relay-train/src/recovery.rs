//! What a run does when its numbers go wrong.

use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};

use crate::config::{at_least_one, check};
use crate::metrics::Metrics;
use crate::restore::Verified;
use crate::step::State;
use crate::telling::Log;
use crate::{Counters, Objective, Result, Trainer, Window};

/// What a run does when loss or gradient is no finite number, or the loss grows.
///
/// An update whose loss or gradient is not finite is always skipped, counted and told of. What comes after too many of
/// them in a row is set here. It is a pure function of the settings and of what was skipped, so that a run that went
/// back and was killed at any moment ends as one that was not killed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// Skipped updates in a row after which the run goes back, or ends. Default 20.
    pub patience: u64,
    /// How often the run may go back to its last checkpoint before the first of the skipped updates. Default 0: it ends
    /// at once, with a message. Set it for long runs that nobody watches.
    pub retries: u64,
    /// What the learning rates are multiplied by each time the run goes back, for the rest of it. Default 0.5.
    pub rate_factor: f64,
    /// The loss is reported as diverging when a line of metrics has so many times its usual loss, and at least half the
    /// loss of the first line. Default 3; 0 never reports it.
    pub divergence: f64,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            patience: 20,
            retries: 0,
            rate_factor: 0.5,
            divergence: 3.0,
        }
    }
}

impl Recovery {
    pub(crate) fn validate(&self) -> Result<()> {
        at_least_one("recovery.patience", self.patience)?;
        let factor = self.rate_factor;
        let inside = factor > 0.0 && factor <= 1.0;
        check("recovery.rate_factor", factor, inside, "in (0, 1]")?;
        let divergence = self.divergence;
        let right = divergence == 0.0 || (divergence > 1.0 && divergence.is_finite());
        check("recovery.divergence", divergence, right, "0 or above 1")
    }

    pub(crate) fn goes_back(&self) -> bool {
        self.retries > 0
    }

    /// What learning rates are multiplied by after going back so many times.
    pub(crate) fn rate(&self, recoveries: u64) -> f64 {
        (0..recoveries).fold(1.0, |rate, _| rate * self.rate_factor)
    }

    /// Every how many steps there is a checkpoint that may be gone back to. One that was saved because somebody asked
    /// for a stop is not: where a run goes back to must not hang on that.
    pub(crate) fn needs(&self, checkpoint_every: u64) -> Option<u64> {
        (self.goes_back() && checkpoint_every > 0).then_some(checkpoint_every)
    }

    /// Whether there must be no checkpoint now: one among skipped updates would be gone back to, and one just where
    /// `saved` stands would hold nothing new but that the run went back, which going on finds out again.
    pub(crate) fn holds_back(&self, counters: &Counters, saved: u64) -> bool {
        self.goes_back() && (counters.skipped_in_a_row > 0 || counters.step == saved)
    }
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
    /// The state of the last regular checkpoint, or the start with `model`, after updates up to `failed` were not finite.
    pub(crate) fn go_back(
        &self,
        model: O::Model,
        failed: u64,
        recoveries: u64,
        log: &mut Log,
    ) -> Result<State<B, O::Model>> {
        let found = match self.config.recovery.needs(self.config.checkpoint_every) {
            Some(every) => Verified::newest_of(&self.dir, |step| step.is_multiple_of(every))?,
            None => None,
        };
        let (mut state, saved) = self.start(found, model)?;
        state.counters.recoveries = recoveries;
        let (rate, retries) = (
            self.config.recovery.rate(recoveries),
            self.config.recovery.retries,
        );
        tracing::warn!(
            "updates up to step {failed} were not finite; going back to step {saved} with {rate} times the learning \
             rate ({recoveries} of {retries} times)"
        );
        log.metrics = Metrics::open(&self.dir, saved)?;
        log.metrics.went_back(failed, saved, recoveries, rate)?;
        log.saved = saved;
        Ok(state)
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

    #[test]
    fn default_settings_leave_no_trace_in_files() {
        let config = crate::TrainConfig::default();
        let text = serde_json::to_string(&config).unwrap();
        assert!(!text.contains("recovery"), "{text}");
        let text = serde_json::to_string(&Counters::default()).unwrap();
        assert!(
            !text.contains("recoveries") && !text.contains("past"),
            "{text}"
        );
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = |change: fn(&mut Recovery)| {
            let mut recovery = Recovery::default();
            change(&mut recovery);
            recovery.validate().unwrap_err().to_string()
        };
        assert!(wrong(|r| r.patience = 0).contains("`recovery.patience` is 0"));
        assert!(wrong(|r| r.rate_factor = 1.5).contains("`recovery.rate_factor` is 1.5"));
        assert!(wrong(|r| r.divergence = 0.5).contains("`recovery.divergence` is 0.5"));
    }
}
