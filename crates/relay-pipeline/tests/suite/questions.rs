//! Problems asked of the models of a run.

use std::{fs, path::Path};

use relay_pipeline::{Existing, PipelineError, Question, Solved, solve};
use relay_train::StopFlag;

use crate::runs::{Backend, run, tiny};

/// A question to one of several tasks.
fn question(task: &str, problem: &str) -> Question {
    Question {
        task: Some(task.to_owned()),
        problem: problem.to_owned(),
        ..Question::default()
    }
}

/// What the arm of the run says to the questions.
fn ask(run: &Path, arm: &str, asked: &[Question]) -> Result<Vec<Solved>, PipelineError> {
    solve::<Backend>(run, arm, asked, Default::default(), StopFlag::default())
}

#[test]
fn a_run_answers_questions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let settings = tiny();
    run(&settings, &path, Existing::Refuse).unwrap();
    let asked = [
        question("ari", "1 + 2 * 2 ="),
        question("ed", "a b c | b c c <sep>"),
    ];
    for (arm, label) in settings.stages() {
        let solved = ask(&path, arm, &asked).unwrap();
        assert_eq!(solved, ask(&path, arm, &asked).unwrap(), "{label:?}");
        assert_eq!(solved.len(), 2);
        let truth = solved[0].truth.as_ref().unwrap();
        assert_eq!(truth.steps, ["1 + 1 =", "2"]);
        // Untrained models answer, too; the auto-regressive ones may come to no answer.
        if arm == "looped_vanilla" || arm == "looped_aligned" {
            assert!(solved.iter().all(|one| !one.written.answer.is_empty()));
        }
        if arm == "looped_aligned" {
            assert_eq!(solved[0].written.steps.len(), 2);
            assert_eq!(solved[1].written.steps.len(), 3);
        }
    }
    let refused =
        |arm: &str, question: Question| ask(&path, arm, &[question]).unwrap_err().to_string();
    let arm = refused("ar", question("ari", "1 + 2 ="));
    assert!(arm.contains("one of looped_aligned, "), "{arm}");
    let no_value = refused("ar_relay", question("ari", "1 / 0 ="));
    assert!(no_value.contains("1 / 0"), "{no_value}");
    let task = refused(
        "ar_relay",
        Question {
            task: None,
            ..question("", "1 + 2 =")
        },
    );
    assert!(task.contains("must be one of ari, ed, lis"), "{task}");
    let long = refused(
        "ar_relay",
        Question {
            iterations: Some(5000),
            ..question("ari", "1 + 2 =")
        },
    );
    assert!(
        long.contains("iterations is 5000, must be 1 to 4096"),
        "{long}"
    );
    assert!(refused("ar_relay", question("ari", "1 +")).contains("`1 +`"));
    fs::remove_dir_all(path.join("ar_relay")).unwrap();
    let gone = refused("ar_relay", question("ari", "1 + 2 ="));
    let right = "the arm is ar_relay, must be one that the run has trained: looped_aligned, ";
    assert!(gone.contains(right), "{gone}");
    let asked = [question("ari", "1 + 2 ="), question("ari", "1 + =")];
    let error = ask(&path, "ar_baseline", &asked).unwrap_err();
    assert!(
        error.is_usage() && error.to_string().starts_with("problem 2: "),
        "{error}"
    );
}
