//! Tests of what settings can be.

use relay_tasks::TaskConfig;
use relay_train::Batching;

use super::*;

#[test]
fn the_name_of_a_preset_is_no_path() {
    let mut settings = crate::preset("smoke", 1).unwrap();
    settings.preset = "../elsewhere".to_owned();
    let error = settings.validate().unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("preset is ../elsewhere"));
}

#[test]
fn lengths_beyond_the_task_are_named() {
    let mut settings = crate::preset("mini", 1).unwrap();
    let DataSettings::Generated(tasks) = &mut settings.data else {
        panic!("tasks expected")
    };
    tasks[1].test = [0, 7];
    let error = settings.validate().unwrap_err().to_string();
    assert!(
        error.contains("data.ed.test") && error.contains("0..7"),
        "{error}"
    );
}

#[test]
fn every_part_of_a_stage_is_checked_and_named() {
    let stage = |change: &dyn Fn(&mut StageSettings)| {
        let mut settings = crate::preset("mini", 1).unwrap();
        change(&mut settings.ar_relay);
        let error = settings.validate().unwrap_err();
        assert!(error.is_usage(), "{error}");
        error.to_string()
    };
    let grown = Some(Curriculum {
        start: 0.5,
        steps: 10,
        ..Curriculum::default()
    });
    for (message, field) in [
        (
            stage(&|s| s.train.learning_rate = 0.0),
            "train.learning_rate is 0",
        ),
        (
            stage(&|s| s.groups.max_samples = 0),
            "groups.max_samples is 0",
        ),
        (
            stage(&|s| s.groups.max_waste = -1.0),
            "groups.max_waste is -1",
        ),
        (
            stage(&|s| s.task_weights = vec![1.0, 10.0]),
            "task_weights is [1.0, 10.0]",
        ),
        (
            stage(&|s| s.task_weights[2] = f32::NAN),
            "task_weights is [1.0, 10.0, NaN]",
        ),
        (stage(&|s| s.lambda = -1.0), "lambda is -1"),
        // Fine-tuning goes over a list.
        (stage(&|s| s.curriculum = grown.clone()), "curriculum is {"),
        (
            stage(&|s| s.batching = Batching::OneLength { tokens: 0 }),
            "batching.one_length.tokens is 0",
        ),
    ] {
        assert!(message.contains(&format!("ar_relay.{field}")), "{message}");
    }
    let mut settings = crate::preset("mini", 1).unwrap();
    settings.ar_baseline.curriculum = grown;
    settings.validate().unwrap();
    if let Some(grown) = &mut settings.ar_baseline.curriculum {
        grown.tasks = vec!["lis".into(), "sort".into()];
    }
    let error = settings.validate().unwrap_err().to_string();
    let right = "ar_baseline.curriculum.tasks is sort, must be some of ari, ed, lis";
    assert!(error.contains(right), "{error}");
    settings.ar_baseline.curriculum = Some(Curriculum {
        steps: 20_000,
        ..Curriculum::default()
    });
    let error = settings.validate().unwrap_err().to_string();
    let right =
        "such that ar_baseline.curriculum.steps, 20000, is below ar_baseline.train.steps, 20000";
    assert!(error.contains(right), "{error}");
    if let Some(late) = &mut settings.ar_baseline.curriculum {
        late.steps -= 1;
        assert_eq!(late.lengths(19_999, "lis", &(3..=30)), 3..=30);
    }
    settings.validate().unwrap();
    // A task alone has a third of the updates, and opens its lengths in time, too.
    settings.share_of_updates(3);
    settings.validate().unwrap();
    settings.ar_baseline.curriculum = None;
    settings.causal.transformer.heads = 3;
    let error = settings.validate().unwrap_err().to_string();
    assert!(error.contains("causal.transformer.heads is 3"), "{error}");
}

#[test]
fn what_would_fail_after_hours_is_refused_at_once() {
    let error = |change: &dyn Fn(&mut Settings, &mut Vec<TaskSettings>)| {
        let mut settings = crate::preset("mini", 1).unwrap();
        let DataSettings::Generated(mut tasks) = settings.data.clone() else {
            panic!("tasks expected")
        };
        change(&mut settings, &mut tasks);
        settings.data = DataSettings::Generated(tasks);
        settings.validate().unwrap_err().to_string()
    };
    let nothing = |tasks: &mut Vec<TaskSettings>| {
        for task in tasks {
            (task.original, task.longer) = (0, Vec::new());
        }
    };
    let prime = |tasks: &mut Vec<TaskSettings>| {
        if let TaskConfig::Ari(ari) = &mut tasks[0].task {
            ari.domain = relay_tasks::Domain::PrimeField { p: 4 };
        }
    };
    let matrix = |name: &str, length| vec![(name.to_owned(), length)];
    for (message, part) in [
        (error(&|_, tasks| nothing(tasks)), "data.ari.original is 0"),
        (
            error(&|_, tasks| tasks.push(tasks[0].clone())),
            "two tasks `ari`",
        ),
        (error(&|_, tasks| prime(tasks)), "data.ari.task."),
        (
            error(&|_, tasks| tasks[1].longer.push((9, 5))),
            "data.ed.longer is 9 twice",
        ),
        (
            error(&|_, tasks| tasks[2].self_phases[3].1 = 45_000),
            "data.lis.self_phases is 45000 chains in a phase",
        ),
        (error(&|s, _| s.chains.tries = 0), "chains.tries is 0"),
        (
            error(&|s, _| s.preset.clear()),
            "preset is empty, must be a name",
        ),
        (
            error(&|s, _| s.evaluation.samples = 1 << 50),
            "evaluation.samples is 1125899906842624, must be from 1 to 16777216",
        ),
        (
            error(&|_, tasks| tasks[0].longer[1].1 = usize::MAX),
            "data.ari.longer, length 8 is 18446744073709551615",
        ),
        (
            error(&|s, _| s.ar_relay.train.validate_samples = 1 << 50),
            "ar_relay.train.validate_samples is 1125899906842624",
        ),
        (
            error(&|s, _| s.evaluation.hit_matrices = matrix("foo", 3)),
            "hit_matrices is foo 3",
        ),
        (
            error(&|s, _| s.evaluation.hit_matrices = matrix("ari", 99)),
            "ari 1..8",
        ),
        (
            error(&|s, _| s.evaluation.extra_iterations = i64::MAX),
            "extra_iterations is 9223372036854775807",
        ),
    ] {
        assert!(message.contains(part), "{message}");
    }
}
