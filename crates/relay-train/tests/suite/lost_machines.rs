//! Machines that are lost, strangers, and numbers that are not finite on several of them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::common::*;
use crate::fragile::{self, Fragile, limit, settings_with};
use crate::machines::{alone, follower, lead, model, plain, samples, short, together};
use relay_train::{
    Batching, Followers, Leader, OptimizerConfig, Recovery, Resume, StopFlag, TrainConfig,
    TrainError,
};

/// A machine that joins as a follower.
fn stranger(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let program = concat!("relay-train ", env!("CARGO_PKG_VERSION"));
    let join = format!(r#"{{"join":{{"program":"{program}","workers":1}}}}"#);
    stream.write_all(b"M").unwrap();
    stream
        .write_all(&(join.len() as u64).to_le_bytes())
        .unwrap();
    stream.write_all(join.as_bytes()).unwrap();
    stream
}

#[test]
fn a_machine_that_is_lost_ends_the_run_and_what_was_saved_is_good() {
    let place = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        checkpoint_every: 2,
        ..short(OptimizerConfig::adamw())
    };
    let right = alone::<Flex>(config.clone(), &place.path().join("alone"));
    let dir = place.path().join("lost");
    // It takes the beginning of the checkpoint that it is given, and falls silent for good.
    let lost = |address: &str| stranger(address).read_exact(&mut [0; 4000]).unwrap();
    let (led, _) = together(lead::<Flex>(config.clone(), 1, &dir), vec![lost]);
    let error = led.unwrap_err();
    assert!(matches!(error, TrainError::Machine { .. }), "{error}");
    let follow = follower::<Flex>(config.clone(), 1, StopFlag::new());
    let (led, _) = together(lead::<Flex>(config, 1, &dir), vec![follow]);
    near(
        &weights(&right.model),
        &weights(&led.unwrap().model),
        "resumed",
    );
}

/// It answers the system, but not the leader, as one does whose device hangs.
#[test]
fn a_leader_that_is_asked_to_stop_does_not_wait_for_a_silent_follower() {
    let dir = tempfile::tempdir().unwrap();
    let stop = StopFlag::new();
    let ended = Barrier::new(2);
    let silent = |address: &str| {
        let mut stream = stranger(address);
        // The checkpoint, and the call for the first update.
        loop {
            let (mut kind, mut length) = ([0], [0; 8]);
            stream.read_exact(&mut kind).unwrap();
            stream.read_exact(&mut length).unwrap();
            let mut frame = vec![0; u64::from_le_bytes(length) as usize];
            stream.read_exact(&mut frame).unwrap();
            if kind == *b"M" && frame.starts_with(br#"{"update""#) {
                break;
            }
        }
        stop.set();
        ended.wait();
    };
    let lead = |followers| {
        let config = short(OptimizerConfig::adamw());
        let trainer = plain::<Flex>(config, 1, dir.path()).lead(followers);
        let outcome = trainer.run(model(3), &samples(), &examples(), Resume::Continue, &stop);
        ended.wait();
        outcome
    };
    let (led, _) = together(lead, vec![silent]);
    let error = led.unwrap_err();
    let interrupted = matches!(error, TrainError::Interrupted { step: 0 });
    assert!(interrupted, "{error}");
}

#[test]
fn whoever_is_no_follower_is_sent_away() {
    let place = tempfile::tempdir().unwrap();
    let config = short(OptimizerConfig::adamw());
    let follow = |address: &str| {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // Closed without a word, or reset as there is something that was not read.
        let _ = stranger.read_to_end(&mut answer);
        assert!(answer.is_empty());
        follower::<Flex>(short(OptimizerConfig::adamw()), 1, StopFlag::new())(address)
    };
    let (led, followed) = together(lead::<Flex>(config, 1, place.path()), vec![follow]);
    assert!(led.is_ok() && followed[0].is_ok());
}

