//! One training step of the looped model as the trainer makes it: four iterations, loss on each, backward pass, AdamW.
//! Samples per second at three sizes of model.

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
    for shape in [
        Shape::looped(64, 64, 32, 4),
        Shape::looped(128, 32, 48, 4),
        Shape::looped(256, 32, 64, 4),
    ] {
        let run = StepwiseRun::start(&shape).unwrap_or_else(|error| panic!("{error}"));
        let first = step(&run);
        group.throughput(Throughput::Elements(shape.batch as u64));
        group.bench_function(BenchmarkId::new("d", shape.d_model), |bencher| {
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
