//! Several machines make the update of one. Here they are several threads that talk over the loopback device.

use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::common::*;
use burn::tensor::backend::AutodiffBackend;
use relay_models::LoopedTransformer;
use relay_tasks::Example;
use relay_train::{
    Batching, ExampleSource, Followers, Leader, LoopedObjective, OptimizerConfig, Result, Resume,
    StopFlag, TaskSource, TrainConfig, TrainError, Trained, Trainer,
};

pub(crate) fn short(optimizer: OptimizerConfig) -> TrainConfig {
    TrainConfig {
        steps: 6,
        log_every: 1,
        ..config(optimizer)
    }
}

/// A trainer without dropout, whose masks depend on the number of workers.
pub(crate) fn plain<B: AutodiffBackend>(
    config: TrainConfig,
    workers: usize,
    dir: &Path,
) -> Trainer<B, LoopedObjective> {
    trainer_by(aligned(), &looped(0.0), config, dir)
        .more_devices(vec![B::Device::default(); workers - 1])
}

pub(crate) fn model<B: AutodiffBackend>(seed: u64) -> LoopedTransformer<B> {
    looped(0.0).init(&B::Device::default(), seed)
}

pub(crate) fn samples() -> relay_train::TaskSource {
    source(Batching::Mixed { samples: 13 })
}

/// How a run led by `lead` ends with one follower for each of `follow`: the leader's word first. They get the address of the
/// leader, and the followers that joined.
pub(crate) fn together<L: Send, F: Send>(
    lead: impl FnOnce(Followers) -> L + Send,
    follow: Vec<impl FnOnce(&str) -> F + Send>,
) -> (L, Vec<F>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let machines = follow.len();
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            let followers = Followers::gather(&listener, machines, &StopFlag::new());
            lead(followers.unwrap())
        });
        let all: Vec<_> = follow
            .into_iter()
            .map(|follow| scope.spawn(|| follow(&address)))
            .collect();
        let led = leader.join().unwrap();
        let followed = all.into_iter().map(|one| one.join().unwrap());
        (led, followed.collect())
    })
}

/// The usual follower. It begins with other weights, as it gets those of the leader.
pub(crate) fn follower<B: AutodiffBackend>(
    config: TrainConfig,
    workers: usize,
    stop: StopFlag,
) -> impl FnOnce(&str) -> Result<Vec<f32>> + Send {
    move |address| {
        let dir = tempfile::tempdir().unwrap();
        let leader = Leader::join(address, workers, &stop).unwrap();
        let trainer = plain::<B>(config, workers, dir.path());
        let followed = trainer.follow(model(99), &samples(), &leader, &stop)?;
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
        Ok(weights(&followed.model))
    }
}

pub(crate) fn lead<B: AutodiffBackend>(
    config: TrainConfig,
    workers: usize,
    dir: &Path,
) -> impl FnOnce(Followers) -> Result<Trained<LoopedTransformer<B>>> + Send {
    move |followers| {
        plain::<B>(config, workers, dir).lead(followers).run(
            model(3),
            &samples(),
            &examples(),
            Resume::Continue,
            &StopFlag::new(),
        )
    }
}

pub(crate) fn alone<B: AutodiffBackend>(
    config: TrainConfig,
    dir: &Path,
) -> Trained<LoopedTransformer<B>> {
    let trainer = plain::<B>(config, 1, dir);
    let stop = StopFlag::new();
    let run = trainer.run(model(3), &samples(), &examples(), Resume::Continue, &stop);
    run.unwrap()
}

fn many_make_the_updates_of_one<B: AutodiffBackend>(
    optimizer: OptimizerConfig,
    average: Option<f64>,
) {
    let config = TrainConfig {
        average,
        ..short(optimizer)
    };
    let place = tempfile::tempdir().unwrap();
    let right = alone::<B>(config.clone(), &place.path().join("alone"));
    for (own, others) in [(1, vec![1]), (2, vec![1, 3])] {
        let dir = place.path().join(format!("{own}"));
        let follow = others
            .into_iter()
            .map(|workers| follower::<B>(config.clone(), workers, StopFlag::new()));
        let (led, followed) = together(lead::<B>(config.clone(), own, &dir), follow.collect());
        let led = led.unwrap();
        near(&weights(&right.model), &weights(&led.model), "led");
        assert_eq!((led.samples, led.effort), (right.samples, right.effort));
        for found in followed {
            let found = found.unwrap();
            // Without an average the model of the leader is what it trains.
            match average {
                None => assert!(found == weights(&led.model), "not the leader's bits"),
                Some(_) => assert!(found != weights(&led.model)),
            }
        }
    }
}

#[test]
fn several_machines_make_the_updates_of_one_with_all_samples() {
    many_make_the_updates_of_one::<Flex>(OptimizerConfig::adamw(), None);
    many_make_the_updates_of_one::<Flex>(OptimizerConfig::muon(0.02), Some(0.9));
    many_make_the_updates_of_one::<NdArray>(OptimizerConfig::adamw(), None);
}

/// In one process one machine of two can have the collective layer: the leader here, or the follower.
fn one_machine_by_the_collective_layer(leads: bool, config: TrainConfig, right: &[f32]) {
    let place = tempfile::tempdir().unwrap();
    let dir = |name| place.path().join(name);
    let stop = StopFlag::new();
    let lead = |followers| {
        let trainer = plain::<Flex>(config.clone(), 2, &dir("led"));
        let trainer = trainer.collective(leads).lead(followers);
        let led = trainer.run(model(3), &samples(), &examples(), Resume::Fresh, &stop);
        weights(&led.unwrap().model)
    };
    let follow = |address: &str| {
        let leader = Leader::join(address, 3, &stop).unwrap();
        let trainer = plain::<Flex>(config.clone(), 3, &dir("followed")).collective(!leads);
        let followed = trainer.follow(model(99), &samples(), &leader, &stop);
        weights(&followed.unwrap().model)
    };
    let (led, followed) = together(lead, vec![follow]);
    near(right, &led, "led");
    assert!(followed[0] == led, "not the leader's bits");
}

