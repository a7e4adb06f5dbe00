//! The run directory: who may write to it, what it was made from, which stages are done.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use relay_train::refuse_links;
use serde_json::Value;

use crate::{
    Done, Machine, PipelineError, Result, Settings,
    atomic::write_atomically,
    done::hash_files,
    json::{pretty, to_value},
    kept_chains::KeptChains,
    left_over,
    lock::{LOCK, lock},
    making::Making,
    reuse::take_over,
};

mod aside;
mod settings;

pub(crate) use aside::SET_ASIDE;
pub use settings::holds_run;
use settings::{SETTINGS, check_settings, refuse_foreign};

/// The file of a stage that says what it is being made from.
const BEGUN: &str = "stage.json";

/// What to do with what a run directory already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The directory must be empty or absent.
    Refuse,
    /// Go on; the settings must be those that the directory holds.
    Resume,
    /// Take the new settings and redo the stages that they change.
    Update,
}

/// A run directory that this process alone may write to.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    existing: Existing,
    lenders: Vec<PathBuf>,
    making: Arc<Making>,
    /// Name of the device that stages are made on, if it is known.
    device: String,
    /// Held while results of before are moved aside: stages beside each other find out at the same time that they are.
    moving: Mutex<()>,
    // The lock goes with the process, however it ends.
    lock: File,
}

/// What a stage hands back: the files that count as its result, its seconds, its notes.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// Files, relative to the stage's directory.
    pub files: Vec<PathBuf>,
    /// Seconds, if the stage knows better than the clock of this process.
    pub seconds: Option<f64>,
    /// What the stage wants to tell the report.
    pub notes: Value,
}

impl RunDir {
    /// Opens `path`, locks it and settles what its settings are.
    ///
    /// # Errors
    /// When another process holds the directory, when it holds a run and `existing` refuses that, when its settings
    /// differ from `settings` (the first field that differs is named), when there are links in it, or when it cannot be
    /// written.
    pub fn open(path: &Path, settings: &Settings, existing: Existing) -> Result<Self> {
        refuse_file(path)?;
        fs::create_dir_all(path).map_err(|e| PipelineError::io("create", path, e))?;
        refuse_links(path)?;
        // Before anything is written or cleared: the directory may be of something else.
        refuse_foreign(path, existing)?;
        let lock = lock(path)?;
        let this = Self {
            path: path.to_owned(),
            existing,
            lenders: Vec::new(),
            making: Arc::default(),
            device: String::new(),
            moving: Mutex::default(),
            lock,
        };
        this.settle(settings)?;
        left_over::remove_left_overs(path)?;
        Ok(this)
    }

