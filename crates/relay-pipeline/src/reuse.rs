//! Finished stages taken over from other runs instead of being made again.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use relay_tasks::parent_dir;
use relay_train::{LOCK, read_manifest, refuse_links};

use crate::{
    Done, PipelineError, Result,
    done::checkpoint_of,
    kept_chains::UNFINISHED,
    left_over::{TAKING, remove_stage},
};

/// File in a stage's directory that names the run which made it, if that was another one.
const TAKEN_FROM: &str = "taken_from.txt";

/// Takes over stage `name` into the directory `run` if one of the runs in `lenders` has finished it, made from the same.
///
/// The stage appears whole or not at all, in place of one that was begun from the same. Weights are linked where the file
/// system can, everything else is copied. A lender that cannot be read lends nothing: the stage is then made as if there
/// were none.
///
/// # Errors
/// When the run's own directory cannot be written.
pub(crate) fn take_over(
    run: &Path,
    name: &str,
    made_from: &str,
    lenders: &[PathBuf],
) -> Result<Option<Done>> {
    for lender in lenders {
        let from = lender.join(name);
        if read_done(&from).is_none_or(|done| done.made_from != made_from) {
            continue;
        }
        if let Err(error) = refuse_links(&from) {
            tracing::warn!("{name}: is not taken from {}: {error}", lender.display());
            continue;
        }
        let aside = run.join(format!("{TAKING}{}", name.replace('/', "-")));
        clear(&aside)?;
        if let Err(error) = copy(&from, &aside, &origin_of(lender, name)) {
            tracing::warn!("{name}: cannot be taken from {}: {error}", lender.display());
            clear(&aside)?;
            continue;
        }
        // The lender may have begun the stage anew meanwhile: its marker goes first then, and files that were still to be
        // copied may be gone.
        let as_before = |done: &Done| done.made_from == made_from;
        let copied = read_done(&aside).filter(as_before);
        // Of a checkpoint the marker vouches for the weights alone; who reads it wants all of its files. What other stages
        // made lies in their directory itself.
        let readable =
            || checkpoint_of(&aside).is_ok_and(|dir| dir == aside || read_manifest(&dir).is_ok());
        let whole = |done: &Done| {
            read_done(&from).as_ref() == Some(done) && done.check(&aside).is_ok() && readable()
        };
        let Some(done) = copied.filter(whole) else {
            clear(&aside)?;
            continue;
        };
        place(&aside, &run.join(name))?;
        tracing::info!(
            "{name}: made from the same as in {}, taken over",
            lender.display()
        );
        return Ok(Some(done));
    }
    Ok(None)
}

/// Name of the run that a stage of `run` was taken over from; `None` if the run made it itself.
pub fn taken_from(run: &Path, stage: &str) -> Option<String> {
    fs::read_to_string(run.join(stage).join(TAKEN_FROM)).ok()
}

/// The runs that lie beside `run`, in order of their names.
///
/// # Errors
/// When the directory that they lie in cannot be listed.
pub fn beside(run: &Path) -> Result<Vec<PathBuf>> {
    let parent = parent_dir(run);
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    let listed = |e| PipelineError::io("list", parent, e);
    let mut runs = Vec::new();
    for entry in fs::read_dir(parent).map_err(listed)? {
        let path = entry.map_err(listed)?.path();
        if path.file_name() != run.file_name() && path.join("settings.json").is_file() {
            runs.push(path);
        }
    }
    runs.sort();
    Ok(runs)
}

fn origin_of(lender: &Path, name: &str) -> String {
    taken_from(lender, name).unwrap_or_else(|| {
        let name = lender.file_name().unwrap_or(lender.as_os_str());
        name.to_string_lossy().into_owned()
    })
}

fn read_done(stage: &Path) -> Option<Done> {
    let text = fs::read_to_string(stage.join("done.json")).ok()?;
    Done::parse(&text).ok()
}

fn clear(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(PipelineError::io("clear", dir, e)),
        _ => Ok(()),
    }
}