#[test]
fn who_has_joined_hears_that_there_will_be_no_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, joined) = (StopFlag::new(), StopFlag::new());
    thread::scope(|scope| {
        // The second of two never comes.
        let gathered = scope.spawn(|| Followers::gather(&listener, 2, &stop).map(drop));
        let followed = scope.spawn(|| {
            let dir = tempfile::tempdir().unwrap();
            let leader = Leader::join(&address, 1, &stop).unwrap();
            joined.set();
            let trainer = plain::<Flex>(short(OptimizerConfig::adamw()), 1, dir.path());
            let followed = trainer.follow(model(99), &samples(), &leader, &stop);
            followed.map(drop)
        });
        while !joined.is_set() {
            thread::sleep(Duration::from_millis(10));
        }
        // Many times as long as it takes to let it in.
        thread::sleep(Duration::from_secs(1));
        stop.set();
        let interrupted = |error| matches!(error, TrainError::Interrupted { step: 0 });
        assert!(interrupted(gathered.join().unwrap().unwrap_err()));
        assert!(interrupted(followed.join().unwrap().unwrap_err()));
    });
}

#[test]
fn a_follower_without_a_leader_heeds_a_stop() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let stop = StopFlag::new();
    thread::scope(|scope| {
        let joined = scope.spawn(|| Leader::join(&address.to_string(), 1, &stop));
        stop.set();
        let error = joined.join().unwrap().unwrap_err();
        assert!(
            matches!(error, TrainError::Interrupted { step: 0 }),
            "{error}"
        );
    });
}

#[test]
fn followers_are_good_for_one_run() {
    let place = tempfile::tempdir().unwrap();
    let config = short(OptimizerConfig::adamw());
    let twice = |followers: Followers| {
        let dir = |name| place.path().join(name);
        let first = lead::<Flex>(config.clone(), 1, &dir("1"))(followers.clone());
        assert!(first.is_ok());
        lead::<Flex>(config.clone(), 1, &dir("2"))(followers)
    };
    let follow = follower::<Flex>(config.clone(), 1, StopFlag::new());
    let (second, _) = together(twice, vec![follow]);
    let error = second.unwrap_err().to_string();
    assert!(error.contains("the number of followers is 0"), "{error}");
}

#[test]
fn a_leader_that_fails_or_is_gone_ends_its_followers() {
    let config = short(OptimizerConfig::adamw());
    let follow = || follower::<Flex>(config.clone(), 1, StopFlag::new());
    let (_, followed) = together(drop::<Followers>, vec![follow()]);
    let error = followed
        .into_iter()
        .next()
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(error.contains("it closed the connection"), "{error}");

    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("step-000000001");
    std::fs::create_dir(&file).unwrap();
    let (led, followed) = together(
        lead::<Flex>(config.clone(), 1, place.path()),
        vec![follow()],
    );
    let (led, followed) = (led.unwrap_err(), followed.into_iter().next().unwrap());
    let reason = followed.unwrap_err().to_string();
    assert!(reason.contains(&led.to_string()), "{reason}");
}

#[test]
fn all_go_back_together_when_numbers_are_not_finite() {
    let recovery = Recovery {
        patience: 3,
        retries: 2,
        rate_factor: 1e-3,
        ..Recovery::default()
    };
    let limit = limit(3, 5);
    let config = || settings_with(recovery.clone());
    let objective = || Fragile::new(5, limit, f32::NAN);
    let place = tempfile::tempdir().unwrap();
    // The fragile objective shares nothing out: the follower has nothing to do but to add zeros and to skip alike.
    let lead = |followers| {
        let trainer = fragile::trainer_of(objective(), config(), place.path()).lead(followers);
        fragile::go(&trainer, &StopFlag::new())
    };
    let follow = |address: &str| {
        let dir = tempfile::tempdir().unwrap();
        let stop = StopFlag::new();
        let leader = Leader::join(address, 1, &stop).unwrap();
        let trainer = fragile::trainer_of(objective(), config(), dir.path());
        let source = source(Batching::OneLength { tokens: 64 });
        let model = looped(0.1).init(&Default::default(), 7);
        let followed = trainer.follow(model, &source, &leader, &stop);
        followed.map(|followed| followed.steps)
    };
    let (led, followed) = together(lead, vec![follow]);
    let led = led.unwrap();
    assert_eq!((led.steps, led.recoveries), (12, 1));
    assert_eq!(followed.into_iter().next().unwrap().unwrap(), 12);
}