    /// What [`open`](Self::open) would say against the settings and files in `path`, without changing anything there.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for the lock.
    pub(crate) fn check(path: &Path, settings: &Settings, existing: Existing) -> Result<()> {
        refuse_file(path)?;
        if !path.exists() {
            return Ok(());
        }
        refuse_links(path)?;
        refuse_foreign(path, existing)?;
        check_settings(path, &to_value(settings)?, existing)
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets stages be taken over from the runs in `lenders` that have finished them, made from the same.
    pub fn reuse_from(&mut self, lenders: Vec<PathBuf>) {
        self.lenders = lenders;
    }

    /// Says what device stages are made on from now on, for their markers.
    pub(crate) fn on_device(&mut self, name: &str) {
        name.clone_into(&mut self.device);
    }

    /// Lets what another run with the same `making` is about to finish be waited for.
    pub(crate) fn share(&mut self, making: Arc<Making>) {
        self.making = making;
    }

    /// That the path still leads to the directory that was opened. Where its disk was taken away, or somebody moved or
    /// removed it, writing would make another directory of the same name, on another disk, and half a run in each.
    pub(crate) fn check_there(&self) -> Result<()> {
        let there = fs::metadata(self.path.join(LOCK)).is_ok_and(|found| {
            self.lock
                .metadata()
                .is_ok_and(|held| same_file(&held, &found))
        });
        if there {
            return Ok(());
        }
        Err(PipelineError::Vanished {
            path: self.path.clone(),
        })
    }

    fn settle(&self, settings: &Settings) -> Result<()> {
        let wanted = to_value(settings)?;
        check_settings(&self.path, &wanted, self.existing)?;
        let file = self.path.join(SETTINGS);
        if self.existing == Existing::Resume && file.exists() {
            return Ok(());
        }
        let text = pretty(&file, &wanted)?;
        if settings::differ(&file, &wanted) {
            self.keep_results()?;
        }
        write_atomically(&file, text.as_bytes())
    }

    /// Runs a stage unless it is done, and says so.
    ///
    /// The stage's directory holds `stage.json` (what it is being made from) and, at the end, `done.json`. A stage that
    /// was begun from something else is begun anew; what was trained or written of it goes to `set-aside`, and comes back
    /// from there when it is wanted again.
    ///
    /// # Errors
    /// What the stage returns, or why its directory could not be written.
    pub fn stage(
        &self,
        name: &str,
        made_from: &Value,
        work: impl FnOnce(&Path) -> Result<Made>,
    ) -> Result<Done> {
        self.check_there()?;
        match self.finished(name, made_from) {
            Err(PipelineError::NotFinished { .. }) => self.make(name, made_from, work),
            Ok(done) => {
                tracing::info!("{name}: done before, taken as it is");
                KeptChains::remove(&self.path.join(name))?;
                Ok(done)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a stage, or takes it over.
    fn make(
        &self,
        name: &str,
        made_from: &Value,
        work: impl FnOnce(&Path) -> Result<Made>,
    ) -> Result<Done> {
        let dir = self.path.join(name);
        let hash = hash_value(made_from);
        let turn = self.making.turn(name, &hash)?;
        if let Some(done) = self.prepare(name, made_from, &hash)? {
            return Ok(done);
        }
        let clock = Instant::now();
        let made = match work(&dir) {
            Err(error) if !error.is_interrupted() => {
                // If that is why, it says more than the file that could not be written.
                self.check_there()?;
                turn.failed(&error);
                return Err(error);
            }
            made => made?,
        };
        self.check_there()?;
        let done = Done {
            made_from: hash,
            result: hash_files(&dir, &made.files)?,
            files: made.files,
            seconds: made
                .seconds
                .unwrap_or_else(|| clock.elapsed().as_secs_f64()),
            machine: Machine {
                device: self.device.clone(),
                ..Machine::detect()
            },
            notes: made.notes,
        };
        let marker = dir.join("done.json");
        write_atomically(&marker, pretty(&marker, &done)?.as_bytes())?;
        // Still in turn: whoever waits for the stage copies a directory that nobody changes.
        KeptChains::remove(&dir)?;
        Ok(done)
    }

    /// Makes the directory of a stage ready to go on in, unless the stage was set aside or is somewhere else, finished.
    fn prepare(&self, name: &str, made_from: &Value, hash: &str) -> Result<Option<Done>> {
        let dir = self.path.join(name);
        let mut as_wanted = begun_from(&dir, hash)?;
        if !as_wanted && dir.exists() {
            self.clear_stage(name, &dir)?;
        }
        if !dir.exists() && self.bring_back(name, hash, &dir)? {
            as_wanted = true;
            match self.finished(name, made_from) {
                Err(PipelineError::NotFinished { .. }) => {}
                finished => return finished.map(Some),
            }
        }
        if let Some(done) = take_over(&self.path, name, hash, &self.lenders)? {
            return Ok(Some(done));
        }
        if !as_wanted {
            fs::create_dir_all(&dir).map_err(|e| PipelineError::io("create", &dir, e))?;
            write_atomically(&dir.join(BEGUN), hash.as_bytes())?;
        }
        Ok(None)
    }

    /// A stage that is finished and was made from this.
    ///
    /// # Errors
    /// [`PipelineError::NotFinished`] when there is none, [`PipelineError::Corrupt`] when its marker or what it made is damaged.
    pub fn finished(&self, name: &str, made_from: &Value) -> Result<Done> {
        let hash = hash_value(made_from);
        let dir = self.path.join(name);
        match Done::read(&dir)?.filter(|done| done.made_from == hash) {
            Some(done) => {
                done.check(&dir)?;
                Ok(done)
            }
            None => Err(PipelineError::NotFinished {
                stage: name.to_owned(),
            }),
        }
    }
}

/// That the path does not lead to a file, nor nowhere.
fn refuse_file(path: &Path) -> Result<()> {
    if path.is_symlink() && !path.exists() {
        let nowhere = std::io::Error::new(ErrorKind::NotFound, "it is a link to what is not there");
        return Err(PipelineError::io("make a run in", path, nowhere));
    }
    if path.exists() && !path.is_dir() {
        let no_directory = ErrorKind::NotADirectory.into();
        return Err(PipelineError::io("make a run in", path, no_directory));
    }
    Ok(())
}

#[cfg(unix)]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

/// Whether the stage in `dir` was begun from what has this hash.
///
/// # Errors
/// When the system does not say: that is no reason to begin anew.
fn begun_from(dir: &Path, hash: &str) -> Result<bool> {
    let file = dir.join(BEGUN);
    match fs::read(&file) {
        Ok(begun) => Ok(begun == hash.as_bytes()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(PipelineError::io("read", &file, e)),
    }
}

/// The hash of what a stage is made from, as its markers have it.
pub(crate) fn hash_value(value: &Value) -> String {
    blake3::hash(value.to_string().as_bytes())
        .to_hex()
        .to_string()
}
