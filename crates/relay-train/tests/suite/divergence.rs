//! A loss far above its past: told, gone back from, or the end, and all of it the same after a kill or a stop.

use std::{fs, path::Path};

use crate::common::{end, lines};
use crate::fragile::*;
use relay_train::{OnDivergence, Recovery, StopFlag, TrainConfig, TrainError, read_manifest};

/// Losses so much larger that nothing else is, in the last of the three updates up to step 9.
fn fragile(limit: f32) -> Fragile {
    Fragile::new(8, limit, 1e4)
}

fn config(on_divergence: OnDivergence, retries: u64) -> TrainConfig {
    let recovery = Recovery {
        retries,
        rate_factor: 1e-3,
        divergence: 100.0,
        on_divergence,
        ..Recovery::default()
    };
    TrainConfig {
        log_every: 3,
        ..settings_with(recovery)
    }
}

#[test]
fn a_loss_far_above_its_past_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        learning_rate: 1e-3,
        ..settings_with(Recovery::default())
    };
    let trainer = trainer_of(Fragile::new(8, -1.0, 50.0), config, dir.path());
    go(&trainer, &StopFlag::new()).unwrap();
    let told = lines(dir.path(), "divergence");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["step"], 12);
    assert!(told[0]["loss"].as_f64() > told[0]["usual_loss"].as_f64());
}

#[test]
fn goes_back_with_a_smaller_rate_and_does_so_exactly() {
    let limit = limit(6, 8);
    let config = || config(OnDivergence::GoBack, 2);
    let go_on = |objective, config, dir: &Path, stop: &StopFlag| {
        let trained = go(&trainer_of(objective, config, dir), stop)?;
        Ok::<_, TrainError>((trained.steps, trained.recoveries))
    };
    let whole = tempfile::tempdir().unwrap();
    let counts = go_on(fragile(limit), config(), whole.path(), &StopFlag::new());
    assert_eq!(counts.unwrap(), (12, 1));
    let told = lines(whole.path(), "recovery");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["step"], &told[0]["diverged_at"]),
        (&7.into(), &9.into())
    );
    assert!(told[0]["loss"].as_f64() > told[0]["usual_loss"].as_f64());
    // What came of the updates that were made anew is no divergence.
    assert_eq!(lines(whole.path(), "divergence").len(), 0);
    assert_eq!(lines(whole.path(), "train").len(), 4);
    let expected = end(whole.path());
    for kill in [2, 6, 7, 8, 9, 10] {
        let dir = tempfile::tempdir().unwrap();
        let killed = trainer_of(fragile(limit), config(), dir.path()).kill_after(kill);
        assert!(go(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
        go_on(fragile(limit), config(), dir.path(), &StopFlag::new()).unwrap();
        assert!(end(dir.path()) == expected, "killed after {kill}");
    }
    for step in [4, 6, 7, 8, 9] {
        for keep_last in [1, 2] {
            let dir = tempfile::tempdir().unwrap();
            let stop = StopFlag::new();
            let objective = Fragile {
                stop: Some((step, stop.clone())),
                ..fragile(limit)
            };
            let config = TrainConfig {
                keep_last,
                ..config()
            };
            let stopped = go_on(objective, config.clone(), dir.path(), &stop);
            assert!(stopped.unwrap_err().is_interrupted());
            go_on(fragile(limit), config, dir.path(), &StopFlag::new()).unwrap();
            assert!(
                end(dir.path()) == expected,
                "stopped in update {step}, {keep_last} kept"
            );
        }
    }
}

#[test]
fn ends_where_that_is_set_or_nothing_helps_and_does_so_again() {
    for (on_divergence, retries, met) in [
        (OnDivergence::End, 0, 9),
        // Going back is for updates that are not finite then.
        (OnDivergence::End, 2, 9),
        (OnDivergence::GoBack, 2, 9 + 2 * 3),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut metrics = Vec::new();
        for again in [false, true] {
            let trainer = trainer_of(fragile(-1.0), config(on_divergence, retries), dir.path());
            let error = go(&trainer, &StopFlag::new()).unwrap_err();
            assert!(
                matches!(error, TrainError::Diverged { step: 9, .. }),
                "{error}"
            );
            assert!(
                error.to_string().contains("`recovery.on_divergence`"),
                "{error}"
            );
            assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 6);
            assert_eq!(lines(dir.path(), "divergence").len(), 1);
            metrics.push(fs::read(dir.path().join("metrics.jsonl")).unwrap());
            if !again {
                // A micro-batch an update at least.
                let found = trainer.objective().met.lock().unwrap().len();
                assert!(found >= met, "{found} {met}");
            }
        }
        assert!(metrics[0] == metrics[1], "other metrics the second time");
    }
}
