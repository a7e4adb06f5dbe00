//! What an iteration of the looped model costs, in time and memory, for one iteration up to 32.
//!
//! Time a step should grow in proportion to the iterations: the bench reports iterations per second. Memory without
//! gradients should stay flat, and with them grow by the same for every iteration; a table of the peaks stands before
//! the times and in `target/criterion/loop_iterations.json`.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::Duration;
use std::{env, fs};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_benches::{LoopedWork, PeakMemory, Shape};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ITERATIONS: [usize; 6] = [1, 2, 4, 8, 16, 32];

fn work(iterations: usize) -> LoopedWork {
    let work = LoopedWork::new(&Shape::looped(128, 16, 48, iterations));
    work.unwrap_or_else(|error| panic!("{error}"))
}

fn forward(work: &LoopedWork) -> f64 {
    let sum = work.forward();
    assert!(sum.is_finite(), "logits that add up to {sum}");
    sum
}

fn forward_backward(work: &LoopedWork) -> f64 {
    let (loss, norm) = work.backward();
    assert!(loss > 0.0 && loss < 40.0, "a loss of {loss}");
    assert!(norm > 0.0 && norm.is_finite(), "a gradient of {norm}");
    loss
}

/// Set in a process that measures one peak only: `forward` or `backward`, and the iterations.
const POINT: &str = "RELAY_PEAK_OF";

/// MiB at the peak of `run`.
fn peak(run: impl FnOnce() -> f64) -> Option<f64> {
    let peak = PeakMemory::start()?;
    run();
    peak.mebibytes()
}

/// The peak that `point` names.
fn peak_of(point: &str) -> Option<f64> {
    let (kind, iterations) = point.split_once(' ')?;
    let iterations = iterations.parse().ok()?;
    let run = if kind == "forward" {
        forward
    } else {
        forward_backward
    };
    peak(|| run(&work(iterations)))
}

/// The same in a process of its own, because buffers are kept for reuse: a peak would stand on what was there before.
fn peak_alone(point: &str) -> Option<f64> {
    let this = Command::new(env::current_exe().ok()?)
        .env(POINT, point)
        .output();
    String::from_utf8(this.ok()?.stdout)
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn memory() {
    let peaks = |kind: &str| ITERATIONS.map(|t| peak_alone(&format!("{kind} {t}")));
    let (without, with) = (peaks("forward"), peaks("backward"));
    println!("iterations   forward, MiB at peak   forward and backward, MiB at peak");
    let shown = |peak: Option<f64>| peak.map_or("unknown".to_owned(), |mib| format!("{mib:.0}"));
    for ((t, without), with) in ITERATIONS.iter().zip(without).zip(with) {
        println!("{t:>10}   {:>20}   {:>33}", shown(without), shown(with));
    }
    let table =
        json!({ "iterations": ITERATIONS, "forward_mib": without, "forward_backward_mib": with });
    // `cargo test` runs this, too, in a build that is no measurement.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let path = target.join("criterion");
    let written = fs::create_dir_all(&path)
        .and_then(|()| fs::write(path.join("loop_iterations.json"), table.to_string()));
    if let Err(error) = written {
        println!("loop_iterations.json could not be written: {error}");
    }
}

fn loop_iterations(criterion: &mut Criterion) {
    if let Ok(point) = env::var(POINT) {
        if let Some(mebibytes) = peak_of(&point) {
            println!("{mebibytes}");
        }
        exit(0);
    }
    memory();
    let mut group = criterion.benchmark_group("loop_iterations");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    for iterations in ITERATIONS {
        let work = work(iterations);
        group.throughput(Throughput::Elements(iterations as u64));
        group.bench_function(BenchmarkId::new("forward", iterations), |bencher| {
            bencher.iter(|| forward(&work));
        });
        group.bench_function(
            BenchmarkId::new("forward_backward", iterations),
            |bencher| {
                bencher.iter(|| forward_backward(&work));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, loop_iterations);
criterion_main!(benches);
