//! The preset `paper`: Tables 1 to 4.

use relay_models::{CausalConfig, LoopedConfig};
use relay_tasks::{GroupLimits, TaskConfig};
use relay_train::{Batching, OptimizerConfig, TrainConfig};

use crate::{
    ChainSettings, DataSettings, EvaluationSettings, SelfChainSettings, Settings, StageSettings,
    TaskSettings,
};

/// All numbers of Appendix D.
pub(super) fn paper(seed: u64) -> Settings {
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
        self_chains: Some(SelfChainSettings {
            phase: stage(epochs(100, 100_000), 5e-5, [1.0, 1.0, 1.0]),
            samples: 100_000,
            // Table 4 says how many were kept at most, nothing how many were drawn.
            tries: 4,
        }),
        chains: ChainSettings {
            min_confidence: 0.0,
            tries: 1,
        },
        evaluation: EvaluationSettings {
            samples: 10_000,
            hit_matrices: vec![("lis".into(), 101), ("lis".into(), 105)],
            extra_iterations: 0,
            predictions: false,
        },
    }
}

/// Tasks, Table 3 and Table 4.
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
        self_phases: Vec::new(),
    };
    let [ari_task, ed_task, lis_task] = [
        TaskConfig::Ari(Default::default()),
        TaskConfig::Ed(Default::default()),
        TaskConfig::Lis(Default::default()),
    ];
    vec![
        TaskSettings {
            self_phases: table(16, &[15_000, 10_000, 7_500, 6_000, 5_000]),
            ..task(ari_task, [1, 15], [1, 25], 42_515, table(16, &ari))
        },
        TaskSettings {
            self_phases: table(31, &[15_000, 10_000, 7_500, 3_000, 3_000]),
            ..task(ed_task, [1, 30], [1, 40], 60_844, table(31, &ed))
        },
        TaskSettings {
            self_phases: table(101, &[15_000, 10_000, 7_500, 3_000, 3_000]),
            ..task(lis_task, [1, 100], [1, 120], 73_235, table(101, &lis))
        },
    ]
}

#[cfg(test)]
mod tests {
    use relay_models::{Injection, Positions};

    use super::*;

    /// Learning rate and weights of a stage, and what all stages share.
    fn check(stage: &StageSettings, rate: f64, weights: [f32; 3]) {
        let train = &stage.train;
        assert_eq!((train.learning_rate, train.warmup_ratio), (rate, 0.01));
        assert_eq!((train.weight_decay, train.final_ratio), (0.01, 0.0));
        assert_eq!(train.optimizer, OptimizerConfig::adamw());
        assert_eq!(stage.batching, Batching::Mixed { samples: 512 });
        assert_eq!(stage.task_weights, weights);
        assert_eq!(stage.lambda, 1.0);
    }

    #[test]
    fn tables_1_and_2_are_carried_by_the_stages() {
        let settings = paper(1);
        check(&settings.looped_aligned, 5e-4, [1.0, 1.0, 1.0]);
        let vanilla = settings.looped_vanilla.unwrap();
        check(&vanilla, 1e-3, [1.0, 10.0, 5.0]);
        check(&settings.ar_baseline, 5e-4, [1.0, 10.0, 5.0]);
        check(&settings.ar_relay, 1e-4, [1.0, 10.0, 5.0]);
        let phase = &settings.self_chains.as_ref().unwrap().phase;
        check(phase, 5e-5, [1.0, 1.0, 1.0]);
        // 500 epochs of the merged data, 100 of each phase: 300,000 samples in batches of 512.
        assert_eq!(settings.ar_relay.train.steps, 292_969);
        assert_eq!(phase.train.steps, 58_594);
        for transformer in [&settings.looped.transformer, &settings.causal.transformer] {
            assert_eq!(
                (transformer.d_model, transformer.heads, transformer.layers),
                (256, 4, 3)
            );
            assert_eq!(transformer.dropout, 0.1);
        }
    }

