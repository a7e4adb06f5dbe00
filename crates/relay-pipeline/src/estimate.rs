//! What the trainings of a run would cost, before any of it is run.

use std::{fmt::Write, sync::Arc};

use burn::tensor::backend::AutodiffBackend;
use relay_train::StopFlag;

use crate::{Result, Settings, StageCost, arms::arm_label, corpus::corpus, cost, stages::Stages};

/// Updates that are made up and counted, evenly spread over a training.
const COUNTED: u64 = 32;

/// The trainings of `settings` in their order, each with its arm and what it would cost: counted on some of its updates
/// and scaled up. `seconds` is 0, as nothing is run.
///
/// An arm that is fine-tuned on chains counts as if these were as long as the original data: it is a lower bound.
///
/// # Errors
/// When a setting is wrong or the data cannot be read.
pub fn estimate<B: AutodiffBackend>(settings: &Settings) -> Result<Vec<(&'static str, StageCost)>> {
    settings.validate()?;
    let corpus = corpus(settings)?;
    let device = B::Device::default();
    let stages = Stages::<B>::new(
        settings.clone(),
        Arc::clone(&corpus),
        device,
        StopFlag::new(),
    );
    let of_arm = |(arm, stage): (&'static str, &crate::StageSettings)| {
        let own = settings.self_arms().any(|own| own == arm);
        let times = if own { settings.phases() as u64 } else { 1 };
        let updates = stage.train.steps * times;
        let counted = COUNTED.min(stage.train.steps);
        let steps = (0..counted).map(|i| i * stage.train.steps / counted);
        let (samples, effort) = stages.counted(arm, steps)?;
        let scaled = |n: u64| (n as f64 * updates as f64 / counted.max(1) as f64).round() as u64;
        let flops = cost::flops(arm, &effort, settings, corpus.codec());
        let cost = StageCost {
            updates: Some(updates),
            samples: Some(scaled(samples)),
            tokens: Some(scaled(effort.tokens)),
            block_passes: Some(scaled(effort.block_passes())),
            flops: Some(flops * updates as f64 / counted.max(1) as f64),
            seconds: 0.0,
        };
        Ok((arm, cost))
    };
    settings.stages().into_iter().map(of_arm).collect()
}

/// The estimates as a table for people, with the days that they take at a rate of 1 TFLOP/s.
pub fn estimate_table(estimates: &[(&str, StageCost)]) -> String {
    let mut text = format!(
        "{:<22} {:>10} {:>13} {:>9} {:>18}\n",
        "training", "updates", "samples", "FLOP", "days at 1 TFLOP/s"
    );
    let mut sum = 0.0;
    let mut line = |name: &str, updates: String, samples: String, flops: f64| {
        let days = flops / 1e12 / 86_400.0;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name:<22} {updates:>10} {samples:>13} {flops:>9.1e} {days:>18.3}"
        );
    };
    for (arm, cost) in estimates {
        let number = |n: Option<u64>| n.map_or(String::new(), |n| n.to_string());
        let flops = cost.flops.unwrap_or_default();
        sum += flops;
        line(
            arm_label(arm),
            number(cost.updates),
            number(cost.samples),
            flops,
        );
    }
    line("all", String::new(), String::new(), sum);
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
        let estimates = estimate::<Autodiff<Flex>>(&settings).unwrap();
        let arms: Vec<_> = estimates.iter().map(|(arm, _)| *arm).collect();
        let there: Vec<_> = settings.stages().into_iter().map(|(arm, _)| arm).collect();
        assert_eq!(arms, there);
        for (arm, cost) in &estimates {
            assert!(
                cost.flops.unwrap() > 0.0 && cost.samples.unwrap() > 0,
                "{arm}"
            );
        }
        // 12 updates in each of five phases.
        assert_eq!(estimates.last().unwrap().1.updates, Some(60));
        let table = estimate_table(&estimates);
        assert_eq!(table.lines().count(), estimates.len() + 2);
    }
}