fn copy(from: &Path, to: &Path, origin: &str) -> io::Result<()> {
    copy_dir(from, to)?;
    fs::write(to.join(TAKEN_FROM), origin)
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (source, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let target = to.join(&name);
        // Of no use once the stage is done; the first is gone at any moment then.
        if name == UNFINISHED || name == LOCK {
            continue;
        }
        if source.is_dir() {
            copy_dir(&source, &target)?;
            continue;
        }
        // Weights are never written to again; metrics are appended to and must not be shared.
        let weights = source.extension().is_some_and(|kind| kind == "safetensors");
        if !(weights && fs::hard_link(&source, &target).is_ok()) {
            fs::copy(&source, &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

fn place(aside: &Path, place: &Path) -> Result<()> {
    if place.exists() {
        remove_stage(place)?;
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(|e| PipelineError::io("create", parent, e))?;
    }
    fs::rename(aside, place).map_err(|e| PipelineError::io("rename", place, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Existing;

    fn stage(run: &Path, name: &str, made_from: &str) {
        let dir = run.join(name);
        fs::create_dir_all(dir.join("step-1")).unwrap();
        fs::write(run.join("settings.json"), "{}").unwrap();
        fs::write(dir.join("step-1/model.safetensors"), made_from).unwrap();
        fs::write(dir.join("metrics.jsonl"), "{}\n").unwrap();
        let done = Done {
            made_from: made_from.to_owned(),
            result: "r".to_owned(),
            files: Vec::new(),
            seconds: 1.0,
            machine: Default::default(),
            notes: serde_json::Value::Null,
        };
        fs::write(dir.join("done.json"), serde_json::to_string(&done).unwrap()).unwrap();
    }

    #[test]
    fn takes_the_stage_that_was_made_from_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let run = |name: &str| dir.path().join(name);
        stage(&run("a"), "evaluation/ar", "1");
        stage(&run("b"), "evaluation/ar", "2");
        fs::create_dir_all(run("c/evaluation/ar")).unwrap();
        fs::write(run("c/evaluation/ar/half"), "").unwrap();
        let lenders = beside(&run("c")).unwrap();
        assert_eq!(lenders, [run("a"), run("b")]);
        let take = |run: &Path, made_from: &str, lenders: &[PathBuf]| {
            take_over(run, "evaluation/ar", made_from, lenders).unwrap()
        };
        assert_eq!(take(&run("c"), "3", &lenders), None);
        assert!(run("c/evaluation/ar/half").exists());
        assert_eq!(take(&run("c"), "2", &lenders).unwrap().made_from, "2");
        assert!(!run("c/evaluation/ar/half").exists());
        assert_eq!(
            fs::read_to_string(run("c/evaluation/ar/step-1/model.safetensors")).unwrap(),
            "2"
        );
        assert_eq!(taken_from(&run("c"), "evaluation/ar").as_deref(), Some("b"));
        assert_eq!(taken_from(&run("b"), "evaluation/ar"), None);
        // A run that lends what it has borrowed names who made it.
        assert!(take(&run("d"), "2", &[run("c")]).is_some());
        assert_eq!(taken_from(&run("d"), "evaluation/ar").as_deref(), Some("b"));
    }

    #[test]
    fn what_was_trained_from_something_else_is_kept_where_a_stage_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let run = |name: &str| dir.path().join(name);
        let settings = crate::preset("smoke", 1).unwrap();
        let open =
            |name: &str, existing| crate::RunDir::open(&run(name), &settings, existing).unwrap();
        let train = |stage: &Path| {
            fs::create_dir_all(stage.join("step-000000001")).unwrap();
            Ok(crate::Made::default())
        };
        let made_from = |data: u64| serde_json::json!({ "data": data });
        let lender = open("a", Existing::Resume);
        lender.stage("ar", &made_from(2), train).unwrap();
        for (existing, name) in [(Existing::Resume, "b"), (Existing::Update, "c")] {
            let mut own = open(name, existing);
            own.stage("ar", &made_from(1), train).unwrap();
            own.reuse_from(vec![run("a")]);
            let taken = own.stage("ar", &made_from(2), |_| panic!("made anew"));
            taken.unwrap();
            assert_eq!(taken_from(&run(name), "ar").as_deref(), Some("a"));
            let aside = run(name).join("set-aside/ar-1");
            assert!(aside.join("step-000000001").exists());
            assert!(aside.join("done.json").exists());
        }
    }
}
