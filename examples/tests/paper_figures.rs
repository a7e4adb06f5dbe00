//! `paper_figures` killed while its seeds are trained: the same command makes what it would have made.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use common::program;
use relay_pipeline::{Aggregate, Results};

mod common;

fn paper_figures(out: &Path) -> Command {
    let mut command = Command::new(program("paper_figures"));
    let args = "--preset smoke --seeds 1,2 --single-task=none --jobs 1 --out";
    command.args(args.split(' ')).arg(out);
    command.env("RUST_LOG", "error").stdout(Stdio::null());
    command
}

/// Kills the command once there is `file`.
fn killed_at(file: &Path, mut command: Command) {
    let mut child = command.spawn().unwrap();
    let clock = Instant::now();
    while !file.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
        let waited = clock.elapsed();
        assert!(waited < Duration::from_secs(300), "no {}", file.display());
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killed_while_it_trains_writes_and_measures_it_makes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    assert!(paper_figures(&whole).status().unwrap().success());
    for place in [
        "seed-1/looped_aligned/metrics.jsonl",
        "seed-1/chains/done.json",
        "seed-2/ar_self_loop/phase-2",
        "seed-2/evaluation",
    ] {
        killed_at(&killed.join(place), paper_figures(&killed));
    }
    assert!(paper_figures(&killed).status().unwrap().success());
    for seed in ["seed-1", "seed-2"] {
        let [a, b] = [&whole, &killed]
            .map(|out| Results::load(&out.join(seed).join("results.json")).unwrap());
        assert_eq!(a.arms, b.arms, "{seed}");
        assert_eq!(a.written_chains, b.written_chains, "{seed}");
        assert_eq!(a.claims, b.claims, "{seed}");
    }
    let [a, b] = [&whole, &killed].map(|out| Aggregate::load(&out.join("aggregate.json")).unwrap());
    assert_eq!((a.arms, a.claims), (b.arms, b.claims));
    for file in ["report.html", "figures/answer_accuracy.png"] {
        assert!(
            fs::metadata(killed.join(file)).unwrap().len() > 1000,
            "{file}"
        );
    }
}

#[test]
fn what_did_not_fail_is_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("figures");
    assert!(paper_figures(&out).status().unwrap().success());
    // A file stands where a stage of the second seed has its directory.
    let stage = out.join("seed-2/ar_relay");
    fs::remove_dir_all(&stage).unwrap();
    fs::write(&stage, "in the way").unwrap();
    let ended = paper_figures(&out).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    for part in ["ar_relay", "1 of 2 runs failed"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let all = Aggregate::load(&out.join("aggregate.json")).unwrap();
    let seeds: Vec<u64> = all.runs.iter().map(|run| run.seed).collect();
    assert_eq!(seeds, [1]);
}
