//! What each arm wrote on every test problem, where it is asked for.

use std::fs;

use relay_pipeline::{Existing, PipelineError, arm_checkpoint, read_predictions};
use relay_train::StopFlag;

use crate::runs::{Backend, open, run, tiny};

#[test]
fn they_add_up_to_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = tiny();
    let without = run(&settings, dir.path(), Existing::Refuse).unwrap();
    let file = dir.path().join("evaluation/ar_relay/predictions.jsonl");
    assert!(!file.exists());
    assert!(read_predictions(dir.path(), "ar_relay").is_err());

    // Nothing but the measuring is done again.
    let trained = dir.path().join("ar_relay/done.json");
    let before = fs::read(&trained).unwrap();
    settings.evaluation.predictions = true;
    let pipeline = open(&settings, dir.path(), Existing::Update, StopFlag::new()).unwrap();
    assert_eq!(pipeline.settings().evaluation, settings.evaluation);
    assert_eq!(pipeline.path(), dir.path());
    let results = pipeline.run().unwrap();
    assert_eq!(results.arms, without.arms);
    assert_eq!(fs::read(&trained).unwrap(), before);

    let tested = pipeline.corpus().test(settings.evaluation.samples).unwrap();
    for (arm, tasks) in results.arms.iter() {
        let all = read_predictions(dir.path(), arm).unwrap();
        assert_eq!(all.len(), tested.len(), "{arm}");
        let chains = arm != "looped_vanilla";
        for (task, lengths) in tasks.iter() {
            for at in lengths {
                let of = all.iter();
                let of = of.filter(|one| one.task == task && one.length == at.length);
                let of: Vec<_> = of.collect();
                let share = |count: usize| count as f64 / of.len() as f64;
                assert_eq!(of.len() as u64, at.n);
                let right = of.iter().filter(|one| one.right).count();
                assert!((share(right) - at.answer_accuracy).abs() < 1e-3);
                let agree = |one: &relay_pipeline::Prediction| {
                    one.right == (one.answer.as_ref() == Some(&one.true_answer))
                };
                assert!(of.iter().all(|one| agree(one)), "{arm}");
                assert!(of.iter().all(|one| one.right_chain.is_some() == chains));
                assert!(of.iter().all(|one| chains || one.steps.is_empty()));
            }
        }
    }
    drop(pipeline);
    // The problems stand in the order of the test set, so that arms can be compared line by line.
    let problems = |arm| -> Vec<String> {
        let all = read_predictions(dir.path(), arm).unwrap();
        all.into_iter().map(|one| one.problem).collect()
    };
    assert_eq!(problems("looped_aligned"), problems("ar_baseline"));

    // A changed line is found as every changed result is.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("true", "false", 1)).unwrap();
    let error = run(&settings, dir.path(), Existing::Resume).unwrap_err();
    assert!(error.to_string().contains("was changed"), "{error}");

    // Nobody has them but this stage.
    fs::write(&file, &text).unwrap();
    settings.evaluation.samples += 1;
    run(&settings, dir.path(), Existing::Update).unwrap();
    let kept = dir
        .path()
        .join("set-aside/evaluation-ar_relay-1/predictions.jsonl");
    assert_eq!(fs::read_to_string(kept).unwrap(), text);
}

#[test]
fn the_model_of_an_arm_can_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let settings = tiny();
    run(&settings, dir.path(), Existing::Refuse).unwrap();
    let device = Default::default();
    type Plain = <Backend as burn::tensor::backend::AutodiffBackend>::InnerBackend;
    for arm in ["looped_aligned", "looped_vanilla"] {
        let model = arm_checkpoint(dir.path(), arm).unwrap();
        let model = model.looped::<Plain>(&device).unwrap();
        assert_eq!(model.head_step.is_some(), arm == "looped_aligned");
    }
    // That of the last phase.
    let last = dir.path().join("ar_self_truth/phase-5/model");
    let of_arm = arm_checkpoint(dir.path(), "ar_self_truth").unwrap();
    let of_phase = relay_train::Checkpoint::open(&last).unwrap();
    assert_eq!(of_arm.manifest().files, of_phase.manifest().files);
    of_arm.causal::<Plain>(&device).unwrap();
    let error = arm_checkpoint(dir.path(), "ar_what").unwrap_err();
    assert!(error.is_usage(), "{error}");
    let elsewhere = arm_checkpoint(&dir.path().join("chains"), "ar_relay").unwrap_err();
    assert!(matches!(elsewhere, PipelineError::Io { .. }), "{elsewhere}");
}
