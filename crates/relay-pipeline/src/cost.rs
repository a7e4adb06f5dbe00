//! What stages and arms cost: updates, samples, tokens, block passes, floating-point operations, seconds.

use relay_models::Work;
use relay_tasks::{Chain, Codec, Example};
use relay_train::Effort;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Corpus, Done, Results, Settings,
    arms::{
        AR_BASELINE, AR_RELAY, AR_SELF_LOOP, AR_SELF_TRUTH, CHAINS, EVALUATION, LOOPED_ALIGNED,
        LOOPED_VANILLA, is_looped,
    },
    json::to_value,
};

/// What one stage took. What is not known, or does not apply, is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    /// Updates of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<u64>,
    /// Samples trained on, or chains written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// Token positions of the samples trained on, padding included, or tokens written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Token positions that went through the whole block, each as often as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_passes: Option<u64>,
    /// Floating-point operations of the matrix products, backward and recomputation included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
    /// Seconds.
    pub seconds: f64,
}

impl StageCost {
    /// The sum of two; what one of them lacks does not apply to it.
    fn plus(self, other: Self) -> Self {
        let count = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        Self {
            updates: count(self.updates, other.updates),
            samples: count(self.samples, other.samples),
            tokens: count(self.tokens, other.tokens),
            block_passes: count(self.block_passes, other.block_passes),
            flops: match (self.flops, other.flops) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            },
            seconds: self.seconds + other.seconds,
        }
    }

    /// The sum of several.
    pub(crate) fn sum(costs: impl IntoIterator<Item = Self>) -> Self {
        costs.into_iter().fold(Self::default(), Self::plus)
    }

    /// The mean of what one stage took in several runs; of counts that one of them lacks nothing.
    pub(crate) fn mean(runs: &[Self]) -> Self {
        let n = runs.len().max(1);
        let count = |of: fn(&Self) -> Option<u64>| {
            let all: Option<Vec<u64>> = runs.iter().map(of).collect();
            all.map(|all| (all.iter().sum::<u64>() as f64 / n as f64).round() as u64)
        };
        let flops: Option<Vec<f64>> = runs.iter().map(|run| run.flops).collect();
        Self {
            updates: count(|run| run.updates),
            samples: count(|run| run.samples),
            tokens: count(|run| run.tokens),
            block_passes: count(|run| run.block_passes),
            flops: flops.map(|all| all.iter().sum::<f64>() / n as f64),
            seconds: runs.iter().map(|run| run.seconds).sum::<f64>() / n as f64,
        }
    }
}

/// Counts what is written in a stage.
///
/// Of a looped model each problem counts with its own width and iterations, of an auto-regressive one every column looks
/// at those before it; what lies in a batch beside them as padding is not counted.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    arm: &'a str,
    codec: &'a Codec,
    samples: u64,
    effort: Effort,
}

impl<'a> Written<'a> {
    /// Nothing yet, by an arm.
    pub(crate) fn by(arm: &'a str, codec: &'a Codec) -> Self {
        Self {
            arm,
            codec,
            samples: 0,
            effort: Effort::default(),
        }
    }

    /// Counts chains and hands them on.
    pub(crate) fn count(&mut self, examples: &[Example], chains: Vec<Chain>) -> Vec<Chain> {
        for (example, chain) in examples.iter().zip(&chains) {
            self.samples += 1;
            self.effort += if is_looped(self.arm) {
                looped(example, chain, self.arm == LOOPED_ALIGNED)
            } else {
                causal(example, chain, self.codec)
            };
        }
        chains
    }

    /// Adds the counts to the notes of the stage.
    pub(crate) fn note(&self, notes: &mut Value) -> crate::Result<()> {
        if notes.is_null() {
            *notes = Value::Object(Default::default());
        }
        notes["samples"] = self.samples.into();
        notes["effort"] = to_value(&self.effort)?;
        Ok(())
    }
}

fn looped(example: &Example, chain: &Chain, steps: bool) -> Effort {
    let work = Work::windows(1, example.width, example.iterations);
    let step_rows = if steps { work.passes } else { 0 };
    let tokens = if steps {
        chain.steps.iter().map(Vec::len).sum()
    } else {
        0
    };
    Effort {
        tokens: tokens as u64 + 1,
        forward: Work {
            readouts: step_rows + 1,
            ..work
        },
        ..Effort::default()
    }
}

/// The text is the steps, a `<sep>` after each that has no end of its own, the answer and `<eos>`, which is not read again.
fn causal(example: &Example, chain: &Chain, codec: &Codec) -> Effort {
    let info = &codec.tasks[example.task];
    let steps = chain.steps.len();
    let ends = match info.step_end {
        Some(_) => 0,
        None => steps.saturating_sub(usize::from(info.answer_is_last_step)),
    };
    let answer = usize::from(chain.answer.is_some() && !info.answer_is_last_step);
    let written = chain.steps.iter().map(Vec::len).sum::<usize>() + ends + answer + 1;
    let columns = (example.prompt.len() + written - 1) as u64;
    Effort {
        tokens: written as u64,
        forward: Work {
            passes: columns,
            pairs: columns * (columns + 1) / 2,
            readouts: written as u64,
        },
        ..Effort::default()
    }
}

