//! What the trainings of a run would cost, before any of it is run.

use std::{fmt::Write, sync::Arc};

use burn::tensor::backend::AutodiffBackend;
use relay_train::{StopFlag, start_threads};

use crate::{Forecast, Result, Settings, Stages, arms::arm_label, corpus::corpus, cost::needs};

/// Updates of a training that are counted.
const COUNTED: u64 = 32;

/// What the trainings of `arms`, and of what they are made from, would cost, in their order; no arms stand for all of
/// `settings`. The phases of an arm that learns from its own chains count together.
///
/// An arm that is fine-tuned on chains counts as if these were as long as the original data: it is a lower bound.
///
/// # Errors
/// When a setting is wrong, there is no such arm, or the data cannot be read.
pub fn estimate<B: AutodiffBackend>(
    settings: &Settings,
    arms: &[String],
) -> Result<Vec<(&'static str, Forecast)>> {
    start_threads()?;
    settings.validate()?;
    settings.check_arms(arms)?;
    let (device, stop) = (B::Device::default(), StopFlag::new());
    settings.validate_precision::<B>(&device)?;
    let corpus = corpus(settings)?;
    let stages = Stages::<B>::new(settings.clone(), Arc::clone(&corpus), device, stop);
    let of_arm = |arm| {
        let mut forecast = stages.forecast(arm, COUNTED)?;
        if settings.self_arms().any(|own| own == arm) {
            forecast.updates = forecast.updates.saturating_mul(settings.phases() as u64);
        }
        Ok((arm, forecast))
    };
    let asked = |stage: &str| arms.is_empty() || arms.iter().any(|arm| needs(arm, stage));
    let all = settings.stages().into_iter().map(|(arm, _)| arm);
    all.filter(|arm| asked(arm)).map(of_arm).collect()
}

/// The estimates as a table for people, with the hours that they take at a rate of 1 TFLOP/s.
pub fn estimate_table(estimates: &[(&str, Forecast)]) -> String {
    let mut text = format!(
        "{:<32} {:>10} {:>13} {:>9} {:>18}\n",
        "training", "updates", "samples", "FLOP", "hours at 1 TFLOP/s"
    );
    let mut line = |name: &str, updates: &str, samples: &str, flops: f64| {
        let hours = flops / 1e12 / 3600.0;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name:<32} {updates:>10} {samples:>13} {flops:>9.1e} {hours:>18.2}"
        );
    };
    let mut sum = 0.0;
    for (arm, cost) in estimates {
        let updates = cost.updates as f64;
        let (samples, flops) = (cost.samples * updates, cost.flops * updates);
        sum += flops;
        line(
            arm_label(arm),
            &updates.to_string(),
            &format!("{samples:.0}"),
            flops,
        );
    }
    line("all", "", "", sum);
    text
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};

    use super::*;
    use crate::preset;

    #[test]
    fn every_training_has_its_cost() {
        let settings = preset("smoke", 1).unwrap();
        let estimates = estimate::<Autodiff<Flex>>(&settings, &[]).unwrap();
        let arms: Vec<_> = estimates.iter().map(|(arm, _)| *arm).collect();
        let there: Vec<_> = settings.stages().into_iter().map(|(arm, _)| arm).collect();
        assert_eq!(arms, there);
        for (arm, cost) in &estimates {
            assert!(cost.flops > 0.0 && cost.samples > 0.0, "{arm}");
        }
        // 12 updates in each of five phases.
        assert_eq!(estimates.last().unwrap().1.updates, 60);
        let table = estimate_table(&estimates);
        assert_eq!(table.lines().count(), estimates.len() + 2);
    }

    #[test]
    fn an_arm_costs_what_it_is_made_from_too() {
        let settings = preset("smoke", 1).unwrap();
        let costing = |arm: &str| {
            let costs = estimate::<Autodiff<Flex>>(&settings, &[arm.to_owned()])?;
            Ok::<_, crate::PipelineError>(costs.into_iter().map(|(arm, _)| arm).collect::<Vec<_>>())
        };
        let relay = ["looped_aligned", "ar_baseline", "ar_relay"];
        assert_eq!(costing("ar_relay").unwrap(), relay);
        assert_eq!(costing("looped_vanilla").unwrap(), ["looped_vanilla"]);
        assert!(costing("relay").unwrap_err().to_string().contains("relay"));
    }
}
