//! Problems of each task made per second, tokens included: a million of each have to take less than a minute on two
//! cores. Nothing is kept from one problem to the next, so that memory stays flat. Then examples grouped and made into
//! host batches per second, for both kinds of model.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_tasks::{
    CausalBatch, Codec, Dataset, Example, GroupLimits, LoopedBatch, Result, Split, TaskConfig,
    group_causal, group_looped,
};

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
        .warm_up_time(Duration::from_secs(1))
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

/// Batches for the looped model; gives the samples in them.
fn batch_looped(examples: &[Example]) -> Result<usize> {
    let mut samples = 0;
    for group in group_looped(examples, &GroupLimits::default()) {
        let members: Vec<&Example> = group.iter().map(|&index| &examples[index]).collect();
        let batch = LoopedBatch::new(&members, 1.0)?;
        assert_eq!(
            batch.targets.len(),
            batch.iterations * batch.size * batch.width
        );
        samples += batch.size;
    }
    Ok(samples)
}

/// Batches for the AR model; gives the samples in them.
fn batch_causal(examples: &[Example], codec: &Codec) -> Result<usize> {
    let mut samples = 0;
    for group in group_causal(examples, &codec.tasks, &GroupLimits::default())? {
        let members: Vec<&Example> = group.iter().map(|&index| &examples[index]).collect();
        let batch = CausalBatch::new(&members, &codec.tasks[0], 1.0)?;
        assert_eq!(batch.targets.len(), batch.size * batch.width);
        samples += batch.size;
    }
    Ok(samples)
}

fn batching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batching");
    group
        .throughput(Throughput::Elements(PROBLEMS))
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    for (config, lengths) in TaskConfig::paper()
        .into_iter()
        .zip([1..=15, 1..=30, 1..=100])
    {
        let made = prepare(config, lengths, Split::Train).and_then(|(codec, dataset)| {
            let examples = (0..PROBLEMS).map(|index| codec.encode(&dataset.get(index)?));
            let examples = examples.collect::<Result<Vec<_>>>()?;
            Ok((codec, examples))
        });
        let (codec, examples) = made.unwrap_or_else(|error| panic!("{error}"));
        let whole = |samples: Result<usize>| {
            let samples = samples.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(samples as u64, PROBLEMS, "every example is in one batch");
        };
        group.bench_function(BenchmarkId::new(config.name(), "looped"), |bencher| {
            bencher.iter(|| whole(batch_looped(black_box(&examples))));
        });
        group.bench_function(BenchmarkId::new(config.name(), "ar"), |bencher| {
            bencher.iter(|| whole(batch_causal(black_box(&examples), &codec)));
        });
    }
    group.finish();
}

criterion_group!(benches, data, batching);
criterion_main!(benches);
