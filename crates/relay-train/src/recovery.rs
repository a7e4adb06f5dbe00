//! What a run does when its numbers go wrong.

use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};

use crate::after_update::Log;
use crate::checkpoint::remove_after;
use crate::config::{at_least_one, check, is_default};
use crate::metrics::Metrics;
use crate::restore::Verified;
use crate::step::State;
use crate::{Counters, Objective, OnDivergence, Result, TrainError, Trainer};

/// What a run does when loss or gradient is no finite number, or the loss grows.
///
/// An update whose loss or gradient is not finite is always skipped, counted and told of. What comes after too many of
/// them in a row, and of a loss that is far above its past, is set here. It is a pure function of the settings and of the
/// losses, so that a run that went back and was killed at any moment ends as one that was not killed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// Skipped updates in a row after which the run goes back, or ends. Default 20.
    pub patience: u64,
    /// How often the run may go back to its last checkpoint before the first of the skipped updates, or to one further back
    /// each time that this did not help; as many checkpoints are kept for it. Default 0: it ends at once, with a message.
    /// Set it for long runs that nobody watches.
    pub retries: u64,
    /// What the learning rates are multiplied by each time the run goes back, for the rest of it. Default 0.5.
    pub rate_factor: f64,
    /// The loss counts as diverging when a line of metrics has this many times its usual loss, and at least half the loss
    /// of the first line. Default 3; 0 never.
    pub divergence: f64,
    /// What comes of a diverging loss. Default `report`; the others are for long runs that nobody watches.
    // Left out where it is the default, so that checkpoints from before there was such a setting can be resumed.
    #[serde(skip_serializing_if = "is_default")]
    pub on_divergence: OnDivergence,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            patience: 20,
            retries: 0,
            rate_factor: 0.5,
            divergence: 3.0,
            on_divergence: OnDivergence::Report,
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
        check("recovery.divergence", divergence, right, "0 or above 1")?;
        if self.on_divergence == OnDivergence::GoBack && !self.goes_back() {
            let right = "at least 1 where `recovery.on_divergence` is go_back";
            return Err(TrainError::setting("recovery.retries", 0, right));
        }
        Ok(())
    }

    pub(crate) fn goes_back(&self) -> bool {
        self.retries > 0
    }

    /// Whether a run that ends with `error` and has gone back `recoveries` times goes back once more.
    pub(crate) fn goes_back_from(&self, error: &TrainError, recoveries: u64) -> bool {
        let meant = match error {
            TrainError::NotFinite { .. } => true,
            TrainError::Diverged { .. } => self.on_divergence == OnDivergence::GoBack,
            _ => false,
        };
        meant && recoveries < self.retries
    }

    /// What learning rates are multiplied by after going back `recoveries` times.
    pub(crate) fn rate(&self, recoveries: u64) -> f64 {
        (0..recoveries).fold(1.0, |rate, _| rate * self.rate_factor)
    }

    /// Every how many steps there is a checkpoint that may be gone back to. One that was saved because somebody asked
    /// for a stop is not: where a run goes back to must not depend on that.
    pub(crate) fn regular_interval(&self, checkpoint_every: u64) -> Option<u64> {
        (self.goes_back() && checkpoint_every > 0).then_some(checkpoint_every)
    }

    /// Whether a checkpoint of `step` is one of those.
    pub(crate) fn is_regular(&self, step: u64, checkpoint_every: u64) -> bool {
        let interval = self.regular_interval(checkpoint_every);
        interval.is_some_and(|every| step.is_multiple_of(every))
    }

    /// Whether there must be no checkpoint now: one among skipped updates would be gone back to if it were a regular one, and
    /// one just where `saved` stands would hold nothing new but that the run went back, which going on finds out again.
    pub(crate) fn holds_back(
        &self,
        counters: &Counters,
        saved: u64,
        checkpoint_every: u64,
    ) -> bool {
        let regular = self.is_regular(counters.step, checkpoint_every);
        let nothing_new = counters.step == saved && (saved > 0 || counters.recoveries > 0);
        self.goes_back() && ((counters.skipped_in_a_row > 0 && regular) || nothing_new)
    }
}

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    /// The state of the last regular checkpoint, or the start with `model`, after an `error` that the settings say is to
    /// be gone back from.
    pub(crate) fn go_back(
        &self,
        model: O::Model,
        error: &TrainError,
        recoveries: u64,
        log: &mut Log,
    ) -> Result<State<B, O::Model>> {
        let found = self.gone_back_to(recoveries)?;
        let mut state = self.state_or_start(found, model, &log.data)?;
        let saved = state.counters.step;
        remove_after(&self.dir, saved)?;
        state.counters.recoveries = recoveries;
        let (rate, retries) = (
            self.config.recovery.rate(recoveries),
            self.config.recovery.retries,
        );
        let why = match error {
            TrainError::Diverged { step, loss, usual } => {
                format!("the loss at step {step}, {loss:.4}, is far above its past, {usual:.4}")
            }
            TrainError::NotFinite { step, .. } => {
                format!("updates up to step {step} were not finite")
            }
            other => other.to_string(),
        };
        tracing::warn!(
            "{why}; going back to step {saved} with {rate} times the learning rate ({recoveries} of {retries} times)"
        );
        log.metrics = Metrics::open(&self.dir, saved, self.listener.clone())?;
        log.progress.start_from(saved);
        log.metrics.went_back(error, saved, recoveries, rate)?;
        log.saved = saved;
        Ok(state)
    }

    /// The newest regular checkpoint, or the one before where the run has gone back to that already: its own weights may be
    /// what goes wrong. Where the run has made one, but the directory was given a later one alone, from another machine, that
    /// is gone back to, rather than all the way to the start.
    fn gone_back_to(&self, recoveries: u64) -> Result<Option<Verified>> {
        let recovery = &self.config.recovery;
        let Some(every) = recovery.regular_interval(self.config.checkpoint_every) else {
            return Ok(None);
        };
        let Some(newest) = Verified::newest_of(&self.dir, |step| step.is_multiple_of(every))?
        else {
            let given = Verified::newest_of(&self.dir, |_| true)?;
            let good = |counters: &Counters| counters.regular > 0 && counters.skipped_in_a_row == 0;
            return Ok(given.filter(|found| good(&found.manifest.counters)));
        };
        let Counters {
            step: last,
            recoveries: then,
            ..
        } = newest.manifest.counters;
        if then + 1 == recoveries {
            return Ok(Some(newest));
        }
        match Verified::newest_of(&self.dir, |step| step.is_multiple_of(every) && step < last) {
            Ok(None) | Err(TrainError::NoCheckpoint { .. }) => Ok(Some(newest)),
            before => before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_leave_no_trace_in_files() {
        let config = crate::TrainConfig::default();
        let text = serde_json::to_string(&config).unwrap();
        assert!(!text.contains("recovery"), "{text}");
        let text = serde_json::to_string(&Recovery::default()).unwrap();
        assert!(!text.contains("on_divergence"), "{text}");
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
        let go_back = wrong(|r| r.on_divergence = OnDivergence::GoBack);
        assert!(go_back.contains("`recovery.retries` is 0"), "{go_back}");
    }

    #[test]
    fn checkpoints_stand_where_a_line_of_metrics_was_good() {
        let mut config = crate::TrainConfig {
            log_every: 100,
            checkpoint_every: 250,
            ..crate::TrainConfig::default()
        };
        config.recovery.retries = 1;
        assert!(config.validate().is_ok());
        for (on_divergence, name) in [
            (OnDivergence::End, "is end"),
            (OnDivergence::GoBack, "is go_back"),
        ] {
            config.recovery.on_divergence = on_divergence;
            let wrong = config.validate().unwrap_err().to_string();
            assert!(wrong.contains("`checkpoint_every` is 250"), "{wrong}");
            assert!(wrong.contains(name), "{wrong}");
        }
        for every in [0, 100, 300] {
            config.checkpoint_every = every;
            assert!(config.validate().is_ok(), "{every}");
        }
    }
}
