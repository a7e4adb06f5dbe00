//! Checkpoints whose hashes are right and whose contents are not: an error that says what and where, never a panic.

use std::{collections::BTreeMap, fs, path::Path};

use crate::common::*;
use relay_train::{
    Batching, Checkpoint, Effort, LoopedObjective, Manifest, OptimizerConfig, Resume, StopFlag,
    TaskWindow, TrainConfig, TrainError, read_manifest,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// Kind, shape and bytes of the tensors of a file.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

const OPTIMIZER: &str = "optimizer.safetensors";
const WEIGHTS: &str = "weights.safetensors";

/// What going on from the checkpoint says against it.
fn refused(dir: &Path, newest: &Path) -> String {
    let error = run_by_muon(dir).unwrap_err();
    assert!(
        matches!(&error, TrainError::Checkpoint { path, .. } if path == newest),
        "{error}"
    );
    error.to_string()
}

/// Changes the manifest of a checkpoint.
fn change(checkpoint: &Path, change: impl FnOnce(&mut Manifest)) {
    let path = checkpoint.join("manifest.json");
    let mut manifest = Manifest::parse(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, sealed(manifest)).unwrap();
}

/// Changes the tensors of one of the files.
fn change_tensors(checkpoint: &Path, name: &str, change_them: impl FnOnce(&mut Tensors)) {
    let path = checkpoint.join(name);
    let bytes = fs::read(&path).unwrap();
    let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            let held = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), held)
        })
        .collect();
    change_them(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(&path, &bytes).unwrap();
    change(checkpoint, |manifest| {
        manifest.files.insert(name.to_owned(), record(&bytes));
    });
}

/// Memory is taken for the parameters that the file may hold, not for those that its settings tell of.
#[test]
fn a_model_larger_than_its_file_is_refused_before_memory_is_taken() {
    let (dir, newest) = trained();
    change(&newest, |manifest| {
        manifest.model["transformer"]["d_model"] = (1 << 16).into();
    });
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let error = checkpoint.looped::<burn::backend::Flex>(&Default::default());
    let error = error.unwrap_err().to_string();
    let says = "model.safetensors has room for";
    assert!(error.contains(says), "{error}");
}

/// Whole numbers as a tensor.
fn whole(numbers: &[i64]) -> (Dtype, Vec<usize>, Vec<u8>) {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    (Dtype::I64, vec![numbers.len()], bytes.collect())
}

/// Zeros as a tensor.
fn zeros(shape: &[usize]) -> (Dtype, Vec<usize>, Vec<u8>) {
    let elements = shape.iter().product::<usize>();
    (Dtype::F32, shape.to_vec(), vec![0; 4 * elements])
}

/// Replaces one tensor of the optimizer, or adds it.
fn put(name: &str, held: (Dtype, Vec<usize>, Vec<u8>)) -> Box<dyn FnOnce(&mut Tensors) + '_> {
    Box::new(move |tensors| {
        tensors.insert(name.to_owned(), held);
    })
}

/// Removes what is remembered of the parameters whose path begins so.
fn remove(start: &str) -> Box<dyn FnOnce(&mut Tensors) + '_> {
    Box::new(move |tensors| tensors.retain(|name, _| !name.starts_with(start)))
}

