//! Settings: what is wrong is named, with its value and what would be right; files say the same as code.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use relay_tasks::{
    ArithmeticConfig, CostDialect, Domain, EditDistanceConfig, LisConfig, LisValues, StepOrder,
    TaskConfig,
};

#[test]
fn the_paper_s_settings_are_the_default() {
    for (text, config) in [
        r#"{"task": "ari"}"#,
        r#"{"task": "ed"}"#,
        r#"{"task": "lis"}"#,
    ]
    .into_iter()
    .zip(TaskConfig::paper())
    {
        assert_eq!(serde_json::from_str::<TaskConfig>(text).unwrap(), config);
        let all = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TaskConfig>(&all).unwrap(), config);
        config.validate().unwrap();
    }
}

#[test]
fn settings_from_a_file() {
    let text = r#"{"task": "ari", "domain": {"kind": "integers", "max": 99}, "order": "random_expansion"}"#;
    let expected = ArithmeticConfig {
        domain: Domain::Integers { max: 99 },
        order: StepOrder::RandomExpansion,
    };
    assert_eq!(
        serde_json::from_str::<TaskConfig>(text).unwrap(),
        TaskConfig::Ari(expected)
    );
    let text = r#"{"task": "ed", "letters": 4, "costs": "true_costs", "drawn": [2, 4], "random_share": 0.5}"#;
    let expected = EditDistanceConfig {
        letters: 4,
        costs: CostDialect::TrueCosts,
        drawn: [2, 4],
        random_share: 0.5,
        ..EditDistanceConfig::default()
    };
    assert_eq!(
        serde_json::from_str::<TaskConfig>(text).unwrap(),
        TaskConfig::Ed(expected)
    );
    let text =
        r#"{"task": "lis", "group": 5, "values": {"range": "fixed", "lowest": 20, "highest": 38}}"#;
    let values = LisValues::Fixed {
        lowest: 20,
        highest: 38,
    };
    let expected = LisConfig {
        group: 5,
        values,
        ..LisConfig::default()
    };
    assert_eq!(
        serde_json::from_str::<TaskConfig>(text).unwrap(),
        TaskConfig::Lis(expected)
    );
}

#[test]
fn unknown_settings_are_refused() {
    for (text, names) in [
        (r#"{"task": "sum"}"#, "sum"),
        (r#"{"task": "ari", "prime": 11}"#, "prime"),
        (
            r#"{"task": "ari", "domain": {"kind": "integers", "max": 9, "p": 3}}"#,
            "`p`",
        ),
        (r#"{"task": "ed", "letter": 4}"#, "letter"),
        (r#"{"task": "lis", "groups": 5}"#, "groups"),
        (
            r#"{"task": "lis", "values": {"range": "benchmark", "max": 9, "lowest": 3}}"#,
            "lowest",
        ),
    ] {
        let message = serde_json::from_str::<TaskConfig>(text)
            .unwrap_err()
            .to_string();
        assert!(message.contains(names), "{text}: {message}");
    }
}

#[test]
fn wrong_settings_are_named() {
    let ed = EditDistanceConfig::default();
    let lis = LisConfig::default();
    let fixed = |lowest, highest| LisConfig {
        values: LisValues::Fixed { lowest, highest },
        ..lis
    };
    let ari = |domain| {
        TaskConfig::Ari(ArithmeticConfig {
            domain,
            ..ArithmeticConfig::default()
        })
    };
    for (config, field, value) in [
        (ari(Domain::PrimeField { p: 12 }), "domain.p", "12"),
        (ari(Domain::Integers { max: 0 }), "domain.max", "0"),
        (
            TaskConfig::Ed(EditDistanceConfig { letters: 27, ..ed }),
            "letters",
            "27",
        ),
        (
            TaskConfig::Ed(EditDistanceConfig { letters: 2, ..ed }),
            "drawn",
            "[3, 10]",
        ),
        (
            TaskConfig::Ed(EditDistanceConfig {
                drawn: [5, 4],
                ..ed
            }),
            "drawn",
            "[5, 4]",
        ),
        (
            TaskConfig::Ed(EditDistanceConfig {
                random_share: 1.5,
                ..ed
            }),
            "random_share",
            "1.5",
        ),
        (
            TaskConfig::Ed(EditDistanceConfig {
                random_share: f64::NAN,
                ..ed
            }),
            "random_share",
            "NaN",
        ),
        (
            TaskConfig::Ed(EditDistanceConfig { replace: 0, ..ed }),
            "replace",
            "0",
        ),
        (
            TaskConfig::Ed(EditDistanceConfig { largest: 5, ..ed }),
            "largest",
            "5",
        ),
        (TaskConfig::Lis(LisConfig { group: 0, ..lis }), "group", "0"),
        (
            TaskConfig::Lis(LisConfig {
                runs: [0, 3],
                ..lis
            }),
            "runs",
            "[0, 3]",
        ),
        (
            TaskConfig::Lis(LisConfig {
                values: LisValues::Benchmark { max: 1 },
                ..lis
            }),
            "values.max",
            "1",
        ),
        (
            TaskConfig::Ed(EditDistanceConfig { insert: 1001, ..ed }),
            "insert",
            "1001",
        ),
        (
            TaskConfig::Ed(EditDistanceConfig {
                largest: 65_536,
                ..ed
            }),
            "largest",
            "65536",
        ),
        (
            TaskConfig::Lis(LisConfig {
                group: 100_001,
                ..lis
            }),
            "group",
            "100001",
        ),
        (
            TaskConfig::Lis(LisConfig {
                runs: [1, 1001],
                ..lis
            }),
            "runs",
            "[1, 1001]",
        ),
        (ari(Domain::Integers { max: 65_522 }), "domain.max", "65522"),
        (TaskConfig::Lis(fixed(1, 9)), "values.lowest", "1"),
        (TaskConfig::Lis(fixed(10, 9)), "values.highest", "9"),
    ] {
        let message = config.build().unwrap_err().to_string();
        assert!(
            message.contains(field) && message.contains(value),
            "{message}"
        );
    }
}

#[test]
fn a_dialect_is_what_changes_problems_steps_or_answers() {
    let dialect = |config: TaskConfig| config.build().unwrap().dialect();
    let ed = EditDistanceConfig::default();
    let other_share = EditDistanceConfig {
        random_share: 0.5,
        ..ed
    };
    let true_costs = EditDistanceConfig {
        costs: CostDialect::TrueCosts,
        ..ed
    };
    assert_eq!(
        dialect(TaskConfig::Ed(ed)),
        dialect(TaskConfig::Ed(other_share))
    );
    assert_ne!(
        dialect(TaskConfig::Ed(ed)),
        dialect(TaskConfig::Ed(true_costs))
    );
    let lis = LisConfig::default();
    assert_eq!(
        dialect(TaskConfig::Lis(lis)),
        dialect(TaskConfig::Lis(LisConfig {
            runs: [2, 2],
            ..lis
        }))
    );
    assert_ne!(
        dialect(TaskConfig::Lis(lis)),
        dialect(TaskConfig::Lis(LisConfig { group: 5, ..lis }))
    );
    assert_eq!(
        dialect(TaskConfig::paper()[0]).to_string(),
        r#"{"domain": {"kind":"prime_field","p":11}, "order": "left_to_right"}"#
    );
}
