//! A tiny task, model and run that the tests share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::backend::Autodiff;
use burn::tensor::backend::AutodiffBackend;
use relay_models::{CausalConfig, DropoutKey, LoopedConfig, LoopedTransformer, TransformerConfig};
use relay_tasks::{
    ArithmeticConfig, Codec, Domain, Example, GroupLimits, LisConfig, LisValues, Split, Task,
    TaskConfig,
};
use relay_train::{
    Batching, CausalObjective, Effort, FileRecord, LoopedObjective, Manifest, Objective,
    OptimizerConfig, Result, Resume, StopFlag, TaskSource, TrainConfig, Trained, Trainer,
    read_manifest,
};
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

pub type Flex = Autodiff<burn::backend::Flex>;
pub type NdArray = Autodiff<burn::backend::NdArray<f32>>;

/// Dropout of the first batch of a run with seed 1.
pub const KEY: DropoutKey = DropoutKey {
    seed: 1,
    step: 0,
    batch: 0,
};

/// Held by tests whose runs have burn's collective layer, which serves one at a time.
pub fn the_layer() -> MutexGuard<'static, ()> {
    static LAYER: Mutex<()> = Mutex::new(());
    LAYER.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn tasks() -> Vec<Arc<dyn Task>> {
    tasks_with_runs(LisConfig::default().runs)
}

/// The same with other subsequences to draw.
pub fn tasks_with_runs(runs: [usize; 2]) -> Vec<Arc<dyn Task>> {
    let ari = ArithmeticConfig {
        domain: Domain::PrimeField { p: 5 },
        ..ArithmeticConfig::default()
    };
    let lis = LisConfig {
        group: 3,
        values: LisValues::Benchmark { max: 30 },
        runs,
    };
    [TaskConfig::Ari(ari), TaskConfig::Lis(lis)]
        .map(|config| config.build().unwrap())
        .to_vec()
}

pub fn codec() -> Codec {
    Codec::for_tasks(&tasks()).unwrap()
}

pub fn source(batching: Batching) -> TaskSource {
    TaskSource::new(tasks(), vec![1..=3, 4..=7], codec(), batching, None, 1).unwrap()
}

pub fn example(task: usize, length: usize, index: u64) -> Example {
    let problem = tasks()[task]
        .generate(7, Split::Valid, index, length)
        .unwrap();
    codec().encode(&problem).unwrap()
}

pub fn examples() -> Vec<Example> {
    let shapes = [
        (0, 1),
        (1, 4),
        (0, 3),
        (0, 2),
        (1, 7),
        (0, 3),
        (1, 5),
        (0, 1),
    ];
    (0..)
        .zip(shapes)
        .map(|(index, (task, length))| example(task, length, index))
        .collect()
}

pub fn transformer(dropout: f32) -> TransformerConfig {
    let vocab = codec().vocab.len();
    TransformerConfig {
        vocab,
        d_model: 16,
        heads: 2,
        layers: 1,
        mlp_ratio: 2,
        dropout,
        ..TransformerConfig::default()
    }
}

pub fn looped(dropout: f32) -> LoopedConfig {
    LoopedConfig {
        transformer: transformer(dropout),
        ..LoopedConfig::default()
    }
}

pub fn causal(dropout: f32) -> CausalConfig {
    CausalConfig {
        transformer: transformer(dropout),
    }
}

pub fn limits(max_samples: usize) -> GroupLimits {
    GroupLimits {
        max_samples,
        max_tokens: 0,
        max_waste: 0.9,
    }
}

pub fn aligned() -> LoopedObjective {
    LoopedObjective::aligned(0.7, vec![1.0, 2.0], limits(8), codec())
}

pub fn next_token() -> CausalObjective {
    CausalObjective::new(vec![1.0, 2.0], limits(8), codec())
}

pub fn config(optimizer: OptimizerConfig) -> TrainConfig {
    TrainConfig {
        steps: 12,
        learning_rate: 3e-3,
        warmup_ratio: 0.2,
        optimizer,
        average: Some(0.9),
        log_every: 4,
        validate_every: 5,
        validate_samples: 3,
        checkpoint_every: 3,
        ..TrainConfig::default()
    }
}

