//! A run that is killed or stopped and resumed ends like one that never was.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::common::*;
use crate::fragile::{Fragile, go, trainer_of};
use burn::tensor::backend::AutodiffBackend;
use relay_train::{OnDivergence, OptimizerConfig, Recovery, StopFlag, TrainConfig, read_manifest};

fn killed_run_ends_like_a_whole_one<B: AutodiffBackend>(optimizer: OptimizerConfig, kills: &[u64]) {
    let whole = tempfile::tempdir().unwrap();
    run::<B>(
        &trainer(config(optimizer.clone()), whole.path()),
        &StopFlag::new(),
    )
    .unwrap();
    let expected = end(whole.path());
    for &kill in kills {
        let dir = tempfile::tempdir().unwrap();
        let killed = trainer::<B>(config(optimizer.clone()), dir.path()).kill_after(kill);
        assert!(run(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
        // A later kill, after going on once.
        let again = trainer::<B>(config(optimizer.clone()), dir.path()).kill_after(kill + 3);
        let _interrupted = run(&again, &StopFlag::new());
        run::<B>(
            &trainer(config(optimizer.clone()), dir.path()),
            &StopFlag::new(),
        )
        .unwrap();
        assert!(end(dir.path()) == expected, "killed after {kill}");
    }
}

#[test]
fn adamw_on_flex() {
    killed_run_ends_like_a_whole_one::<Flex>(OptimizerConfig::adamw(), &[1, 3, 4, 8, 11]);
}

#[test]
fn muon_on_flex() {
    killed_run_ends_like_a_whole_one::<Flex>(OptimizerConfig::muon(0.02), &[2, 5, 10]);
}

#[test]
fn adamw_on_ndarray() {
    killed_run_ends_like_a_whole_one::<NdArray>(OptimizerConfig::adamw(), &[4]);
}

#[test]
fn muon_on_ndarray() {
    killed_run_ends_like_a_whole_one::<NdArray>(OptimizerConfig::muon(0.02), &[7]);
}

#[test]
fn a_stop_saves_where_it_is() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = config(OptimizerConfig::adamw());
    // Nothing goes wrong here; it is there for the flag that it can set.
    let sound = || Fragile::new(99, 0.0, 1.0);
    let trainer = |objective, settings: &TrainConfig, dir: &Path| {
        trainer_of(objective, settings.clone(), dir)
    };
    go(&trainer(sound(), &settings, whole.path()), &StopFlag::new()).unwrap();
    // Without regular checkpoints, at a step in the middle of a line of metrics.
    let settings = TrainConfig {
        checkpoint_every: 0,
        ..settings
    };
    let killed = trainer(sound(), &settings, dir.path()).kill_after(5);
    assert!(go(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
    assert!(!dir.path().join("step-000000005").exists());
    let stop = StopFlag::new();
    let stopped = Fragile {
        stop: Some((4, stop.clone())),
        ..sound()
    };
    let error = go(&trainer(stopped, &settings, dir.path()), &stop).unwrap_err();
    assert_eq!(error.to_string(), "stopped at step 5");
    assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 5);
    assert!(dir.path().join("step-000000005").exists());
    let resumed = trainer(sound(), &settings, dir.path());
    go(&resumed, &StopFlag::new()).unwrap();
    assert!(end(dir.path()) == end(whole.path()));
}

#[test]
fn who_listens_hears_every_line_and_may_stop_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let (heard, stop) = (Arc::new(Mutex::new(String::new())), StopFlag::new());
    let listening = |stop: &StopFlag| {
        let (heard, stop) = (Arc::clone(&heard), stop.clone());
        trainer::<Flex>(config(OptimizerConfig::adamw()), dir.path()).on_metrics(move |line| {
            *heard.lock().unwrap() += &format!("{line}\n");
            if line["kind"] == "valid" {
                stop.set();
            }
        })
    };
    let told = || fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    let error = run(&listening(&stop), &stop).unwrap_err();
    assert_eq!(error.to_string(), "stopped at step 5");
    assert_eq!(told(), *heard.lock().unwrap());
    run(&listening(&stop), &StopFlag::new()).unwrap();
    assert_eq!(told(), *heard.lock().unwrap());
}

#[test]
fn what_no_weight_depends_on_may_change_on_the_way() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = config(OptimizerConfig::adamw());
    let whole = run::<Flex>(&trainer(settings.clone(), whole.path()), &StopFlag::new()).unwrap();
    let killed = trainer::<Flex>(settings.clone(), dir.path()).kill_after(8);
    assert!(run(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
    let told_otherwise = TrainConfig {
        log_every: 5,
        validate_every: 2,
        validate_samples: 1,
        checkpoint_every: 4,
        keep_last: 1,
        ..settings.clone()
    };
    let resumed = run::<Flex>(&trainer(told_otherwise, dir.path()), &StopFlag::new()).unwrap();
    assert!(weights(&resumed.model) == weights(&whole.model));

    // Where a divergence ends the run, it hangs on when the loss is looked at.
    let ends = |log_every| TrainConfig {
        log_every,
        checkpoint_every: 6,
        recovery: Recovery {
            on_divergence: OnDivergence::End,
            ..Recovery::default()
        },
        ..settings.clone()
    };
    let dir = tempfile::tempdir().unwrap();
    let killed = trainer::<Flex>(ends(2), dir.path()).kill_after(8);
    assert!(run(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
    let error = run::<Flex>(&trainer(ends(3), dir.path()), &StopFlag::new()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("training.log_every is 2 there and 3 here"),
        "{error}"
    );

    // Numbers without a value send a run back to a checkpoint, whatever a divergence does.
    let goes_back = |checkpoint_every| TrainConfig {
        checkpoint_every,
        recovery: Recovery {
            retries: 1,
            ..Recovery::default()
        },
        ..settings.clone()
    };
    let dir = tempfile::tempdir().unwrap();
    let killed = trainer::<Flex>(goes_back(3), dir.path()).kill_after(8);
    assert!(run(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
    let error = run::<Flex>(&trainer(goes_back(4), dir.path()), &StopFlag::new()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("training.checkpoint_every is 3 there and 4 here"),
        "{error}"
    );
}

#[test]
fn a_line_of_metrics_cut_within_a_character_is_made_anew() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = || config(OptimizerConfig::adamw());
    run::<Flex>(&trainer(settings(), whole.path()), &StopFlag::new()).unwrap();
    let killed = trainer::<Flex>(settings(), dir.path()).kill_after(8);
    assert!(run(&killed, &StopFlag::new()).unwrap_err().is_interrupted());
    let cut = "{\"kind\":\"train\",\"step\":8,\"tasks\":{\"größ".as_bytes();
    let cut = &cut[..cut.len() - 1];
    for name in ["metrics.jsonl", "times.jsonl"] {
        let path = dir.path().join(name);
        let lines = fs::read(&path).unwrap();
        // Among the lines up to the checkpoint, after 6 updates, it is no trace of a kill.
        fs::write(&path, [cut, b"\n", &lines].concat()).unwrap();
        if name == "times.jsonl" {
            // Which is what no training is given up for.
            continue;
        }
        let error = run::<Flex>(&trainer(settings(), dir.path()), &StopFlag::new()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(name) && error.contains("line 1 is no line of it"),
            "{error}"
        );
        fs::write(&path, [&lines, cut].concat()).unwrap();
    }
    run::<Flex>(&trainer(settings(), dir.path()), &StopFlag::new()).unwrap();
    assert!(end(dir.path()) == end(whole.path()));
}

#[test]
fn a_finished_run_only_loads() {
    let dir = tempfile::tempdir().unwrap();
    let first = run::<Flex>(
        &trainer(config(OptimizerConfig::adamw()), dir.path()),
        &StopFlag::new(),
    )
    .unwrap();
    let before = end(dir.path());
    let second = run::<Flex>(
        &trainer(config(OptimizerConfig::adamw()), dir.path()),
        &StopFlag::new(),
    )
    .unwrap();
    assert_eq!(
        (first.steps, first.samples, first.checkpoint),
        (second.steps, second.samples, second.checkpoint)
    );
    assert!(end(dir.path()) == before);
    let (a, b) = (
        first.model.head_answer.weight.val().into_data(),
        second.model.head_answer.weight.val().into_data(),
    );
    assert_eq!(a, b);
}