#[test]
fn several_machines_do_so_where_one_has_the_collective_layer() {
    let _alone = the_layer();
    let place = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        average: None,
        ..short(OptimizerConfig::adamw())
    };
    let right = weights(&alone::<Flex>(config.clone(), place.path()).model);
    for leads in [true, false] {
        one_machine_by_the_collective_layer(leads, config.clone(), &right);
    }
}

#[test]
fn a_follower_that_is_asked_to_stop_ends_the_run_with_a_checkpoint_to_go_on_from() {
    let config = short(OptimizerConfig::adamw());
    let place = tempfile::tempdir().unwrap();
    let right = alone::<Flex>(config.clone(), &place.path().join("alone"));
    let dir = place.path().join("stopped");
    let stop = StopFlag::new();
    stop.set();
    let (led, followed) = together(
        lead::<Flex>(config.clone(), 1, &dir),
        vec![follow_joined(config.clone(), stop)],
    );
    let stopped = |error: TrainError| matches!(error, TrainError::Interrupted { step: 1 });
    assert!(stopped(led.unwrap_err()));
    assert!(stopped(followed.into_iter().next().unwrap().unwrap_err()));
    // Goes on without the machine that left, and with it again.
    let follow = follower::<Flex>(config.clone(), 2, StopFlag::new());
    let (led, followed) = together(lead::<Flex>(config, 1, &dir), vec![follow]);
    near(
        &weights(&right.model),
        &weights(&led.unwrap().model),
        "resumed",
    );
    assert!(followed[0].is_ok());
}

/// A follower whose flag is set only once it has joined: before that it would not.
fn follow_joined(config: TrainConfig, stop: StopFlag) -> impl FnOnce(&str) -> Result<()> + Send {
    move |address| {
        let dir = tempfile::tempdir().unwrap();
        let leader = Leader::join(address, 1, &StopFlag::new()).unwrap();
        let trainer = plain::<Flex>(config, 1, dir.path());
        let followed = trainer.follow(model(99), &samples(), &leader, &stop);
        followed.map(drop)
    }
}

/// The leader deals the shares of a batch to as many workers as were said to it.
#[test]
fn a_follower_has_as_many_devices_as_it_joined_with() {
    let place = tempfile::tempdir().unwrap();
    let config = short(OptimizerConfig::adamw());
    let follow = |address: &str| {
        let dir = tempfile::tempdir().unwrap();
        let stop = StopFlag::new();
        let leader = Leader::join(address, 3, &stop).unwrap();
        let trainer = plain::<Flex>(config.clone(), 2, dir.path());
        let followed = trainer.follow(model(99), &samples(), &leader, &stop);
        followed.map(drop).unwrap_err()
    };
    let (led, followed) = together(lead::<Flex>(config.clone(), 1, place.path()), vec![follow]);
    let right = "the number of workers named on joining is 3: it must be 2, the devices of the trainer that follows";
    for error in [led.unwrap_err(), followed.into_iter().next().unwrap()] {
        assert!(error.to_string().contains(right), "{error}");
    }
}

#[test]
fn other_settings_are_named_on_both_sides() {
    let place = tempfile::tempdir().unwrap();
    let config = short(OptimizerConfig::adamw());
    let other = TrainConfig {
        learning_rate: 1e-4,
        ..config.clone()
    };
    let follow = follower::<Flex>(other, 1, StopFlag::new());
    let (led, followed) = together(lead::<Flex>(config, 1, place.path()), vec![follow]);
    let error = followed.into_iter().next().unwrap().unwrap_err();
    assert!(matches!(error, TrainError::OtherSettings { .. }), "{error}");
    let right = "training.learning_rate is 0.003 there and 0.0001 here";
    assert!(error.to_string().contains(right), "{error}");
    let error = led.unwrap_err();
    assert!(matches!(error, TrainError::Machine { .. }), "{error}");
    assert!(error.to_string().contains(right), "{error}");
}

/// A source that does not say what it draws from.
#[derive(Debug)]
struct Silent(TaskSource);

impl ExampleSource for Silent {
    fn examples(&self, step: u64) -> Result<Vec<Example>> {
        self.0.examples(step)
    }
}

#[test]
fn other_data_are_named_on_both_sides() {
    let config = short(OptimizerConfig::adamw());
    for (silent, named) in [
        (
            false,
            ["data.batching.mixed.samples is 13 there", "12 here"],
        ),
        // Found out by the first batch.
        (
            true,
            [
                "the next update of this machine is 12 samples of",
                "it must be 13 samples of",
            ],
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        let follow = |address: &str| {
            let dir = tempfile::tempdir().unwrap();
            let leader = Leader::join(address, 1, &StopFlag::new()).unwrap();
            let trainer = plain::<Flex>(config.clone(), 1, dir.path());
            let other = source(Batching::Mixed { samples: 12 });
            let other: Box<dyn ExampleSource> = match silent {
                true => Box::new(Silent(other)),
                false => Box::new(other),
            };
            let followed = trainer.follow(model(99), other.as_ref(), &leader, &StopFlag::new());
            followed.map(drop)
        };
        let (led, followed) = together(lead::<Flex>(config.clone(), 1, place.path()), vec![follow]);
        let error = followed.into_iter().next().unwrap().unwrap_err();
        let error = error.to_string();
        for part in named {
            assert!(error.contains(part), "{error}");
        }
        assert!(led.unwrap_err().to_string().contains(&error));
    }
}
