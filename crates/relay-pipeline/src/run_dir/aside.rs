//! What a run no longer is: kept in a directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use super::{Existing, RunDir};
use crate::{PipelineError, Result, left_over};

/// Where stages go that were made from something else; nothing reads what is there.
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
        if !is_dear(name, dir) {
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

/// A place for what was called `name`, where nothing is yet.
fn free_place(dir: &Path, name: &str) -> Result<PathBuf> {
    let kept = dir.join(SET_ASIDE);
    fs::create_dir_all(&kept).map_err(|e| PipelineError::io("create", &kept, e))?;
    let place = |number: u32| kept.join(format!("{}-{number}", name.replace('/', "-")));
    let free = (1..=u32::MAX).map(place).find(|place| !place.exists());
    free.ok_or_else(|| PipelineError::corrupt(&kept, "it has no place left"))
}

/// Whether it is worth keeping: hours went into a training that was begun, and into what a stage wrote to its end. Measuring
/// takes minutes, and is of models that are gone.
fn is_dear(name: &str, stage: &Path) -> bool {
    let trained = relay_train::list_checkpoints(stage).is_ok_and(|found| !found.is_empty());
    trained || (stage.join("done.json").exists() && !name.starts_with("evaluation"))
}
