//! Complete configurations by name: `smoke`, `quick`, `mini`, `paper`.

use relay_models::{CausalConfig, Injection, LoopedConfig, Positions, TransformerConfig};
use relay_tasks::{
    ArithmeticConfig, Domain, EditDistanceConfig, GroupLimits, LisConfig, LisValues, TaskConfig,
};
use relay_train::{Batching, Curriculum, OptimizerConfig, TrainConfig};

use crate::{
    ChainSettings, DataSettings, EvaluationSettings, PipelineError, Result, SelfChainSettings,
    Settings, StageSettings, TaskSettings,
};

mod paper;

/// The names that [`preset`] knows.
pub const PRESETS: [&str; 4] = ["smoke", "quick", "mini", "paper"];

/// The preset called `name`.
///
/// # Errors
/// When there is no such preset; the message lists those there are.
pub fn preset(name: &str, seed: u64) -> Result<Settings> {
    match name {
        "smoke" => Ok(smoke(seed)),
        "quick" => Ok(quick(seed)),
        "mini" => Ok(mini(seed)),
        "paper" => Ok(paper::paper(seed)),
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
    let preset = preset(name, seed)?;
    // The number of updates is for all tasks of the preset; one learns its own in its share of them.
    let tasks = preset.task_names().len() as u64;
    let mut settings = Settings {
        data,
        looped_vanilla: None,
        self_chains: None,
        ..preset
    };
    settings.preset = format!("own data, {name}");
    // Lengths can only grow where problems are drawn.
    for stage in settings.stages_mut() {
        stage.curriculum = None;
    }
    settings.evaluation.hit_matrices.clear();
    settings.share_of_updates(tasks);
    Ok(settings)
}

/// Seconds on two cores, to see every stage run; nothing is learnt well.
fn smoke(seed: u64) -> Settings {
    let mut settings = mini(seed);
    settings.preset = "smoke".into();
    for transformer in [
        &mut settings.looped.transformer,
        &mut settings.causal.transformer,
    ] {
        (transformer.d_model, transformer.layers) = (32, 1);
    }
    let shorten = |stage: &mut StageSettings, steps| {
        stage.train = TrainConfig {
            steps,
            validate_every: 30,
            checkpoint_every: 30,
            validate_samples: 10,
            ..stage.train.clone()
        };
        stage.batching = Batching::OneLength { tokens: 128 };
        stage.curriculum = None;
    };
    shorten(&mut settings.looped_aligned, 60);
    shorten(&mut settings.ar_baseline, 60);
    shorten(&mut settings.ar_relay, 60);
    if let Some(vanilla) = &mut settings.looped_vanilla {
        shorten(vanilla, 60);
    }
    if let Some(own) = &mut settings.self_chains {
        shorten(&mut own.phase, 12);
        own.samples = 200;
    }
    if let DataSettings::Generated(tasks) = &mut settings.data {
        for task in tasks {
            task.original = 200;
            let phases = task.self_phases.iter_mut();
            for (_, count) in task.longer.iter_mut().chain(phases) {
                *count = 20;
            }
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

/// The method on arithmetic alone, in minutes: the looped model with the steps, the baseline, and what it becomes by RELAY.
fn quick(seed: u64) -> Settings {
    let mut settings = mini(seed);
    settings.keep_task("ari");
    settings.preset = "quick".into();
    (settings.looped_vanilla, settings.self_chains) = (None, None);
    for (stage, steps) in [
        (&mut settings.looped_aligned, 4_000),
        (&mut settings.ar_baseline, 3_000),
        (&mut settings.ar_relay, 1_000),
    ] {
        stage.train.steps = steps;
        stage.task_weights.clear();
    }
    settings
}

/// The paper's claims on a laptop: small tasks, a small model; one and a half to four hours on two cores.
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
            // With more of them a run that was killed would leave others than one that was not: those saved at its ends.
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
    // Without its weight edit distance is learnt last by far; the paper's 5 of the subsequence takes from it at the longest lengths.
    let causal_stage = |steps, rate| StageSettings {
        batching: Batching::OneLength { tokens: 1024 },
        task_weights: vec![1.0, 10.0, 1.0],
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
        // The auto-regressive model learns from the steps: with 1, whole chains of unseen lengths are rare.
        // With all lengths of the subsequence from the start, a step that no training problem has is right with some seeds only.
        looped_aligned: StageSettings {
            lambda: 10.0,
            curriculum: Some(Curriculum {
                start: 0.0,
                steps: 12_000,
                tasks: vec!["lis".into()],
            }),
            ..looped_stage(24_000)
        },
        // Of a long problem the answer alone says little before short ones are solved; and an update of 512 tokens has too few
        // answers, from which alone this model learns.
        looped_vanilla: Some(StageSettings {
            batching: Batching::OneLength { tokens: 2048 },
            task_weights: vec![2.0, 2.0, 1.0],
            curriculum: Some(Curriculum {
                start: 0.0,
                steps: 6_000,
                ..Curriculum::default()
            }),
            ..looped_stage(12_000)
        }),
        // With 12,000 updates or fewer one seed of two does not learn edit distance to the end.
        ar_baseline: causal_stage(20_000, 0.02),
        ar_relay: causal_stage(4_000, 0.01),
        // Five phases, and in all as many updates as the arm that they are compared with.
        self_chains: Some(SelfChainSettings {
            phase: StageSettings {
                task_weights: Vec::new(),
                ..causal_stage(800, 0.01)
            },
            samples: 45_000,
            tries: 3,
        }),
        // So short a training does not make every chain right; the unsure ones are left out.
        chains: ChainSettings {
            min_confidence: 0.9,
            tries: 3,
        },
        evaluation: EvaluationSettings {
            samples: 200,
            hit_matrices: vec![("lis".into(), 31), ("lis".into(), 33)],
            extra_iterations: 0,
            predictions: false,
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
        group: 3,
        values: LisValues::Fixed {
            lowest: 13,
            highest: 24,
        },
        ..LisConfig::default()
    };
    // Both ways of fine-tuning may have 15,000 chains of a task: with a fifth of all of it a model learns wrong chains by heart.
    let task = |task, train, test, longer: &[_], self_phases: [_; 5]| TaskSettings {
        task,
        train,
        test,
        original: 30_000,
        longer: longer.into(),
        self_phases: self_phases.into(),
    };
    let two = |a, b| {
        let phases = [(a, 3750), (a, 3750), (b, 2500), (b, 2500), (b, 2500)];
        ([(a, 7500), (b, 7500)], phases)
    };
    let ((ari_longer, ari_phases), (ed_longer, ed_phases)) = (two(7, 8), two(9, 10));
    // As in the paper the phases end before the longest length.
    let lis_longer = [31, 32, 33, 34, 35, 36].map(|length| (length, 2500));
    let lis_phases = [31, 32, 33, 34, 35].map(|length| (length, 3000));
    vec![
        task(
            TaskConfig::Ari(ari),
            [1, 6],
            [1, 8],
            &ari_longer,
            ari_phases,
        ),
        task(TaskConfig::Ed(ed), [2, 8], [2, 10], &ed_longer, ed_phases),
        task(
            TaskConfig::Lis(lis),
            [3, 30],
            [3, 36],
            &lis_longer,
            lis_phases,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileSettings;

    #[test]
    fn every_preset_is_valid_alone_for_one_task_and_for_own_data() {
        for name in PRESETS {
            let all = preset(name, 1).unwrap();
            all.validate().unwrap();
            for task in all.task_names() {
                all.single_task(task).unwrap().validate().unwrap();
            }
            let files = FileSettings {
                train: "chains.jsonl".into(),
                longer: "problems.jsonl".into(),
                test: "test.jsonl".into(),
            };
            let own = own_data_preset(name, DataSettings::Files(files), 1).unwrap();
            own.validate().unwrap();
        }
        assert!(
            preset("tiny", 1)
                .unwrap_err()
                .to_string()
                .contains("smoke, quick, mini, paper")
        );
    }
}
