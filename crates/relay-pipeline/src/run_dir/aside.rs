//! What a run no longer is: kept in a directory of its own.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use super::{Existing, RunDir, begun_from};
use crate::{
    Done, PipelineError, Result, arms::EVALUATION, kept_chains::UNFINISHED, left_over,
    predictions::PREDICTIONS,
};

/// Where stages go that were made from something else.
pub(crate) const SET_ASIDE: &str = "set-aside";

/// What tells of a whole run, besides its stages.
const RESULTS: [&str; 3] = ["results.json", "report.html", "figures"];

impl RunDir {
    /// Clears the directory of a stage that is to be made from something else. What is dear goes aside, and so do the results
    /// of the run: they are of the stage that was.
    pub(super) fn clear_stage(&self, name: &str, dir: &Path) -> Result<()> {
        if dir.join("done.json").exists() {
            self.keep_results()?;
        }
        if !is_dear(name, dir)? {
            tracing::info!("{name}: was made from something else, is made anew");
            return left_over::remove_stage(dir);
        }
        let place = free_place(&self.path, name)?;
        let kept = place.display();
        if self.existing == Existing::Update {
            tracing::info!(
                "{name}: is made anew under the new settings; what it was lies in {kept}"
            );
        } else {
            tracing::warn!(
                "{name}: was made from something else (other data or settings, a stage before it, or another version of this \
                 program), is made anew; what it was lies in {kept}"
            );
        }
        fs::rename(dir, &place).map_err(|e| PipelineError::io("rename", dir, e))
    }

    /// Brings the stage `name` back to `dir` if it was set aside and was made, or at least begun, from the same. Says whether
    /// it did.
    pub(super) fn bring_back(&self, name: &str, hash: &str, dir: &Path) -> Result<bool> {
        let of_stage = |path: &PathBuf| {
            let held = path.file_name().unwrap_or_default().to_string_lossy();
            let number = held
                .strip_prefix(&aside_name(name))
                .and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        // One that was finished before those that were not; none that was damaged since.
        let rank = |path: &Path| match Done::read(path) {
            _ if !begun_from(path, hash)? => Ok(None),
            Ok(None) => Ok(Some(1)),
            Ok(Some(done)) if done.made_from == hash => match done.check(path) {
                Ok(()) => Ok(Some(0)),
                Err(error @ PipelineError::Io { .. }) => Err(error),
                Err(_) => Ok(None),
            },
            Err(error @ PipelineError::Io { .. }) => Err(error),
            _ => Ok(None),
        };
        let mut best = None;
        for path in held(&self.path.join(SET_ASIDE))?
            .into_iter()
            .filter(of_stage)
        {
            let ranked = rank(&path)?.map(|rank| (rank, path));
            best = best.into_iter().chain(ranked).min();
        }
        let Some((_, found)) = best else {
            return Ok(false);
        };
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(|e| PipelineError::io("create", parent, e))?;
        }
        fs::rename(&found, dir).map_err(|e| PipelineError::io("rename", &found, e))?;
        let found = found.display();
        tracing::info!("{name}: was made from the same before, is taken from {found}");
        Ok(true)
    }

    /// Moves what tells of the run aside, if there is something: it is of other settings or stages than those to come.
    pub(super) fn keep_results(&self) -> Result<()> {
        let _alone = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let held: Vec<&str> = RESULTS
            .into_iter()
            .filter(|name| self.path.join(name).exists())
            .collect();
        if held.is_empty() {
            return Ok(());
        }
        let place = free_place(&self.path, "results")?;
        fs::create_dir(&place).map_err(|e| PipelineError::io("create", &place, e))?;
        for name in held {
            let from = self.path.join(name);
            fs::rename(&from, place.join(name))
                .map_err(|e| PipelineError::io("rename", &from, e))?;
        }
        tracing::info!("the results of before lie in {}", place.display());
        Ok(())
    }
}

/// What a stage is called aside, before its number.
fn aside_name(stage: &str) -> String {
    stage.replace('/', "-")
}

