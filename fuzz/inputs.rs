//! What is done with arbitrary bytes: one function a kind of input, which must neither panic nor contradict itself.
//!
//! This file has three users: the targets of `cargo fuzz` beside it, `examples/fuzz_inputs.rs`, which needs no other
//! tools than stable Rust, and the property tests of the examples.

use std::{io::Cursor, path::Path, sync::Arc};

use relay_models::{decode_causal, decode_looped};
use relay_pipeline::Settings;
use relay_tasks::{
    ArithmeticConfig, BenchmarkLine, BenchmarkReader, Chain, Codec, Domain, EOS, Example,
    JsonlReader, LisConfig, LisValues, Problem, Record, Task, TaskConfig, align, hits,
    read_benchmark_line, read_chain, read_step, score, write_benchmark_line, write_chain,
};
use relay_train::{Manifest, TrainConfig};

mod noise;

use noise::Noise;

/// A kind of input by name, and what is done with it.
pub type Input = (&'static str, fn(&[u8]));

/// All kinds of inputs.
pub const INPUTS: [Input; 6] = [
    ("problems", problems),
    ("jsonl", jsonl),
    ("benchmark", benchmark),
    ("settings", settings),
    ("manifest", manifest),
    ("chains", chains),
];

thread_local! {
    static TASKS: Vec<Arc<dyn Task>> = tasks();
    static CODEC: Codec = match Codec::for_tasks(&tasks()[..3]) {
        Ok(codec) => codec,
        Err(error) => panic!("{error}"),
    };
}

/// The paper's tasks, and two in other dialects.
fn tasks() -> Vec<Arc<dyn Task>> {
    let field = ArithmeticConfig {
        domain: Domain::Integers { max: 249 },
        ..ArithmeticConfig::default()
    };
    let fixed = LisConfig {
        group: 1,
        values: LisValues::Benchmark { max: 30 },
        ..LisConfig::default()
    };
    let paper = TaskConfig::paper().into_iter();
    paper
        .chain([TaskConfig::Ari(field), TaskConfig::Lis(fixed)])
        .filter_map(|config| config.build().ok())
        .collect()
}

/// Text as the problem of every task: what can be solved is solved, and its own solution is right.
pub fn problems(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\n');
    let prompt = parts.next().unwrap_or_default();
    let (step, answer) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    TASKS.with(|tasks| {
        for task in tasks {
            let _ = task.check_step(prompt, data.len() % 5, Some(step), step);
            let _ = task.check_chain(prompt, &[step.to_owned()], answer);
            let (length, solution) = (task.length(prompt), task.solve(prompt));
            assert!(
                length.is_ok() || solution.is_err(),
                "solved without a length: {prompt:?}"
            );
            let Ok(solution) = solution else { continue };
            let right = task.check_chain(prompt, &solution.steps, &solution.answer);
            assert!(matches!(right, Ok(true)), "{prompt:?} is solved wrong");
            let iterations = task.iterations(prompt);
            assert!(
                matches!(iterations, Ok(n) if n == solution.steps.len()),
                "{prompt:?}"
            );
            let width = task.step_width(prompt).unwrap_or(0);
            let widest = solution
                .steps
                .iter()
                .map(|step| step.split(' ').count())
                .max();
            assert!(
                widest.unwrap_or(0) <= width,
                "{prompt:?} has a step wider than {width}"
            );
        }
    });
}

/// A JSONL file, strict and forgiving; what is read comes back from its own line, and what can be encoded can be aligned.
pub fn jsonl(data: &[u8]) {
    let name = Path::new("fuzz.jsonl");
    for skip_bad in [false, true] {
        let mut reader = JsonlReader::new(Cursor::new(data), name).skip_bad(skip_bad);
        let mut lines = 0;
        for record in reader.by_ref() {
            lines += 1;
            let Ok(record) = record else { break };
            let again = serde_json::to_string(&record).map(|line| Record::parse(&line));
            assert!(
                matches!(again, Ok(Ok(again)) if again == record),
                "{record:?}"
            );
        }
        let all = data.split(|byte| *byte == b'\n').count() + 1;
        assert!(lines + reader.skipped() <= all, "more lines than there are");
    }
    let mut reader = JsonlReader::new(Cursor::new(data), name)
        .skip_bad(true)
        .default_task("own");
    let mut problems: Vec<Problem> = Vec::new();
    while let Some(Ok(problem)) = reader.next_problem() {
        problems.push(problem);
    }
    let Ok(codec) = Codec::from_problems(&problems, &[]) else {
        return;
    };
    for problem in &problems {
        if let Ok(example) = codec.encode(problem) {
            round_trip(&codec, &example);
        }
    }
}

/// An example is aligned, written as a chain, and found again.
fn round_trip(codec: &Codec, example: &Example) {
    let aligned = align(example, example.width);
    let rows = example.width * example.steps.len();
    assert!(
        matches!(aligned, Ok(aligned) if aligned.targets.len() == rows),
        "{example:?}"
    );
    let info = &codec.tasks[example.task];
    let Ok(tokens) = write_chain(info, example) else {
        return;
    };
    let chain = read_chain(info, &tokens);
    assert_eq!(
        (&chain.steps, chain.answer),
        (&example.steps, example.answer)
    );
    let score = score(example, &chain);
    assert!(
        score.answer && score.chain && score.right == score.total,
        "{example:?}"
    );
}

/// A file of the benchmark: what is read is a problem of the task, and its line is read as the same again.
pub fn benchmark(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    TASKS.with(|tasks| {
        for task in tasks {
            let name = Path::new("fuzz.txt");
            let reader = BenchmarkReader::new(Arc::clone(task), Cursor::new(data), name);
            assert!(reader.skip_bad(true).take_while(Result::is_ok).count() <= data.len() + 1);
            for line in text.lines() {
                let Ok(problem) = read_benchmark_line(task.as_ref(), line) else {
                    continue;
                };
                assert!(task.length(&problem.prompt).is_ok(), "{line:?}");
                let right = task.check_chain(&problem.prompt, &problem.steps, &problem.answer);
                if !matches!(right, Ok(true)) {
                    continue;
                }
                let again = write_benchmark_line(&problem, BenchmarkLine::Chain)
                    .and_then(|line| read_benchmark_line(task.as_ref(), &line));
                assert!(matches!(again, Ok(again) if again == problem), "{line:?}");
            }
        }
    });
}

/// A settings file: read, checked, and the same again after writing.
pub fn settings(data: &[u8]) {
    if let Ok(config) = serde_json::from_slice::<TrainConfig>(data) {
        let _ = config.validate();
    }
    if let Ok(config) = serde_json::from_slice::<TaskConfig>(data) {
        let _ = config.build();
    }
    let Ok(settings) = serde_json::from_slice::<Settings>(data) else {
        return;
    };
    if settings.validate().is_err() {
        return;
    }
    let again = serde_json::to_vec(&settings).map(|text| serde_json::from_slice::<Settings>(&text));
    assert!(
        matches!(again, Ok(Ok(again)) if again == settings),
        "{settings:?}"
    );
}

/// A checkpoint's manifest: it is refused unless it is what a checkpoint wrote.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else {
        return;
    };
    let again = serde_json::to_vec_pretty(&manifest);
    assert!(
        matches!(again, Ok(again) if again == data),
        "another text passes for {manifest:?}"
    );
}

