//! Problems of each task made per second, tokens included: a million of each have to take less than a minute on two
//! cores. Nothing is kept from one problem to the next, so that memory stays flat.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_tasks::{Codec, Dataset, Result, Split, TaskConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Problems to a measurement, half of them on each of two threads.
const PROBLEMS: u64 = 2000;

fn prepare(
    config: TaskConfig,
    lengths: RangeInclusive<usize>,
    split: Split,
) -> Result<(Codec, Dataset)> {
    let task = config.build()?;
    Ok((
        Codec::for_tasks(&[Arc::clone(&task)])?,
        Dataset::new(task, lengths, 1, split)?,
    ))
}

/// Makes the problems `indices` of a data set as tokens; gives the number of tokens of their steps.
fn make(dataset: &Dataset, codec: &Codec, indices: std::ops::Range<u64>) -> usize {
    let mut tokens = 0;
    for index in indices {
        let Ok(problem) = dataset.get(index) else {
            return 0;
        };
        let Ok(example) = codec.encode(&problem) else {
            return 0;
        };
        assert_eq!(example.steps.len(), example.iterations);
        assert_eq!(example.length, dataset.length_of(index));
        tokens += example.steps.iter().map(Vec::len).sum::<usize>();
    }
    tokens
}

fn make_on_two_threads(dataset: &Dataset, codec: &Codec) -> usize {
    thread::scope(|scope| {
        let half = scope.spawn(|| make(dataset, codec, 0..PROBLEMS / 2));
        let rest = make(dataset, codec, PROBLEMS / 2..PROBLEMS);
        half.join().map_or(0, |half| half + rest)
    })
}

fn data(criterion: &mut Criterion) {
    let trained: [RangeInclusive<usize>; 3] = [1..=15, 1..=30, 1..=100];
    let tested: [RangeInclusive<usize>; 3] = [15..=25, 30..=40, 100..=120];
    let mut group = criterion.benchmark_group("data");
    group
        .throughput(Throughput::Elements(PROBLEMS))
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for (config, (train, test)) in TaskConfig::paper()
        .into_iter()
        .zip(trained.into_iter().zip(tested))
    {
        for (split, lengths) in [(Split::Train, train), (Split::Test, test)] {
            let made = prepare(config, lengths, split);
            let (codec, dataset) = made.unwrap_or_else(|error| panic!("{error}"));
            let expected = make(&dataset, &codec, 0..PROBLEMS);
            assert!(expected > PROBLEMS as usize, "every problem has steps");
            group.bench_function(BenchmarkId::new(config.name(), split), |bencher| {
                bencher.iter(|| {
                    let tokens = make_on_two_threads(black_box(&dataset), &codec);
                    assert_eq!(tokens, expected, "two threads make what one does");
                    tokens
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, data);
criterion_main!(benches);
