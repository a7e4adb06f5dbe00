//! Tasks that the pipeline does not know, brought along by the program.

use std::{fs, path::Path, sync::Arc};

use relay_pipeline::{
    About, DataSettings, Existing, GeneratedCorpus, OwnTask, Pipeline, PipelineError, Question,
    Results, Settings, solve,
};
use relay_tasks::{ArithmeticConfig, Domain, TaskConfig};
use relay_train::StopFlag;

use crate::runs::{Backend, made_at, run, tiny};

/// The arithmetic of `mini` as if nobody knew it.
fn own() -> OwnTask {
    let config = ArithmeticConfig {
        domain: Domain::PrimeField { p: 3 },
        ..ArithmeticConfig::default()
    };
    OwnTask {
        task: TaskConfig::Ari(config).build().unwrap(),
        train: [1, 6],
        test: [1, 8],
        original: 200,
        longer: vec![(7, 20), (8, 20)],
    }
}

/// Settings for it, and those of the task that is known.
fn settings() -> (Settings, Settings) {
    let mut known = tiny().single_task("ari").unwrap();
    known.self_chains = None;
    let own = Settings {
        data: DataSettings::Own("sums".to_owned()),
        ..known.clone()
    };
    (own, known)
}

fn open(own: OwnTask, settings: &Settings, dir: &Path) -> Result<Pipeline<Backend>, PipelineError> {
    let corpus = GeneratedCorpus::of_tasks(vec![own], settings.seed)?;
    let about = About {
        device: "flex".into(),
        command: "test".into(),
    };
    Pipeline::open_with(
        Arc::new(corpus),
        settings.clone(),
        dir,
        Existing::Update,
        about,
        Default::default(),
        StopFlag::new(),
    )
}

fn measured(results: &Results) -> String {
    serde_json::to_string(&results.arms).unwrap()
}

#[test]
fn a_task_of_ones_own_goes_through_all_stages_as_a_known_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, known) = settings();
    let path = dir.path().join("own");
    let results = open(own(), &settings, &path).unwrap().run().unwrap();
    let right = run(&known, &dir.path().join("known"), Existing::Refuse).unwrap();
    assert_eq!(results.arms.keys().count(), 4);
    assert_eq!(measured(&results), measured(&right));
    let weights = |run: &str, arm: &str| {
        let file = format!("{run}/{arm}/step-000000002/model.safetensors");
        fs::read(dir.path().join(file)).unwrap()
    };
    for arm in ["looped_aligned", "looped_vanilla", "ar_relay"] {
        assert!(weights("own", arm) == weights("known", arm), "{arm}");
    }

    // What it is drawn from decides what is made anew.
    let stages = ["looped_aligned", "ar_baseline", "chains"];
    let before = stages.map(|stage| made_at(&path, stage));
    open(own(), &settings, &path).unwrap().run().unwrap();
    assert_eq!(stages.map(|stage| made_at(&path, stage)), before);
    let mut other = own();
    other.longer[0].1 -= 1;
    open(other, &settings, &path).unwrap().run().unwrap();
    let after = stages.map(|stage| made_at(&path, stage));
    assert_eq!(after[..2], before[..2]);
    assert_ne!(after[2], before[2]);

    // Its models can be asked where there is nobody who knows the task.
    let question = Question {
        problem: "1 + 2 =".to_owned(),
        iterations: Some(1),
        ..Question::default()
    };
    let ask = |question| {
        let (device, stop) = (Default::default(), StopFlag::new());
        solve::<Backend>(&path, "looped_aligned", &[question], device, stop)
    };
    let solved = ask(question.clone()).unwrap();
    assert!(solved[0].truth.is_none() && solved[0].written.steps.len() == 1);
    let unsaid = Question {
        iterations: None,
        ..question
    };
    assert!(ask(unsaid).unwrap_err().to_string().contains("iterations"));
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let refused = |change: &dyn Fn(&mut OwnTask)| {
        let mut own = own();
        change(&mut own);
        let error = GeneratedCorpus::of_tasks(vec![own], 1).unwrap_err();
        assert!(error.is_usage(), "{error}");
        error.to_string()
    };
    let train = refused(&|own| own.train = [6, 1]);
    assert!(train.contains("data.ari.train is 6..1"), "{train}");
    let longer = refused(&|own| own.longer.push((8, 3)));
    assert!(longer.contains("data.ari.longer is 8 twice"), "{longer}");
    let none = GeneratedCorpus::of_tasks(Vec::new(), 1).unwrap_err();
    assert!(none.to_string().contains("at least one task"), "{none}");
    let twice = GeneratedCorpus::of_tasks(vec![own(), own()], 1).unwrap_err();
    assert!(twice.to_string().contains("a name of its own"), "{twice}");
    // Whoever does not bring them has no such data.
    let dir = tempfile::tempdir().unwrap();
    let error = run(&settings().0, dir.path(), Existing::Refuse).unwrap_err();
    let says = "data.own is sums, must be data that are drawn or read";
    assert!(
        error.is_usage() && error.to_string().contains(says),
        "{error}"
    );
}

#[test]
fn settings_tell_of_own_data_by_their_name() {
    let (settings, _) = settings();
    let text = serde_json::to_string(&settings).unwrap();
    assert!(text.contains(r#""data":{"own":"sums"}"#), "{text}");
    assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
}
