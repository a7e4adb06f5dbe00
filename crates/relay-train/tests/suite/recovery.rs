//! Numbers that are not finite: skipped, gone back from, and all of it the same after a kill or a stop.

use std::path::Path;

use crate::common::{end, lines};
use crate::fragile::*;
use relay_train::{Recovery, StopFlag, TrainConfig, TrainError, list_checkpoints};

fn recovery(retries: u64) -> Recovery {
    Recovery {
        patience: 3,
        retries,
        rate_factor: 1e-3,
        ..Recovery::default()
    }
}

#[test]
fn goes_back_to_the_last_checkpoint_with_a_smaller_rate_and_does_so_exactly() {
    let limit = limit(3, 5);
    let fragile = || Fragile::new(5, limit, f32::NAN);
    let config = || settings_with(recovery(2));
    let whole = tempfile::tempdir().unwrap();
    let trained = go(
        &trainer_of(fragile(), config(), whole.path()),
        &StopFlag::new(),
    )
    .unwrap();
    assert_eq!((trained.steps, trained.recoveries), (12, 1));
    let told = lines(whole.path(), "recovery");
    assert_eq!(told.len(), 1, "{told:?}");
    // Updates 6 to 8 were not finite; the checkpoint after 3 is the last before them.
    assert_eq!(
        (&told[0]["step"], &told[0]["not_finite_up_to"]),
        (&4.into(), &8.into())
    );
    let expected = end(whole.path());
    for kill in [2, 4, 5, 6, 7, 10] {
        let dir = tempfile::tempdir().unwrap();
        let killed = trainer_of(fragile(), config(), dir.path()).kill_after(kill);
        assert!(go(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
        go(
            &trainer_of(fragile(), config(), dir.path()),
            &StopFlag::new(),
        )
        .unwrap();
        assert!(end(dir.path()) == expected, "killed after {kill}");
    }
    for step in [1, 3, 4, 5, 6, 7, 9] {
        for keep_last in [1, 2] {
            let dir = tempfile::tempdir().unwrap();
            let stop = StopFlag::new();
            let objective = Fragile {
                stop: Some((step, stop.clone())),
                ..fragile()
            };
            // How many checkpoints are kept is no part of what is learnt, but of the settings.
            let config = TrainConfig {
                keep_last,
                ..config()
            };
            let stopped = go(&trainer_of(objective, config.clone(), dir.path()), &stop);
            assert!(stopped.unwrap_err().is_interrupted());
            go(&trainer_of(fragile(), config, dir.path()), &StopFlag::new()).unwrap();
            assert!(
                end(dir.path()) == expected,
                "stopped in update {step}, {keep_last} kept"
            );
        }
    }
}

/// The checkpoint after 6 updates holds the weights that go wrong, so that no rate helps from there.
#[test]
fn goes_back_further_where_the_last_checkpoint_does_not_help() {
    let limit = limit(3, 6);
    let fragile = || Fragile::new(6, limit, f32::NAN);
    let whole = tempfile::tempdir().unwrap();
    let run = |dir: &Path, kill: u64| {
        let trainer = trainer_of(fragile(), settings_with(recovery(2)), dir);
        go(&trainer.kill_after(kill), &StopFlag::new())
    };
    let trained = run(whole.path(), u64::MAX).unwrap();
    assert_eq!((trained.steps, trained.recoveries), (12, 2));
    let told = lines(whole.path(), "recovery");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["step"], &told[0]["recoveries"]),
        (&4.into(), &2.into())
    );
    for kill in [4, 6, 7, 10] {
        let dir = tempfile::tempdir().unwrap();
        assert!(run(dir.path(), kill).unwrap_err().is_interrupted());
        run(dir.path(), u64::MAX).unwrap();
        assert!(end(dir.path()) == end(whole.path()), "killed after {kill}");
    }
    for (step, keep_last) in [4, 6, 7, 9]
        .into_iter()
        .flat_map(|step| [(step, 1), (step, 2)])
    {
        let dir = tempfile::tempdir().unwrap();
        let stop = StopFlag::new();
        let objective = Fragile {
            stop: Some((step, stop.clone())),
            ..fragile()
        };
        let config = TrainConfig {
            keep_last,
            ..settings_with(recovery(2))
        };
        let stopped = go(&trainer_of(objective, config.clone(), dir.path()), &stop);
        assert!(stopped.unwrap_err().is_interrupted());
        go(&trainer_of(fragile(), config, dir.path()), &StopFlag::new()).unwrap();
        assert!(
            end(dir.path()) == end(whole.path()),
            "stopped in update {step}"
        );
    }
}