/// Adds what a stage took to the results.
pub(crate) fn add(
    results: &mut Results,
    stage: &str,
    record: &Done,
    (settings, corpus): (&Settings, &dyn Corpus),
) {
    let number = |name: &str| record.notes.get(name).and_then(Value::as_u64);
    let effort = effort(record);
    let cost = StageCost {
        updates: number("updates"),
        samples: number("samples"),
        tokens: effort.map(|effort| effort.tokens),
        block_passes: effort.map(|effort| effort.block_passes()),
        flops: effort.map(|effort| flops(stage, &effort, settings, corpus.codec())),
        seconds: record.seconds,
    };
    results.seconds.insert(stage, record.seconds);
    results.cost.insert(stage, cost);
}

/// Adds the evaluations of all arms as one stage.
pub(crate) fn add_evaluation<'a>(
    results: &mut Results,
    records: impl Iterator<Item = (&'a str, &'a Done)>,
    (settings, corpus): (&Settings, &dyn Corpus),
) {
    let plus = |sum: Option<u64>, n: Option<u64>| sum.zip(n).map(|(sum, n)| sum + n);
    let mut all = StageCost {
        samples: Some(0),
        tokens: Some(0),
        block_passes: Some(0),
        flops: Some(0.0),
        ..StageCost::default()
    };
    for (arm, record) in records {
        let effort = effort(record);
        let own = effort.map(|effort| flops(arm, &effort, settings, corpus.codec()));
        all.samples = plus(
            all.samples,
            record.notes.get("samples").and_then(Value::as_u64),
        );
        all.tokens = plus(all.tokens, effort.map(|effort| effort.tokens));
        all.block_passes = plus(all.block_passes, effort.map(|e| e.block_passes()));
        all.flops = all.flops.zip(own).map(|(sum, own)| sum + own);
        all.seconds += record.seconds;
    }
    results.seconds.insert(EVALUATION, all.seconds);
    results.cost.insert(EVALUATION, all);
}

/// What a stage has counted.
pub(crate) fn effort(record: &Done) -> Option<Effort> {
    serde_json::from_value(record.notes.get("effort")?.clone()).ok()
}

fn flops(stage: &str, effort: &Effort, settings: &Settings, codec: &Codec) -> f64 {
    let Settings { looped, causal, .. } = settings.clone().with_vocab(codec);
    if is_looped(stage) || stage == CHAINS {
        effort.flops(|work| looped.forward_flops(work))
    } else {
        effort.flops(|work| causal.forward_flops(work))
    }
}

/// The stages whose work an arm needs besides its own.
pub(crate) fn builds_on(arm: &str) -> &'static [&'static str] {
    match arm {
        AR_RELAY => &[LOOPED_ALIGNED, AR_BASELINE, CHAINS],
        AR_SELF_LOOP => &[LOOPED_VANILLA, AR_BASELINE],
        AR_SELF_TRUTH => &[AR_BASELINE],
        _ => &[],
    }
}

/// Whether an arm is the one of this stage, or made from it.
pub(crate) fn needs(arm: &str, stage: &str) -> bool {
    arm == stage || builds_on(arm).contains(&stage)
}

impl Results {
    /// What a stage took; where its cost was not counted, its seconds.
    pub fn cost_of(&self, stage: &str) -> StageCost {
        self.cost.get(stage).copied().unwrap_or_else(|| StageCost {
            seconds: self.seconds.get(stage).copied().unwrap_or(0.0),
            ..StageCost::default()
        })
    }

    /// What an arm needed with all the stages that it builds on, without its evaluation. `None` if the operations of one of
    /// them are not known.
    pub fn cost_with_all_below(&self, arm: &str) -> Option<StageCost> {
        let stages = builds_on(arm).iter().copied().chain([arm]);
        let known = |stage| self.cost.get(stage).filter(|cost| cost.flops.is_some());
        let costs: Option<Vec<StageCost>> = stages.map(|stage| known(stage).copied()).collect();
        costs.map(StageCost::sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_pays_for_what_it_builds_on() {
        let mut results = Results::new("smoke", 1, "flex");
        for (stage, flops) in [
            (LOOPED_ALIGNED, 1000.0),
            (AR_BASELINE, 200.0),
            (CHAINS, 30.0),
            (AR_RELAY, 4.0),
            ("ar_self_truth", 0.5),
        ] {
            let cost = StageCost {
                flops: Some(flops),
                seconds: 1.0,
                ..StageCost::default()
            };
            results.cost.insert(stage, cost);
        }
        let cost = |arm| {
            let cost = results.cost_with_all_below(arm)?;
            Some((cost.flops?, cost.seconds))
        };
        assert_eq!(cost(AR_RELAY), Some((1234.0, 4.0)));
        assert_eq!(cost(AR_SELF_TRUTH), Some((200.5, 2.0)));
        assert_eq!(cost(AR_BASELINE), Some((200.0, 1.0)));
        assert_eq!(cost(AR_SELF_LOOP), None);
    }
}