pub fn settings(config: &LoopedConfig) -> Value {
    serde_json::to_value(config).unwrap()
}

/// A trainer of a model with these settings by any objective.
pub fn trainer_by<B: AutodiffBackend, O: Objective<B>>(
    objective: O,
    model: &impl Serialize,
    config: TrainConfig,
    dir: &Path,
) -> Trainer<B, O> {
    let model = serde_json::to_value(model).unwrap();
    Trainer::new(config, objective, codec(), model, B::Device::default(), dir)
        .unwrap()
        .quiet(true)
}

pub fn trainer<B: AutodiffBackend>(config: TrainConfig, dir: &Path) -> Trainer<B, LoopedObjective> {
    trainer_by(aligned(), &looped(0.1), config, dir)
}

/// Runs the looped objective with dropout.
pub fn run<B: AutodiffBackend>(
    trainer: &Trainer<B, LoopedObjective>,
    stop: &StopFlag,
) -> Result<Trained<LoopedTransformer<B>>> {
    let model = looped(0.1).init::<B>(&B::Device::default(), 3);
    let source = source(Batching::Mixed { samples: 6 });
    trainer.run(model, &source, &examples(), Resume::Continue, stop)
}

/// Runs the looped objective by Muon and AdamW, with an average; goes on where there are checkpoints.
pub fn run_by_muon(dir: &Path) -> Result<Trained<LoopedTransformer<Flex>>> {
    let config = config(OptimizerConfig::muon(0.02));
    run(&trainer(config, dir), &StopFlag::new())
}

/// The directory of such a run, which has checkpoints after 9 and 12 updates, and the last of them.
pub fn trained() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    run_by_muon(dir.path()).unwrap();
    let newest = dir.path().join("step-000000012");
    (dir, newest)
}

/// Weights, averages and moments at the end of a run, the metrics, and what it cost.
pub fn end(dir: &Path) -> (Vec<Vec<u8>>, String, Effort) {
    let files = [
        "model.safetensors",
        "weights.safetensors",
        "optimizer.safetensors",
    ];
    (
        files.map(|file| saved(dir, 12, file)).to_vec(),
        fs::read_to_string(dir.join("metrics.jsonl")).unwrap(),
        read_manifest(dir).unwrap().counters.effort.unwrap(),
    )
}

/// The metrics of one kind.
pub fn lines(dir: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).collect()
}

/// Contents of a file of the checkpoint of `step`.
pub fn saved(dir: &Path, step: u64, file: &str) -> Vec<u8> {
    fs::read(dir.join(format!("step-{step:09}")).join(file)).unwrap()
}

/// A manifest's entry for a file with these bytes.
pub fn record(bytes: &[u8]) -> FileRecord {
    FileRecord {
        bytes: bytes.len() as u64,
        blake3: blake3::hash(bytes).to_hex().to_string(),
    }
}

/// The text of a manifest, with a digest that is right whatever it says.
pub fn sealed(mut manifest: Manifest) -> String {
    manifest.digest = String::new();
    let text = serde_json::to_string(&manifest).unwrap();
    manifest.digest = blake3::hash(text.as_bytes()).to_hex().to_string();
    serde_json::to_string_pretty(&manifest).unwrap()
}

/// Some of a model's weights, from its first to its last layer.
pub fn weights<B: AutodiffBackend>(model: &LoopedTransformer<B>) -> Vec<f32> {
    let layer = &model.block.layers[0];
    [
        model.block.embedding.val().into_data(),
        layer.query.val().into_data(),
        layer.down.val().into_data(),
        model.head_answer.weight.val().into_data(),
    ]
    .iter()
    .flat_map(|data| data.iter::<f32>())
    .collect()
}

#[track_caller]
pub fn near(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len());
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f32::max);
    assert!(off < 2e-4, "{what}: weights are off by {off}");
}