#[test]
fn state_of_the_optimizer_that_does_not_fit_is_named() {
    let (dir, newest) = trained();
    let files = ["manifest.json", OPTIMIZER];
    let good = files.map(|name| fs::read(newest.join(name)).unwrap());
    let long = 16 * codec().vocab.len();
    let of_embedding = format!("expected floats of shape [{long}]");
    let (moment, velocity) = ("block.embedding.moment_1", "block.layers.0.query.velocity");
    let time = "block.norm_final.gamma.time";
    for (alter, named, expected) in [
        // Another rank, another length, another kind.
        (
            put(moment, zeros(&[long / 16, 16])),
            moment,
            &of_embedding[..],
        ),
        (put(moment, zeros(&[long - 1])), moment, &of_embedding),
        (put(moment, zeros(&[])), moment, &of_embedding),
        (put(moment, whole(&vec![0; long])), moment, &of_embedding),
        (
            put(velocity, zeros(&[16, 16])),
            velocity,
            "floats of shape [256]",
        ),
        (
            put(velocity, zeros(&[255])),
            velocity,
            "floats of shape [256]",
        ),
        (
            put(time, zeros(&[1])),
            time,
            "is F32 of shape [1], expected I64",
        ),
        (
            put(time, whole(&[3, 3])),
            time,
            "is I64 of shape [2], expected I64",
        ),
        (put(time, whole(&[0])), time, "is 0, expected 1 to 12"),
        (put(time, whole(&[-1])), time, "is -1, expected 1 to 12"),
        (put(time, whole(&[13])), time, "is 13, expected 1 to 12"),
        (put(time, whole(&[i64::MAX])), time, "expected 1 to 12"),
        // Gaps.
        (remove(moment), moment, "is missing"),
        (remove(time), time, "is missing"),
        (
            remove("head_step.weight."),
            "head_step.weight",
            "it holds nothing of",
        ),
        (
            remove(velocity),
            "block.layers.0.query",
            "it holds nothing of",
        ),
        (remove(""), "block.embedding", "it holds nothing of"),
        // What is too much.
        (
            put("elsewhere.velocity", zeros(&[256])),
            "elsewhere.velocity",
            "is of no parameter of the model",
        ),
        (
            put("block.layers.0.query.moment_1", zeros(&[256])),
            "block.layers.0.query.moment_1",
            "there may be `velocity`",
        ),
        (
            put("block.embedding.velocity", zeros(&[long])),
            "block.embedding.velocity",
            "there may be `time`, `moment_1`, `moment_2`",
        ),
    ] {
        change_tensors(&newest, OPTIMIZER, alter);
        let error = refused(dir.path(), &newest);
        for part in [OPTIMIZER, &format!("`{named}`"), expected] {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        for (name, bytes) in files.iter().zip(&good) {
            fs::write(newest.join(name), bytes).unwrap();
        }
    }
    run_by_muon(dir.path()).unwrap();
}

#[test]
fn weights_that_are_no_floats_are_named() {
    let (dir, newest) = trained();
    let bias = whole(&vec![0; codec().vocab.len()]);
    change_tensors(&newest, WEIGHTS, put("head_answer.bias", bias));
    let error = refused(dir.path(), &newest);
    assert!(
        error.contains("weights.safetensors: `head_answer.bias` is I64, expected floats"),
        "{error}"
    );
}

#[test]
fn a_parameter_that_nothing_is_learnt_by_needs_no_state() {
    let dir = tempfile::tempdir().unwrap();
    // The step head has no part in the loss of answers.
    let go_on = |kill: Option<u64>| {
        let objective = LoopedObjective::vanilla(vec![], limits(8), codec());
        let (config, model) = (config(OptimizerConfig::adamw()), looped(0.1));
        let trainer = trainer_by::<Flex, _>(objective, &model, config, dir.path());
        let trainer = match kill {
            Some(step) => trainer.kill_after(step),
            None => trainer,
        };
        let source = source(Batching::Mixed { samples: 6 });
        let model = model.init(&Default::default(), 3);
        trainer.run(model, &source, &[], Resume::Continue, &StopFlag::new())
    };
    assert!(go_on(Some(7)).unwrap_err().is_interrupted());
    go_on(None).unwrap();
    let newest = dir.path().join("step-000000012");
    change_tensors(&newest, WEIGHTS, |tensors| {
        tensors.get_mut("head_step.weight").unwrap().2[0] ^= 1;
    });
    let error = go_on(None).unwrap_err().to_string();
    assert!(
        error.contains("optimizer.safetensors: it holds nothing of `head_step.weight`"),
        "{error}"
    );
}

#[test]
fn a_manifest_with_numbers_that_cannot_be_is_passed_over() {
    let (dir, newest) = trained();
    let good = fs::read(newest.join("manifest.json")).unwrap();
    let task = |task: usize, sums: TaskWindow| {
        move |manifest: &mut Manifest| {
            manifest.window.tasks.insert(task, sums);
        }
    };
    let updates = TaskWindow {
        updates: 1,
        ..TaskWindow::default()
    };
    let guesses = TaskWindow {
        guesses: u64::MAX,
        ..TaskWindow::default()
    };
    type Change = Box<dyn FnOnce(&mut Manifest)>;
    let changes: [(Change, &str); 8] = [
        (
            Box::new(task(2, TaskWindow::default())),
            "window.tasks has task 2, expected below 2, the number of tasks",
        ),
        (
            Box::new(task(1, updates)),
            "window.tasks.updates is 1, expected at most 0",
        ),
        (Box::new(task(0, guesses)), "window.tasks.guesses is"),
        (
            Box::new(|manifest| manifest.window.updates = 13),
            "window.updates is 13, expected at most 12",
        ),
        (
            Box::new(|manifest| manifest.counters.skipped = 13),
            "counters.skipped is 13, expected at most 12",
        ),
        (
            Box::new(|manifest| manifest.counters.skipped_in_a_row = 1),
            "counters.skipped_in_a_row is 1, expected at most 0",
        ),
        (
            Box::new(|manifest| manifest.counters.samples = u64::MAX),
            "counters.samples is",
        ),
        (
            Box::new(|manifest| {
                let mut effort = Effort::default();
                effort.learnt.pairs = u64::MAX;
                manifest.counters.effort = Some(effort);
            }),
            "counters.effort is",
        ),
    ];
    for (alter, expected) in changes {
        change(&newest, alter);
        let error = read_manifest(&newest).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 9);
        fs::write(newest.join("manifest.json"), &good).unwrap();
    }
}

