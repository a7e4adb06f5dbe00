//! Run directories and results from elsewhere, and directories that go away: nothing is written in another place.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use relay_pipeline::{
    Existing, LengthResult, Made, PipelineError, Results, RunDir, preset, write_report,
};
use relay_train::TrainError;
use serde_json::json;

fn open(path: &Path) -> Result<RunDir, PipelineError> {
    RunDir::open(path, &preset("smoke", 1).unwrap(), Existing::Update)
}

/// Everything below `dir`, links not followed.
fn all(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(all(&entry.path()));
        }
        found.push(entry.path());
    }
    found.sort();
    found
}

#[test]
fn links_in_a_run_directory_are_refused_before_anything_is_written() {
    for name in [
        "lock",
        "settings.json",
        "looped_aligned",
        "chains/chains.partial",
        "looped_aligned/step-000000030/model.safetensors",
        "figures",
    ] {
        for to in ["file", "directory", "nothing"] {
            let dir = tempfile::tempdir().unwrap();
            let (run, outside) = (dir.path().join("run"), dir.path().join("outside"));
            fs::create_dir_all(outside.join("directory")).unwrap();
            fs::write(outside.join("file"), "outside").unwrap();
            fs::write(outside.join("directory/done.json"), "outside").unwrap();
            let link = run.join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(outside.join(to), &link).unwrap();
            let before = all(dir.path());
            let error = open(&run).unwrap_err();
            assert!(
                matches!(&error, PipelineError::Train(TrainError::NotPlain { path }) if *path == link),
                "{name}: {error}"
            );
            assert_eq!(all(dir.path()), before, "{name}");
            for file in ["file", "directory/done.json"] {
                assert_eq!(fs::read(outside.join(file)).unwrap(), b"outside", "{name}");
            }
        }
    }
}

#[test]
fn a_marker_names_files_of_its_stage_alone() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, "outside").unwrap();
    let run = open(&dir.path().join("run")).unwrap();
    let make = |_: &Path| Ok(Made::default());
    run.stage("chains", &json!(1), make).unwrap();
    let marker = dir.path().join("run/chains/done.json");
    let whole = fs::read_to_string(&marker).unwrap();
    for file in ["../../outside", outside.to_str().unwrap(), ".."] {
        let mut done: serde_json::Value = serde_json::from_str(&whole).unwrap();
        done["files"] = json!([file]);
        fs::write(&marker, done.to_string()).unwrap();
        let error = run.stage("chains", &json!(1), make).unwrap_err();
        let says = format!("{file} is no file of the stage");
        assert!(error.to_string().contains(&says), "{error}");
    }
}

#[test]
fn the_run_directory_itself_may_be_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("large disk")).unwrap();
    symlink(dir.path().join("large disk"), dir.path().join("run")).unwrap();
    open(&dir.path().join("run")).unwrap();
    assert!(dir.path().join("large disk/settings.json").exists());
    symlink(dir.path().join("nowhere"), dir.path().join("lost")).unwrap();
    let error = open(&dir.path().join("lost")).unwrap_err().to_string();
    assert!(
        error.contains("lost: it is a link to what is not there"),
        "{error}"
    );
}

#[test]
fn a_stage_with_links_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let made = |_: &Path| Ok(Made::default());
    open(&path("a"))
        .unwrap()
        .stage("chains", &json!(1), made)
        .unwrap();
    fs::write(path("secret"), "secret").unwrap();
    for linked in [true, false] {
        let link = path("a/chains/chains.jsonl");
        if linked {
            symlink(path("secret"), link).unwrap();
        } else {
            fs::remove_file(link).unwrap();
        }
        let mut run = open(&path(if linked { "b" } else { "c" })).unwrap();
        run.reuse_from(vec![path("a")]);
        let mut ran = false;
        let work = |_: &Path| {
            ran = true;
            Ok(Made::default())
        };
        run.stage("chains", &json!(1), work).unwrap();
        // Made anew where it could not be trusted, taken over where it could.
        assert_eq!(ran, linked);
    }
    assert!(!path("b/chains/chains.jsonl").exists());
}

#[test]
fn names_in_results_lead_nowhere() {
    for task in [
        "../../../outside",
        "/outside",
        "a/b",
        "..",
        &"long".repeat(100),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("some/run");
        fs::create_dir_all(&run).unwrap();
        let mut results = Results::new("smoke", 1, "flex");
        results.train_lengths.insert(task, [1, 2]);
        results.add("ar_relay", task, LengthResult::from_counts(3, 10, 5, None));
        results.add_hit_matrix("ar_relay", task, 3, 10, vec![vec![Some(0.5); 2]; 2]);
        let written = write_report(&results, &run).unwrap();
        let matrices = written
            .iter()
            .filter(|file| file.to_string_lossy().contains("hit_matrix"));
        assert_eq!(matrices.count(), 3, "{written:?}");
        for file in &written {
            let inside = fs::canonicalize(file).unwrap();
            assert!(
                inside.starts_with(fs::canonicalize(&run).unwrap()),
                "{file:?}"
            );
        }
        let below: Vec<PathBuf> = all(dir.path());
        // The report's files, the directory of the figures, and the two that the run lies in.
        assert_eq!(below.len(), written.len() + 3, "{below:?}");
    }
}

#[test]
fn a_directory_that_went_away_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("run"), dir.path().join("away"));
    let gone = |error: PipelineError| {
        assert!(matches!(error, PipelineError::Vanished { .. }), "{error}");
        assert!(!path.exists());
    };
    let run = open(&path).unwrap();
    // While a stage works: the work itself is not at fault, nor what it cannot write.
    let leave = |fails: bool| {
        run.stage("chains", &json!(1), |stage| {
            fs::rename(&path, &away).unwrap();
            match fails {
                true => Err(PipelineError::corrupt(stage, "no file")),
                false => Ok(Made::default()),
            }
        })
    };
    for fails in [true, false] {
        gone(leave(fails).unwrap_err());
        // Between two stages.
        gone(
            run.stage("merged", &json!(1), |_| Ok(Made::default()))
                .unwrap_err(),
        );
        fs::rename(&away, &path).unwrap();
    }
    // Another one in its place is not it.
    fs::rename(&path, &away).unwrap();
    drop(open(&path).unwrap());
    let error = run
        .stage("merged", &json!(1), |_| Ok(Made::default()))
        .unwrap_err();
    assert!(matches!(error, PipelineError::Vanished { .. }), "{error}");
    fs::remove_dir_all(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    run.stage("merged", &json!(1), |_| Ok(Made::default()))
        .unwrap();
}
