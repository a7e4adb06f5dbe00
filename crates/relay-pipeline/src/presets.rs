//! Complete configurations by name: `smoke`, `mini`, `paper`.

use relay_models::{CausalConfig, Injection, LoopedConfig, Positions, TransformerConfig};
use relay_tasks::{
    ArithmeticConfig, Domain, EditDistanceConfig, GroupLimits, LisConfig, LisValues, TaskConfig,
};
use relay_train::{Batching, OptimizerConfig, TrainConfig};

use crate::{
    ChainSettings, DataSettings, EvaluationSettings, PipelineError, Result, Settings,
    StageSettings, TaskSettings,
};

/// The names that [`preset`] knows.
pub const PRESETS: [&str; 3] = ["smoke", "mini", "paper"];

/// The preset called `name`.
///
/// # Errors
/// When there is no such preset; the message lists those there are.
pub fn preset(name: &str, seed: u64) -> Result<Settings> {
    match name {
        "smoke" => Ok(smoke(seed)),
        "mini" => Ok(mini(seed)),
        "paper" => Ok(paper(seed)),
        other => Err(PipelineError::UnknownPreset {
            name: other.to_owned(),
            known: PRESETS.join(", "),
        }),
    }
}

/// The preset called `name` for data of one's own: its model and budget, with `data` in place of the tasks.
///
/// # Errors
/// When there is no such preset.
pub fn own_data_preset(name: &str, data: DataSettings, seed: u64) -> Result<Settings> {
    let settings = preset(name, seed)?;
    let evaluation = EvaluationSettings {
        hit_matrix: None,
        ..settings.evaluation
    };
    // Their number of updates is for three tasks; one learns its own in a third of them.
    let fewer = |stage: StageSettings| StageSettings {
        train: TrainConfig {
            steps: stage.train.steps.div_ceil(3),
            ..stage.train
        },
        task_weights: Vec::new(),
        ..stage
    };
    Ok(Settings {
        preset: format!("own data, {name}"),
        data,
        looped_aligned: fewer(settings.looped_aligned),
        looped_vanilla: None,
        ar_baseline: fewer(settings.ar_baseline),
        ar_relay: fewer(settings.ar_relay),
        evaluation,
        ..settings
    })
}

/// Seconds on two cores, to see every stage run; nothing is learnt well.
fn smoke(seed: u64) -> Settings {
    let steps = 60;
    let mut settings = mini(seed);
    settings.preset = "smoke".into();
    for transformer in [
        &mut settings.looped.transformer,
        &mut settings.causal.transformer,
    ] {
        (transformer.d_model, transformer.layers) = (32, 1);
    }
    let stages = [
        &mut settings.looped_aligned,
        &mut settings.ar_baseline,
        &mut settings.ar_relay,
    ];
    for stage in stages.into_iter().chain(settings.looped_vanilla.as_mut()) {
        stage.train = TrainConfig {
            steps,
            validate_every: 30,
            checkpoint_every: 30,
            validate_samples: 10,
            ..stage.train.clone()
        };
        stage.batching = Batching::OneLength { tokens: 128 };
        stage.curriculum = None;
    }
    if let DataSettings::Generated(tasks) = &mut settings.data {
        for task in tasks {
            task.original = 200;
            task.longer.iter_mut().for_each(|(_, count)| *count = 20);
        }
    }
    // A model that has learnt nothing is sure of nothing.
    settings.chains = ChainSettings {
        min_confidence: 0.0,
        tries: 1,
    };
    settings.evaluation.samples = 20;
    settings
}

