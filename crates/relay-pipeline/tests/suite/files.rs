//! Files of one's own: what is learnt from them, what is refused.

use std::{fs, slice};

use relay_pipeline::{DataSettings, Existing, FileSettings, Question, own_data_preset, solve};
use relay_train::StopFlag;

use crate::runs::{Backend, run, shrink};

#[test]
fn learns_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let solved = |n: usize| {
        let steps: Vec<String> = (1..=n)
            .map(|t| format!("{} ;", vec!["a"; t].join(" ")))
            .collect();
        serde_json::json!({ "problem": format!("{} <sep>", vec!["b"; n].join(" ")), "steps": steps, "answer": "a" })
    };
    let write = |name: &str, lines: Vec<String>| {
        let file = dir.path().join(name);
        fs::write(&file, lines.join("\n")).unwrap();
        file
    };
    let train = write(
        "train.jsonl",
        (0..60).map(|i| solved(1 + i % 3).to_string()).collect(),
    );
    let unsolved = |n: usize| serde_json::json!({ "problem": format!("{} <sep>", vec!["b"; n].join(" ")), "iterations": n });
    let longer_file = dir.path().join("longer.jsonl");
    let longer = write(
        "longer.jsonl",
        (0..6).map(|i| unsolved(4 + i % 2).to_string()).collect(),
    );
    let test = write(
        "test.jsonl",
        (1..=5).map(|n| solved(n).to_string()).collect(),
    );
    let train_file = train.clone();
    let data = DataSettings::Files(FileSettings {
        train,
        longer,
        test,
    });
    let mut settings = own_data_preset("smoke", data, 1).unwrap();
    shrink(&mut settings);
    // Its lengths are known once the files are read: a model is not trained for a figure that cannot be drawn.
    let refused = dir.path().join("refused");
    settings.evaluation.hit_matrices = vec![("data".to_owned(), 6)];
    let error = run(&settings, &refused, Existing::Refuse).unwrap_err();
    let said = error.to_string();
    assert!(
        error.is_usage() && said.contains("hit_matrices is data 6") && said.contains("data 5"),
        "{said}"
    );
    assert!(!refused.join("looped_aligned").exists());

    settings.evaluation.hit_matrices = vec![("data".to_owned(), 5)];
    let results = run(&settings, &dir.path().join("run"), Existing::Refuse).unwrap();
    assert_eq!(
        results
            .of("ar_relay", "data")
            .iter()
            .map(|r| r.length)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(results.train_lengths.get("data"), Some(&[1, 3]));
    assert_eq!(results.hit_matrices.len(), 1);
    assert!(results.hit_matrices[0].step_end, "`;` ends every step");

    // Other problems to write chains for are no reason to train the models that write them, nor to lose those that are written.
    let path = dir.path().join("run");
    let marker = |arm: &str| fs::read_to_string(path.join(arm).join("done.json")).unwrap();
    let models = || ["looped_aligned", "ar_baseline"].map(marker);
    let (taught, written) = (models(), marker("chains"));
    let lines: Vec<String> = (0..3).map(|_| unsolved(5).to_string()).collect();
    fs::write(longer_file, lines.join("\n")).unwrap();
    run(&settings, &path, Existing::Resume).unwrap();
    assert_eq!(models(), taught);
    assert_ne!(marker("chains"), written);
    assert_eq!(marker("set-aside/chains-1"), written);
    assert!(path.join("set-aside/results-1/report.html").exists());

    // Nor do the models need the data to be asked, whatever became of them.
    let question = Question {
        task: None,
        problem: "b b b b <sep>".into(),
        iterations: Some(4),
        width: None,
    };
    let ask = || {
        let stop = StopFlag::default();
        let device = Default::default();
        solve::<Backend>(
            &path,
            "looped_aligned",
            slice::from_ref(&question),
            device,
            stop,
        )
    };
    let known = ask().unwrap();
    assert!(known[0].truth.is_some());
    let more = serde_json::json!({ "problem": "new <sep>", "steps": ["a ;"], "answer": "a" });
    let lines = fs::read_to_string(&train_file).unwrap();
    fs::write(&train_file, format!("{lines}\n{more}\n")).unwrap();
    let other_tokens = ask().unwrap();
    fs::remove_file(&train_file).unwrap();
    for found in [other_tokens, ask().unwrap()] {
        assert_eq!(found[0].written, known[0].written);
        assert!(found[0].truth.is_none());
    }
    let error = run(&settings, &path, Existing::Resume)
        .unwrap_err()
        .to_string();
    assert!(error.contains("train.jsonl"), "{error}");
}