#[test]
fn what_the_settings_do_not_allow_is_refused() {
    let (dir, newest) = trained();
    let good = fs::read(newest.join("manifest.json")).unwrap();
    change(&newest, |manifest| manifest.counters.recoveries = 1 << 40);
    let error = refused(dir.path(), &newest);
    assert!(
        error.contains("counters.recoveries is 1099511627776, expected at most 0"),
        "{error}"
    );
    fs::write(newest.join("manifest.json"), &good).unwrap();
    // With an average there are two sets of weights.
    change(&newest, |manifest| {
        manifest.files.remove(WEIGHTS);
    });
    let error = refused(dir.path(), &newest);
    assert!(
        error.contains("weights.safetensors is not in the manifest"),
        "{error}"
    );
    fs::write(newest.join("manifest.json"), &good).unwrap();
    let later = dir.path().join("step-000000013");
    fs::rename(&newest, &later).unwrap();
    change(&later, |manifest| manifest.counters.step = 13);
    let error = refused(dir.path(), &later);
    assert!(
        error.contains("counters.step is 13, expected at most 12"),
        "{error}"
    );

    let plain = tempfile::tempdir().unwrap();
    let go_on = || {
        let settings = TrainConfig {
            average: None,
            ..config(OptimizerConfig::adamw())
        };
        run::<Flex>(&trainer(settings, plain.path()), &StopFlag::new())
    };
    go_on().unwrap();
    let newest = plain.path().join("step-000000012");
    fs::copy(newest.join("model.safetensors"), newest.join(WEIGHTS)).unwrap();
    let bytes = fs::read(newest.join(WEIGHTS)).unwrap();
    change(&newest, |manifest| {
        manifest.files.insert(WEIGHTS.to_owned(), record(&bytes));
    });
    let error = go_on().unwrap_err().to_string();
    assert!(
        error.contains("weights.safetensors is there, but its run kept no average"),
        "{error}"
    );
}
