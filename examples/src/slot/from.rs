//! The checkpoint that a slot goes on from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use relay_train::{
    Counters, Effort, checkpoint_name, list_checkpoints, read_manifest, remove_checkpoints_after,
};

use super::failed;
use crate::{CliError, PARTS, join};

/// Puts the checkpoint to go on from into `run`, unless that holds as many updates of this slot already.
pub(super) fn take_over(from: &Path, run: &Path) -> Result<(), CliError> {
    let aside = run.join(".partial-from");
    let taken = bring(from, &aside).and_then(|brought| {
        let there = newest(&brought)?;
        let step = there.step;
        if holds_checkpoints(run)? {
            // None of them may be good: then what was brought is what there is.
            let own = newest(run);
            let (run, from) = (run.display(), from.display());
            // One that has gone back is further than any update of the way that it gave up.
            let progress = |counters: &Counters| (counters.recoveries, counters.step);
            match own {
                Ok(own) if progress(&own) >= progress(&there) => {
                    let own = own.step;
                    tracing::info!(
                        "{run} holds {own} updates, {from} {step}: going on with the former"
                    );
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("{error}; going on with {from}"),
            }
        }
        let place = run.join(checkpoint_name(step));
        // One that is there and good would have been continued.
        if place.exists() {
            fs::remove_dir_all(&place).map_err(|e| failed("remove", &place, &e))?;
        }
        fs::rename(&brought, &place).map_err(|e| failed("rename", &place, &e))?;
        remove_checkpoints_after(run, step).map_err(CliError::failure)
    });
    // Best effort: what went wrong before matters more.
    let _ = fs::remove_dir_all(&aside);
    taken
}

/// Copies the checkpoint in `from`, or joins its parts, into the directory `aside`; gives its place.
fn bring(from: &Path, aside: &Path) -> Result<PathBuf, CliError> {
    if aside.exists() {
        fs::remove_dir_all(aside).map_err(|e| failed("remove", aside, &e))?;
    }
    fs::create_dir_all(aside).map_err(|e| failed("create", aside, &e))?;
    if from.join(PARTS).exists() {
        return join(from, aside).map_err(CliError::failure);
    }
    let name = checkpoint_name(newest(from)?.step);
    let whole = from.join("manifest.json").exists();
    let source = if whole {
        from.to_owned()
    } else {
        from.join(&name)
    };
    let place = aside.join(name);
    fs::create_dir(&place).map_err(|e| failed("create", &place, &e))?;
    for file in fs::read_dir(&source).map_err(|e| failed("read", &source, &e))? {
        let file = file.map_err(|e| failed("read", &source, &e))?.path();
        let to = place.join(file.file_name().unwrap_or_default());
        fs::copy(&file, &to).map_err(|e| failed("copy", &file, &e))?;
    }
    Ok(place)
}

/// The counters of the newest good checkpoint in `dir`, whose updates also name it; all of it is verified, as it is again when it
/// is read.
fn newest(dir: &Path) -> Result<Counters, CliError> {
    Ok(read_manifest(dir).map_err(CliError::failure)?.counters)
}

fn holds_checkpoints(run: &Path) -> Result<bool, CliError> {
    let found = list_checkpoints(run).map_err(CliError::failure)?;
    Ok(!found.is_empty())
}

/// The counters of the newest checkpoint, or of the start.
pub(super) fn counters(run: &Path) -> Result<Counters, CliError> {
    if !holds_checkpoints(run)? {
        let effort = Some(Effort::default());
        return Ok(Counters {
            effort,
            ..Counters::default()
        });
    }
    newest(run)
}
