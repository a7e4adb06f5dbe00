//! Train, save, load, generate: with a task that the crates do not know.

use std::sync::Arc;

use burn::{
    backend::{Autodiff, Flex},
    module::AutodiffModule,
};
use outside::Countdown;
use relay_models::{LoopedConfig, TransformerConfig};
use relay_tasks::{Codec, Example, GroupLimits, Split, Task};
use relay_train::{
    Batching, Checkpoint, LoopedObjective, Resume, StopFlag, TaskSource, TrainConfig, Trainer, write_looped_chains,
};

type Train = Autodiff<Flex>;

#[test]
fn trains_saves_loads_and_generates() {
    let task: Arc<dyn Task> = Arc::new(Countdown { largest: 30 });
    let codec = Codec::for_tasks(&[Arc::clone(&task)]).unwrap();
    let transformer = TransformerConfig {
        vocab: codec.vocab.len(),
        d_model: 32,
        heads: 4,
        layers: 1,
        dropout: 0.0,
        ..TransformerConfig::default()
    };
    let config = LoopedConfig { transformer, ..LoopedConfig::default() };
    let device = Default::default();
    let dir = tempfile::tempdir().unwrap();

    let train = TrainConfig { steps: 20, ..TrainConfig::default() };
    let batching = Batching::Mixed { samples: 16 };
    let source = TaskSource::new(vec![Arc::clone(&task)], vec![1..=4], codec.clone(), batching, None, 1).unwrap();
    let objective = LoopedObjective::aligned(1.0, Vec::new(), GroupLimits::default(), codec.clone());
    let settings = serde_json::to_value(&config).unwrap();
    let trainer =
        Trainer::new(train, objective, codec.clone(), settings, device, dir.path()).unwrap();
    let model = config.init::<Train>(&device, 1);
    let trained = trainer.run(model, &source, &[], Resume::Continue, &StopFlag::default()).unwrap();

    let problems: Vec<Example> = (0..8)
        .map(|index| codec.encode(&task.generate(1, Split::Test, index, 3).unwrap()).unwrap())
        .collect();
    let write = |model: &_| write_looped_chains(model, &problems, &device).unwrap();
    let before = write(&trained.model.valid());
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.manifest().codec, codec);
    assert_eq!(write(&checkpoint.looped(&device).unwrap()), before);
    assert!(before.iter().all(|chain| chain.steps.len() == 3 && chain.answer.is_some()));
}