/// A place for what was called `name`, where nothing is yet.
fn free_place(dir: &Path, name: &str) -> Result<PathBuf> {
    let kept = dir.join(SET_ASIDE);
    fs::create_dir_all(&kept).map_err(|e| PipelineError::io("create", &kept, e))?;
    let place = |number: u32| kept.join(format!("{}-{number}", aside_name(name)));
    let free = (1..=u32::MAX).map(place).find(|place| !place.exists());
    free.ok_or_else(|| PipelineError::corrupt(&kept, "it has no place left"))
}

/// What lies in the directory `aside`, which may not be there.
fn held(aside: &Path) -> Result<Vec<PathBuf>> {
    match left_over::entries(aside) {
        Err(PipelineError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        entries => entries,
    }
}

/// Whether it is worth keeping: hours went into a training that was begun, and into chains, of which those written so far count,
/// too. Measuring takes minutes, and is of models that are gone; what they wrote on each problem nobody has but this stage.
fn is_dear(name: &str, stage: &Path) -> Result<bool> {
    let written = |file| {
        let file = stage.join(file);
        match fs::metadata(&file) {
            Ok(found) => Ok(found.len() > 0),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(PipelineError::io("look for", &file, e)),
        }
    };
    let trained = !relay_train::list_checkpoints(stage)?.is_empty();
    let wrote = if name.starts_with(EVALUATION) {
        written(PREDICTIONS)?
    } else {
        written("done.json")? || written(UNFINISHED)?
    };
    Ok(trained || wrote)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Made;

    #[test]
    fn what_is_wanted_again_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let settings = crate::preset("smoke", 1).unwrap();
        let run = RunDir::open(dir.path(), &settings, Existing::Update).unwrap();
        let train = |weights: &'static str| {
            move |stage: &Path| {
                let checkpoint = stage.join("step-000000001");
                fs::create_dir_all(&checkpoint).unwrap();
                fs::write(checkpoint.join("weights"), weights).unwrap();
                Ok(Made {
                    files: vec!["step-000000001/weights".into()],
                    ..Made::default()
                })
            }
        };
        let name = "own/phase-1/model";
        let held = |path: &str| {
            fs::read_to_string(dir.path().join(path).join("step-000000001/weights")).ok()
        };
        let first = run.stage(name, &json!(1), train("first")).unwrap();
        run.stage(name, &json!(2), train("second")).unwrap();
        assert_eq!(
            held("set-aside/own-phase-1-model-1").as_deref(),
            Some("first")
        );
        let back = run.stage(name, &json!(1), |_| panic!("made anew")).unwrap();
        assert_eq!(back, first);
        assert_eq!(held(name).as_deref(), Some("first"));
        assert_eq!(
            held("set-aside/own-phase-1-model-2").as_deref(),
            Some("second")
        );
        assert!(!dir.path().join("set-aside/own-phase-1-model-1").exists());

        // One that was begun goes on from where it was.
        let stopped = run.stage(name, &json!(3), |stage| {
            train("half")(stage).unwrap();
            Err(PipelineError::Stopped)
        });
        assert!(stopped.unwrap_err().is_interrupted());
        run.stage(name, &json!(1), |_| panic!("made anew")).unwrap();
        assert_eq!(
            held("set-aside/own-phase-1-model-3").as_deref(),
            Some("half")
        );
        let on = run.stage(name, &json!(3), |stage| {
            assert!(
                stage.join("step-000000001").exists(),
                "its checkpoint is there"
            );
            train("whole")(stage)
        });
        on.unwrap();
        assert_eq!(held(name).as_deref(), Some("whole"));

        // One that was damaged there is made anew.
        let damaged = dir
            .path()
            .join("set-aside/own-phase-1-model-2/step-000000001/weights");
        fs::write(damaged, "x").unwrap();
        run.stage(name, &json!(2), train("third")).unwrap();
        assert_eq!(held(name).as_deref(), Some("third"));
    }
}