/// The paper's claims on a laptop: small tasks, a small model; about half an hour on two cores.
fn mini(seed: u64) -> Settings {
    let transformer = TransformerConfig {
        d_model: 64,
        heads: 4,
        layers: 3,
        dropout: 0.0,
        positions: Positions::Rope,
        ..TransformerConfig::default()
    };
    let looped = LoopedConfig {
        transformer: transformer.clone(),
        injection: Injection::Linear,
        norm_state: true,
        ..LoopedConfig::default()
    };
    let stage = |steps: u64, rate: f64| StageSettings {
        train: TrainConfig {
            steps,
            learning_rate: 3e-3,
            warmup_ratio: 0.02,
            final_ratio: 0.02,
            optimizer: OptimizerConfig::muon(rate),
            validate_every: 1000,
            checkpoint_every: 500,
            validate_samples: 100,
            keep_last: 1,
            seed,
            ..TrainConfig::default()
        },
        batching: Batching::OneLength { tokens: 512 },
        curriculum: None,
        task_weights: Vec::new(),
        checkpoint_iterations: 0,
        groups: GroupLimits {
            max_samples: 512,
            max_tokens: 0,
            max_waste: 0.3,
        },
        lambda: 1.0,
    };
    // The paper's weights: without them edit distance is learnt last by far.
    let causal_stage = |steps, rate| StageSettings {
        batching: Batching::OneLength { tokens: 1024 },
        task_weights: vec![1.0, 10.0, 5.0],
        ..stage(steps, rate)
    };
    // The looped models learn edit distance first; the weights let the other tasks catch up.
    let looped_stage = |steps| {
        let mut stage = StageSettings {
            task_weights: vec![2.0, 1.0, 2.0],
            ..stage(steps, 0.02)
        };
        // Chains of unseen lengths hold better with more of it.
        stage.train.weight_decay = 0.1;
        stage
    };
    Settings {
        preset: "mini".into(),
        seed,
        data: DataSettings::Generated(mini_tasks()),
        looped,
        causal: CausalConfig { transformer },
        looped_aligned: looped_stage(20_000),
        looped_vanilla: Some(looped_stage(3_000)),
        ar_baseline: causal_stage(6_000, 0.02),
        ar_relay: causal_stage(3_500, 0.01),
        // So short a training does not make every chain right; the unsure ones are left out.
        chains: ChainSettings {
            min_confidence: 0.9,
            tries: 3,
        },
        evaluation: EvaluationSettings {
            samples: 200,
            hit_matrix: Some(("lis".into(), 30)),
            extra_iterations: 0,
        },
    }
}

fn mini_tasks() -> Vec<TaskSettings> {
    let ari = ArithmeticConfig {
        domain: Domain::PrimeField { p: 3 },
        ..ArithmeticConfig::default()
    };
    // Costs in these tables stay below 40: the vocabulary needs no more numbers.
    let ed = EditDistanceConfig {
        letters: 3,
        drawn: [2, 3],
        largest: 40,
        ..EditDistanceConfig::default()
    };
    let lis = LisConfig {
        group: 5,
        values: LisValues::Fixed {
            lowest: 13,
            highest: 24,
        },
        ..LisConfig::default()
    };
    let task = |task, train, test, longer: &[usize], each| TaskSettings {
        task,
        train,
        test,
        original: 6000,
        longer: longer.iter().map(|&length| (length, each)).collect(),
    };
    vec![
        task(TaskConfig::Ari(ari), [1, 6], [1, 8], &[7, 8], 1500),
        task(TaskConfig::Ed(ed), [2, 8], [2, 10], &[9, 10], 1500),
        task(
            TaskConfig::Lis(lis),
            [5, 25],
            [5, 30],
            &[26, 27, 28, 29, 30],
            600,
        ),
    ]
}

