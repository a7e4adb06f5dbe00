//! Chains per second of the looped and of the AR model, on the same arithmetic problems and with the same small block.
//!
//! The weights are untrained, so the AR model is made to write as many tokens as the right chain has.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use relay_benches::{Measured, Result, Shape};
use relay_models::{LoopedPrompts, generate_causal, generate_looped};
use relay_tasks::{Codec, Dataset, Example, LoopedBatch, Split, TaskConfig, write_chain};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROBLEMS: u64 = 32;
const OPERATORS: usize = 8;
/// No token: texts go on to their limit.
const NEVER: u32 = u32::MAX;

fn problems() -> Result<(Codec, Vec<Example>)> {
    let [arithmetic, ..] = TaskConfig::paper();
    let task = arithmetic.build()?;
    let codec = Codec::for_tasks(std::slice::from_ref(&task))?;
    let dataset = Dataset::new(task, OPERATORS..=OPERATORS, 1, Split::Test)?;
    let examples = (0..PROBLEMS).map(|index| Ok(codec.encode(&dataset.get(index)?)?));
    let examples = examples.collect::<Result<Vec<_>>>()?;
    Ok((codec, examples))
}

fn generation(criterion: &mut Criterion) -> Result<()> {
    let (codec, examples) = problems()?;
    let shape = Shape {
        vocab: codec.vocab.len(),
        ..Shape::looped(64, examples.len(), 1, 1)
    };
    let device = Default::default();
    let mut group = criterion.benchmark_group("generation");
    group
        .throughput(Throughput::Elements(PROBLEMS))
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));

    let looped = shape.looped_config().init::<Measured>(&device, 1);
    let batch = LoopedBatch::prompts(&examples.iter().collect::<Vec<_>>())?;
    let prompts = LoopedPrompts {
        tokens: batch.tokens,
        size: batch.size,
        width: batch.width,
        pads: batch.pads,
        iterations: batch.sample_iterations,
    };
    group.bench_function("looped", |bencher| {
        bencher.iter(|| {
            let chains = generate_looped(&looped, &prompts, &device);
            let chains = chains.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(chains.len(), examples.len());
            for (chain, example) in chains.iter().zip(&examples) {
                assert_eq!(chain.columns.len(), example.iterations);
            }
        });
    });

    let causal = shape.causal_config().init::<Measured>(&device, 1);
    let texts: Vec<Vec<u32>> = examples
        .iter()
        .map(|example| example.prompt.clone())
        .collect();
    let lengths = examples
        .iter()
        .map(|example| Ok(write_chain(&codec.tasks[0], example)?.len()));
    let lengths = lengths.collect::<Result<Vec<usize>>>()?;
    group.bench_function("ar", |bencher| {
        bencher.iter(|| {
            let chains = generate_causal(&causal, &texts, NEVER, &lengths, &device);
            let chains = chains.unwrap_or_else(|error| panic!("{error}"));
            let written = chains.iter().map(|chain| chain.tokens.len());
            assert!(
                written.eq(lengths.iter().copied()),
                "every text has its length"
            );
        });
    });
    group.finish();
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    generation(criterion).unwrap_or_else(|error| panic!("{error}"));
}

criterion_group!(all, benches);
criterion_main!(all);