/// Logits of whatever the bytes say, decoded by both kinds of models' bookkeeping; and the bytes as tokens.
pub fn chains(data: &[u8]) {
    CODEC.with(|codec| {
        let (head, values) = data.split_at(data.len().min(3));
        let of = |index: usize| head.get(index).map_or(1, |byte| usize::from(*byte));
        let (vocab, width, samples) = (1 + of(0) % 40, 1 + of(1) % 6, 1 + of(2) % 3);
        let values: Vec<f32> = values
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        let mut model = Noise {
            values,
            vocab,
            width,
            rows: samples,
            drawn: 0,
        };
        let iterations: Vec<usize> = (0..samples)
            .map(|sample| 1 + (of(0) + sample) % 4)
            .collect();
        for (chain, iterations) in decode_looped(&mut model, width, &iterations)
            .iter()
            .zip(&iterations)
        {
            assert_eq!(
                (chain.columns.len(), chain.probabilities.len()),
                (*iterations, *iterations)
            );
            for (tokens, probabilities) in chain.columns.iter().zip(&chain.probabilities) {
                assert_eq!((tokens.len(), probabilities.len()), (width, width));
                certain(tokens, probabilities, vocab);
                let step = read_step(tokens);
                assert!(step.len() <= width && tokens.ends_with(step));
            }
            certain(&[chain.answer], &[chain.answer_probability], vocab);
        }
        model.rows = samples;
        let limits: Vec<usize> = (0..samples)
            .map(|sample| (of(1) + 5 * sample) % 12)
            .collect();
        for (chain, limit) in decode_causal(&mut model, EOS, &limits).iter().zip(limits) {
            assert!(chain.tokens.len() <= limit);
            certain(
                &chain.tokens,
                &chain.probabilities[..chain.tokens.len()],
                vocab,
            );
        }
        let tokens: Vec<u32> = data.iter().map(|byte| u32::from(*byte)).collect();
        for (task, info) in codec.tasks.iter().enumerate() {
            let chain: Chain = read_chain(info, &tokens);
            let truth = Example {
                task,
                length: 1,
                iterations: 1,
                width: 4,
                prompt: vec![3, 4],
                steps: vec![tokens.iter().copied().take(4).collect()],
                answer: tokens.first().copied(),
            };
            let score = score(&truth, &chain);
            assert!(score.right <= score.total);
            assert_eq!(hits(&truth, &chain, width)[0].len(), width);
            let text = codec.decode_chain(&truth, &chain);
            assert_eq!(text.steps.len(), chain.steps.len());
        }
    });
}

/// Tokens within the vocabulary, with probabilities that are some.
fn certain(tokens: &[u32], probabilities: &[f32], vocab: usize) {
    assert!(tokens.iter().all(|token| (*token as usize) < vocab));
    assert!(
        probabilities.iter().all(|p| (0.0..=1.0).contains(p)),
        "{probabilities:?}"
    );
}