    /// What is no number of a table: nothing of what the smaller presets do otherwise.
    #[test]
    fn all_else_is_as_the_paper_has_it() {
        let settings = paper(1);
        let looped = &settings.looped;
        assert_eq!(looped.injection, Injection::None);
        assert!(!looped.timestep && !looped.norm_state);
        for transformer in [&looped.transformer, &settings.causal.transformer] {
            assert_eq!(transformer.positions, Positions::Rope);
            assert_eq!(
                (transformer.rope_base, transformer.mlp_ratio),
                (10_000.0, 4)
            );
        }
        assert_eq!(
            (settings.chains.min_confidence, settings.chains.tries),
            (0.0, 1)
        );
        let EvaluationSettings {
            samples,
            hit_matrices,
            extra_iterations,
            predictions,
        } = &settings.evaluation;
        assert_eq!((*samples, *extra_iterations), (10_000, 0));
        assert!(!predictions);
        assert_eq!(
            hit_matrices,
            &[("lis".to_owned(), 101), ("lis".to_owned(), 105)]
        );
        for (arm, stage) in settings.stages() {
            assert_eq!(stage.curriculum, None, "{arm}");
            assert_eq!(stage.train.clip_norm, 1.0, "{arm}");
        }
        let DataSettings::Generated(tasks) = &settings.data else {
            panic!("tasks expected")
        };
        let dialects = tasks
            .iter()
            .map(|task| serde_json::to_value(task.task).unwrap());
        let right = serde_json::json!([
            { "task": "ari", "domain": { "kind": "prime_field", "p": 11 }, "order": "left_to_right" },
            {
                "task": "ed", "letters": 26, "largest": 249, "costs": "benchmark", "insert": 2, "delete": 2, "replace": 3,
                "drawn": [3, 10], "random_share": 0.4,
            },
            { "task": "lis", "group": 10, "values": { "range": "benchmark", "max": 249 }, "runs": [1, 3] },
        ]);
        assert_eq!(serde_json::Value::from_iter(dialects), right);
    }

    #[test]
    fn table_4_is_carried_by_the_tasks() {
        let settings = paper(1);
        let DataSettings::Generated(tasks) = &settings.data else {
            panic!("tasks expected")
        };
        let ari = [
            (16, 15_000),
            (17, 10_000),
            (18, 7_500),
            (19, 6_000),
            (20, 5_000),
        ];
        let ed = [
            (31, 15_000),
            (32, 10_000),
            (33, 7_500),
            (34, 3_000),
            (35, 3_000),
        ];
        let lis = [
            (101, 15_000),
            (102, 10_000),
            (103, 7_500),
            (104, 3_000),
            (105, 3_000),
        ];
        for (task, phases) in tasks.iter().zip([ari, ed, lis]) {
            assert_eq!(task.self_phases, phases);
        }
        assert_eq!(settings.self_chains.unwrap().samples, 100_000);
    }

    #[test]
    fn table_3_and_the_lengths_are_carried_by_the_tasks() {
        let settings = paper(1);
        let DataSettings::Generated(tasks) = &settings.data else {
            panic!("tasks expected")
        };
        let merged: Vec<usize> = tasks
            .iter()
            .map(|t| t.original + t.longer.iter().map(|(_, n)| n).sum::<usize>())
            .collect();
        assert_eq!(merged, [100_000, 100_000, 100_000]);
        let lengths: Vec<_> = tasks.iter().map(|t| (t.train, t.test)).collect();
        let right = [([1, 15], [1, 25]), ([1, 30], [1, 40]), ([1, 100], [1, 120])];
        assert_eq!(lengths, right);
        // Table 3, one row a length.
        let longer = |task: usize| -> Vec<usize> {
            let lengths = tasks[task].train[1] + 1..=tasks[task].test[1];
            let known = tasks[task].longer.iter();
            assert!(known.clone().map(|(length, _)| *length).eq(lengths));
            known.map(|(_, n)| *n).collect()
        };
        assert_eq!(
            longer(0),
            [6477, 6882, 7287, 6477, 6072, 5668, 5263, 4858, 4453, 4048]
        );
        assert_eq!(
            longer(1),
            [4195, 4195, 4055, 4055, 3916, 3916, 3776, 3776, 3636, 3636]
        );
        assert_eq!(
            longer(2),
            [
                1479, 1464, 1449, 1434, 1420, 1405, 1390, 1375, 1360, 1346, 1331, 1316, 1301, 1286,
                1272, 1257, 1242, 1227, 1213, 1198
            ]
        );
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
