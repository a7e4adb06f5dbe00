//! One training step as the trainer makes it, in samples per second: of the looped model at three sizes, four iterations with a loss
//! on each, and of the auto-regressive one on texts of 504 columns; loss, backward pass, AdamW.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_benches::{Shape, StepwiseRun};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn step(run: &StepwiseRun) -> f64 {
    let loss = run.step().unwrap_or_else(|error| panic!("{error}"));
    assert!(loss > 0.0 && loss < 40.0, "a loss of {loss}");
    loss
}

fn training_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training_step");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(2))
        .measurement_time(Duration::from_secs(6));
    type Start = fn(&Shape) -> relay_benches::Result<StepwiseRun>;
    let runs: [(&str, Start, Shape); 4] = [
        ("looped", StepwiseRun::looped, Shape::looped(64, 64, 32, 4)),
        ("looped", StepwiseRun::looped, Shape::looped(128, 32, 48, 4)),
        ("looped", StepwiseRun::looped, Shape::looped(256, 32, 64, 4)),
        ("ar", StepwiseRun::causal, Shape::causal(256, 8, 45, 460)),
    ];
    for (name, start, shape) in runs {
        let run = start(&shape).unwrap_or_else(|error| panic!("{error}"));
        let first = step(&run);
        group.throughput(Throughput::Elements(shape.batch as u64));
        group.bench_function(BenchmarkId::new(name, shape.d_model), |bencher| {
            bencher.iter(|| step(&run));
        });
        let last = step(&run);
        assert!(
            last < first,
            "from {first} to {last}: the same batch again and again has to be learnt"
        );
    }
    group.finish();
}

criterion_group!(benches, training_step);
criterion_main!(benches);
