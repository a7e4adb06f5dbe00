//! The learning rate over a run.

use crate::TrainConfig;

/// Linear warm-up, then linear decay: a factor for every learning rate, a pure function of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    steps: u64,
    warmup: u64,
    last: f64,
}

impl Schedule {
    /// The schedule of these settings.
    pub fn new(config: &TrainConfig) -> Self {
        let warmup = (config.warmup_ratio * config.steps as f64).ceil() as u64;
        Self {
            steps: config.steps,
            warmup: warmup.min(config.steps),
            last: config.final_ratio,
        }
    }

    /// What learning rates are multiplied by in update `step`, counted from 0: it rises to 1 in the last update of the
    /// warm-up and falls to the final ratio just after the last one of all.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        let decay = (self.steps - self.warmup).max(1);
        let done = ((step - self.warmup) as f64 / decay as f64).min(1.0);
        1.0 - (1.0 - self.last) * done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls() {
        let config = TrainConfig {
            steps: 100,
            warmup_ratio: 0.1,
            final_ratio: 0.2,
            ..TrainConfig::default()
        };
        let schedule = Schedule::new(&config);
        assert_eq!(schedule.factor(0), 0.1);
        assert_eq!(schedule.factor(9), 1.0);
        assert_eq!(schedule.factor(10), 1.0);
        assert!((schedule.factor(55) - 0.6).abs() < 1e-12);
        assert!((schedule.factor(100) - 0.2).abs() < 1e-12);
        assert!((10..99).all(|step| schedule.factor(step + 1) < schedule.factor(step)));
    }

    #[test]
    fn without_warm_up_starts_at_the_top() {
        let config = TrainConfig {
            steps: 4,
            warmup_ratio: 0.0,
            ..TrainConfig::default()
        };
        assert_eq!(Schedule::new(&config).factor(0), 1.0);
        let config = TrainConfig {
            steps: 4,
            warmup_ratio: 1.0,
            ..TrainConfig::default()
        };
        assert_eq!(Schedule::new(&config).factor(3), 1.0);
    }
}
