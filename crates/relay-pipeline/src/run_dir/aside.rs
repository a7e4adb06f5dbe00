//! What a run no longer is: kept in a directory of its own where nobody asked for it to be redone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Existing, RunDir};
use crate::{PipelineError, Result, left_over};

/// Where stages go that were made from something else; nothing reads what is there.
pub(crate) const SET_ASIDE: &str = "set-aside";

/// What tells of a whole run, besides its stages.
const RESULTS: [&str; 3] = ["results.json", "report.html", "figures"];

impl RunDir {
    /// Clears the directory of a stage that is to be made from something else.
    pub(super) fn clear_stage(&self, name: &str, dir: &Path) -> Result<()> {
        if self.existing == Existing::Update || !is_dear(name, dir) {
            tracing::info!("{name}: was made from something else, is made anew");
            return left_over::remove_stage(dir);
        }
        // Nobody asked for it to be redone.
        let Some(place) = free_place(&self.path, name)? else {
            return left_over::remove_stage(dir);
        };
        tracing::warn!(
            "{name}: was made from something else (other data, a stage before it, or another version of this program), \
             is made anew; what it was lies in {}",
            place.display()
        );
        fs::rename(dir, &place).map_err(|e| PipelineError::io("rename", dir, e))
    }
}

/// Moves what tells of the run in `dir` aside: it is of other settings than those to come.
pub(super) fn keep_results(dir: &Path) -> Result<()> {
    let held: Vec<&str> = RESULTS
        .into_iter()
        .filter(|name| dir.join(name).exists())
        .collect();
    if held.is_empty() {
        return Ok(());
    }
    let Some(place) = free_place(dir, "results")? else {
        return Ok(());
    };
    fs::create_dir(&place).map_err(|e| PipelineError::io("create", &place, e))?;
    for name in held {
        let from = dir.join(name);
        fs::rename(&from, place.join(name)).map_err(|e| PipelineError::io("rename", &from, e))?;
    }
    tracing::info!(
        "the results of the settings before lie in {}",
        place.display()
    );
    Ok(())
}

/// A place for what was called `name`, where nothing is yet.
fn free_place(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    let kept = dir.join(SET_ASIDE);
    fs::create_dir_all(&kept).map_err(|e| PipelineError::io("create", &kept, e))?;
    let free = |number: u32| {
        let place = kept.join(format!("{}-{number}", name.replace('/', "-")));
        (!place.exists()).then_some(place)
    };
    Ok((1..).find_map(free))
}

/// Whether it is worth keeping: hours went into a training that was begun, and into what a stage wrote to its end. Measuring
/// takes minutes, and is of models that are gone.
fn is_dear(name: &str, stage: &Path) -> bool {
    let trained = relay_train::list_checkpoints(stage).is_ok_and(|found| !found.is_empty());
    trained || (stage.join("done.json").exists() && !name.starts_with("evaluation"))
}