/// All numbers of Appendix D.
fn paper(seed: u64) -> Settings {
    // 500 epochs over a million samples of each of three tasks, in batches of 512.
    let epochs = |epochs: u64, samples: u64| (epochs * samples * 3).div_ceil(512);
    let stage = |steps: u64, learning_rate: f64, weights: [f32; 3]| StageSettings {
        train: TrainConfig {
            steps,
            learning_rate,
            warmup_ratio: 0.01,
            final_ratio: 0.0,
            weight_decay: 0.01,
            optimizer: OptimizerConfig::adamw(),
            validate_every: 5000,
            checkpoint_every: 1000,
            seed,
            ..TrainConfig::default()
        },
        batching: Batching::Mixed { samples: 512 },
        curriculum: None,
        task_weights: weights.to_vec(),
        checkpoint_iterations: 0,
        groups: GroupLimits::default(),
        lambda: 1.0,
    };
    Settings {
        preset: "paper".into(),
        seed,
        data: DataSettings::Generated(paper_tasks()),
        looped: LoopedConfig::default(),
        causal: CausalConfig::default(),
        looped_aligned: stage(epochs(500, 1_000_000), 5e-4, [1.0, 1.0, 1.0]),
        looped_vanilla: Some(stage(epochs(500, 1_000_000), 1e-3, [1.0, 10.0, 5.0])),
        ar_baseline: stage(epochs(500, 1_000_000), 5e-4, [1.0, 10.0, 5.0]),
        ar_relay: stage(epochs(500, 100_000), 1e-4, [1.0, 10.0, 5.0]),
        chains: ChainSettings {
            min_confidence: 0.0,
            tries: 1,
        },
        evaluation: EvaluationSettings {
            samples: 10_000,
            hit_matrix: Some(("lis".into(), 105)),
            extra_iterations: 0,
        },
    }
}

/// Tasks and Table 3.
fn paper_tasks() -> Vec<TaskSettings> {
    let table =
        |first: usize, counts: &[usize]| (first..).zip(counts.iter().copied()).collect::<Vec<_>>();
    let ari = [6477, 6882, 7287, 6477, 6072, 5668, 5263, 4858, 4453, 4048];
    let ed = [4195, 4195, 4055, 4055, 3916, 3916, 3776, 3776, 3636, 3636];
    let lis = [
        1479, 1464, 1449, 1434, 1420, 1405, 1390, 1375, 1360, 1346, 1331, 1316, 1301, 1286, 1272,
        1257, 1242, 1227, 1213, 1198,
    ];
    let task = |task, train, test, original, longer| TaskSettings {
        task,
        train,
        test,
        original,
        longer,
    };
    vec![
        task(
            TaskConfig::Ari(Default::default()),
            [1, 15],
            [1, 25],
            42_515,
            table(16, &ari),
        ),
        task(
            TaskConfig::Ed(Default::default()),
            [1, 30],
            [1, 40],
            60_844,
            table(31, &ed),
        ),
        task(
            TaskConfig::Lis(Default::default()),
            [1, 100],
            [1, 120],
            73_235,
            table(101, &lis),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid() {
        for name in PRESETS {
            preset(name, 1).unwrap().validate().unwrap();
        }
        assert!(
            preset("tiny", 1)
                .unwrap_err()
                .to_string()
                .contains("smoke, mini, paper")
        );
    }

    #[test]
    fn the_paper_preset_carries_the_papers_numbers() {
        let settings = preset("paper", 1).unwrap();
        let DataSettings::Generated(tasks) = &settings.data else {
            panic!("tasks expected")
        };
        let merged: Vec<usize> = tasks
            .iter()
            .map(|t| t.original + t.longer.iter().map(|(_, n)| n).sum::<usize>())
            .collect();
        // Table 3 adds up to 100 k a task but for rounding.
        assert_eq!(merged, [100_000, 100_000, 100_000]);
        assert_eq!(tasks[0].longer.first(), Some(&(16, 6477)));
        assert_eq!(tasks[2].longer.last(), Some(&(120, 1198)));
        let looped = &settings.looped.transformer;
        assert_eq!(
            (looped.d_model, looped.heads, looped.layers, looped.dropout),
            (256, 4, 3, 0.1)
        );
        assert_eq!(settings.looped_aligned.train.steps, 2_929_688);
        assert_eq!(settings.ar_relay.train.learning_rate, 1e-4);
        assert_eq!(settings.ar_baseline.task_weights, [1.0, 10.0, 5.0]);
    }
}
