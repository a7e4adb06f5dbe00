//! Slots of a lent machine, on the CPU: a training in pieces ends as one in a whole.

#![cfg(unix)]
// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use common::program;
use serde_json::Value;

mod common;

fn slot(minutes: &str, out: &Path, options: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/gpu/run.sh");
    let mut command = Command::new(script);
    command
        .arg(program("gpu_slot"))
        .arg(minutes)
        .arg(out)
        .args(options);
    command.env("RUST_LOG", "error").output().unwrap()
}

/// A slot that ends well.
fn good_slot(minutes: &str, out: &Path, options: &[&str]) {
    let done = slot(minutes, out, options);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {said}", out.display());
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

const TRAINING: [&str; 6] = [
    "--preset",
    "smoke",
    "--device",
    "flex",
    "--set",
    "looped_aligned.train.log_every=10",
];

#[test]
fn slots_go_on_from_the_parts_of_the_one_before() {
    let place = tempfile::tempdir().unwrap();
    let whole = place.path().join("whole");
    let peak = ["--peak-tflops", "0.5", "--workers", "1"];
    good_slot("10", &whole, &[&TRAINING[..], &peak].concat());
    let bench = json(&whole.join("bench.json"));
    assert_eq!(bench["updates"], serde_json::json!([0, 60]));
    assert_eq!(bench["done"], true);
    for number in [
        "updates_per_second",
        "updates_per_second_later",
        "utilisation",
    ] {
        assert!(bench[number].as_f64().unwrap() > 0.0, "{number}: {bench}");
    }
    assert!(
        fs::read_to_string(whole.join("bench.md"))
            .unwrap()
            .contains("| updates | 0 to 60 |")
    );
    assert_eq!(
        fs::read_to_string(whole.join("metrics.jsonl"))
            .unwrap()
            .matches("train")
            .count(),
        6
    );

    // So little time that it takes several slots; the last one has enough.
    let mut before: Option<PathBuf> = None;
    for (number, minutes) in ["0.001", "0.002", "10"].into_iter().enumerate() {
        let out = place.path().join(format!("slot-{number}"));
        let from = before.map(|out| out.join("parts").to_str().unwrap().to_owned());
        let from: Vec<&str> = from.as_deref().map_or(vec![], |from| vec!["--from", from]);
        good_slot(minutes, &out, &[&from[..], &TRAINING].concat());
        before = Some(out);
    }
    let model = |out: &Path| fs::read(out.join("run/step-000000060/model.safetensors")).unwrap();
    let last = before.unwrap();
    assert_eq!(json(&last.join("bench.json"))["updates"][1], 60);
    assert!(model(&last) == model(&whole), "the weights differ");

    // Of what a slot's directory holds and what it is given, the newer is continued.
    let parts = |slot: &str| place.path().join(slot).join("parts");
    let made = |out: &Path| json(&out.join("bench.json"))["updates"].clone();
    let second = made(&place.path().join("slot-1"))[1].clone();
    let first = place.path().join("slot-0");
    for (out, from, begins) in [
        (&first, parts("slot-1"), second),
        (&whole, parts("slot-1"), 60.into()),
    ] {
        let from = ["--from", from.to_str().unwrap()];
        good_slot("10", out, &[&from[..], &TRAINING].concat());
        assert_eq!(made(out), serde_json::json!([begins, 60]));
        assert!(model(out) == model(&last), "the weights differ");
    }

    // What was damaged on the way is there again.
    let damaged = last.join("run/step-000000060/model.safetensors");
    fs::write(damaged, "no weights").unwrap();
    let from = parts("slot-2");
    let from = ["--from", from.to_str().unwrap()];
    good_slot("10", &last, &[&from[..], &TRAINING].concat());
    assert!(model(&last) == model(&whole), "the weights differ");
}

/// A machine that leads another, and its address once it waits.
fn leader(out: &Path) -> (Child, String) {
    let mut command = Command::new(program("gpu_slot"));
    command.args(["train", "--minutes", "10", "--machines", "2"]);
    command.args(["--listen", "127.0.0.1:0", "--out"]).arg(out);
    command.args(TRAINING).env("RUST_LOG", "info");
    let mut leader = command.stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(leader.stderr.take().unwrap());
    let mut lines = said.lines().map(Result::unwrap);
    let address = lines.find_map(|line| {
        let (_, rest) = line.split_once("waiting at ")?;
        Some(rest.split(' ').next().unwrap().to_owned())
    });
    // Or it would stop at a full pipe.
    thread::spawn(move || lines.for_each(drop));
    (leader, address.unwrap())
}

fn follower(address: &str, out: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(program("gpu_slot"));
    command.args(["train", "--join", address, "--out"]).arg(out);
    command.args(TRAINING).args(options);
    command.env("RUST_LOG", "error").output().unwrap()
}

#[test]
fn machines_share_a_training() {
    let place = tempfile::tempdir().unwrap();
    let (leads, follows) = (place.path().join("leads"), place.path().join("follows"));
    let (mut leader_1, address) = leader(&leads);
    // With other settings neither goes on.
    let done = follower(&address, &follows, &["--seed", "2"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("training.seed is"), "{said}");
    assert_eq!(leader_1.wait().unwrap().code(), Some(1));

    let (mut leader_2, address) = leader(&leads);
    let done = follower(&address, &follows, &["--workers", "2"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(done.stdout, b"followed to the end\n");
    assert!(leader_2.wait().unwrap().success());
    let bench = json(&leads.join("bench.json"));
    assert_eq!(
        (&bench["machines"], &bench["done"]),
        (&2.into(), &true.into())
    );
    assert_eq!(bench["updates"], serde_json::json!([0, 60]));
    assert_eq!(fs::read_dir(follows.join("run")).unwrap().count(), 0);
}

#[test]
fn a_follower_whose_time_is_over_ends_the_run_with_a_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let leads = place.path().join("leads");
    let (mut leader, address) = leader(&leads);
    // Its time is over at once.
    let done = follower(
        &address,
        &place.path().join("follows"),
        &["--minutes", "0.001"],
    );
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(told.contains("before its last update"), "{told}");
    assert!(leader.wait().unwrap().success());
    let bench = json(&leads.join("bench.json"));
    let made = bench["updates"][1].as_u64().unwrap();
    assert!(!bench["done"].as_bool().unwrap() && made < 60, "{bench}");
    assert!(
        leads
            .join(format!("run/step-{made:09}/manifest.json"))
            .exists()
    );
}

#[test]
fn damaged_parts_and_wrong_options_are_named() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("first");
    // No update is made in so little time, and there is a checkpoint all the same.
    let back = ["--set", r#"looped_aligned.train.recovery={"retries":1}"#];
    good_slot("0.001", &out, &[&back[..], &TRAINING].concat());
    let part = out.join("parts/part-0000");
    let mut bytes = fs::read(&part).unwrap();
    bytes[100] ^= 1;
    fs::write(&part, bytes).unwrap();
    let from = ["--from", out.to_str().unwrap()];
    let parts = format!("{}/parts", from[1]);
    let second = place.path().join("second");
    let done = slot(
        "1",
        &second,
        &[&["--from", &parts[..]][..], &TRAINING].concat(),
    );
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("part-0000: it was altered"), "{said}");

    for (options, reason) in [
        (["--arm", "ar_relay"], "no arm `ar_relay` to train"),
        (["--workers", "0"], "--workers is 0"),
        (["--device", "tpu"], "unknown device `tpu`"),
        (["--listen", "127.0.0.1:0"], "--machines must be at least 2"),
        (["--machines", "2"], "--listen <ADDRESS:PORT>"),
        (["--device", "ndarray"], "has no bf16"),
    ] {
        let none = place.path().join("none");
        let options = [&options[..], &["--preset", "smoke", "--precision", "bf16"]];
        let done = slot("1", &none, &options.concat());
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(!none.join("run").exists(), "{said}");
    }
}