/// No checkpoint but that of a stop is there, and none is gone back to.
#[test]
fn a_stop_among_skipped_updates_saves_what_was_made() {
    let limit = limit(3, 5);
    let fragile = || Fragile::new(5, limit, f32::NAN);
    let config = || TrainConfig {
        checkpoint_every: 0,
        ..settings_with(recovery(2))
    };
    let whole = tempfile::tempdir().unwrap();
    let run = trainer_of(fragile(), config(), whole.path());
    let trained = go(&run, &StopFlag::new()).unwrap();
    assert_eq!((trained.steps, trained.recoveries), (12, 1));
    for step in [4, 6] {
        let dir = tempfile::tempdir().unwrap();
        let stop = StopFlag::new();
        let objective = Fragile {
            stop: Some((step, stop.clone())),
            ..fragile()
        };
        let stopped = go(&trainer_of(objective, config(), dir.path()), &stop);
        assert!(stopped.unwrap_err().is_interrupted());
        let saved: Vec<u64> = list_checkpoints(dir.path())
            .unwrap()
            .into_iter()
            .map(|(step, _)| step)
            .collect();
        assert_eq!(saved, [step + 1], "stopped in update {step}");
        go(
            &trainer_of(fragile(), config(), dir.path()),
            &StopFlag::new(),
        )
        .unwrap();
        assert!(
            end(dir.path()) == end(whole.path()),
            "stopped in update {step}"
        );
    }
}

/// A stop on the way that the run goes back from must not be where it goes on from after a stop on the way that it took
/// instead.
#[test]
fn what_was_gone_back_from_is_not_resumed() {
    let limit = limit(3, 5);
    let dir = tempfile::tempdir().unwrap();
    let config = || TrainConfig {
        keep_last: 1,
        checkpoint_every: 8,
        ..settings_with(recovery(2))
    };
    let stopped_in = |update: u64, from: u64| {
        let stop = StopFlag::new();
        let objective = Fragile {
            stop: Some((update, stop.clone())),
            ..Fragile::new(from, limit, f32::NAN)
        };
        let error = go(&trainer_of(objective, config(), dir.path()), &stop).unwrap_err();
        match error {
            TrainError::Interrupted { step } => step,
            other => panic!("{other}"),
        }
    };
    let far = stopped_in(5, u64::MAX);
    // Back to the start, and stopped on the way that has smaller rates.
    let near = stopped_in(2, 5);
    assert!(near < far, "{near} {far}");
    let there: Vec<u64> = list_checkpoints(dir.path())
        .unwrap()
        .into_iter()
        .map(|(step, _)| step)
        .collect();
    assert_eq!(there, [near]);
}

#[test]
fn a_run_that_was_given_one_checkpoint_goes_back_to_that() {
    let limit = limit(5, 7);
    let config = || TrainConfig {
        keep_last: 1,
        checkpoint_every: 4,
        ..settings_with(recovery(2))
    };
    let lent = tempfile::tempdir().unwrap();
    let stop = StopFlag::new();
    let objective = Fragile {
        stop: Some((4, stop.clone())),
        ..Fragile::new(u64::MAX, limit, f32::NAN)
    };
    let stopped = go(&trainer_of(objective, config(), lent.path()), &stop);
    assert!(stopped.unwrap_err().is_interrupted());
    let (given, name) = list_checkpoints(lent.path()).unwrap().swap_remove(0);
    assert_eq!(given, 5, "after the regular one");
    let dir = tempfile::tempdir().unwrap();
    std::fs::rename(lent.path().join(&name), dir.path().join(&name)).unwrap();
    // Not finite before there is a regular checkpoint of its own.
    let trainer = trainer_of(Fragile::new(given, limit, f32::NAN), config(), dir.path());
    let trained = go(&trainer, &StopFlag::new()).unwrap();
    assert_eq!((trained.steps, trained.recoveries), (12, 1));
    assert_eq!(lines(dir.path(), "recovery")[0]["step"], given + 1);
}

#[test]
fn without_a_checkpoint_it_goes_back_to_the_start() {
    let limit = limit(3, 5);
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        checkpoint_every: 0,
        ..settings_with(recovery(1))
    };
    let trainer = trainer_of(Fragile::new(5, limit, f32::NAN), config, dir.path());
    assert_eq!(go(&trainer, &StopFlag::new()).unwrap().recoveries, 1);
    assert_eq!(lines(dir.path(), "recovery")[0]["step"], 1);
    assert_eq!(lines(dir.path(), "train").len(), 3);
}

#[test]
fn ends_with_a_message_when_nothing_helps() {
    for retries in [0, 2] {
        let dir = tempfile::tempdir().unwrap();
        let objective = Fragile::new(5, -1.0, f32::INFINITY);
        let trainer = trainer_of(objective, settings_with(recovery(retries)), dir.path());
        let error = go(&trainer, &StopFlag::new()).unwrap_err();
        assert!(
            matches!(
                error,
                TrainError::NotFinite {
                    step: 8,
                    updates: 3
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("`recovery.retries`"), "{error}");
        // Five good updates, three bad ones, from the checkpoint after 3 on again each time.
        let met = trainer.objective().met.lock().unwrap().len() as u64;
        assert!(met >= 8 + 5 * retries, "{met}");
    }
}
