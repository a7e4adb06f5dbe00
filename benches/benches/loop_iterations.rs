//! What an iteration of the looped model costs, in time and memory, for one iteration up to 32.
//!
//! Time a step should grow in proportion to the iterations: the bench reports iterations per second. Memory without
//! gradients should stay flat, and with them grow by the same for every iteration; a table of the peaks stands before
//! the times and in `target/criterion/loop_iterations.json`.

use std::fs;
use std::path::Path;
use std::time::Duration;

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

/// MiB at the peak of `run`.
fn peak(run: impl FnOnce() -> f64) -> Option<f64> {
    let peak = PeakMemory::start()?;
    run();
    peak.mebibytes()
}

/// Before anything else has run, and few iterations first: buffers are kept for reuse.
fn memory() {
    let peaks = |run: fn(&LoopedWork) -> f64| ITERATIONS.map(|t| peak(|| run(&work(t))));
    let (without, with) = (peaks(forward), peaks(forward_backward));
    println!("iterations   forward, MiB at peak   forward and backward, MiB at peak");
    let shown = |peak: Option<f64>| peak.map_or("unknown".to_owned(), |mib| format!("{mib:.0}"));
    for ((t, without), with) in ITERATIONS.iter().zip(without).zip(with) {
        println!("{t:>10}   {:>20}   {:>33}", shown(without), shown(with));
    }
    let table =
        json!({ "iterations": ITERATIONS, "forward_mib": without, "forward_backward_mib": with });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/criterion");
    let written = fs::create_dir_all(&path)
        .and_then(|()| fs::write(path.join("loop_iterations.json"), table.to_string()));
    if let Err(error) = written {
        println!("loop_iterations.json could not be written: {error}");
    }
}

fn loop_iterations(criterion: &mut Criterion) {
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
