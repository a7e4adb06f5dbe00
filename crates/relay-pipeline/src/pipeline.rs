//! The pipeline: every stage from nothing to the report, each taken up where it was left.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use burn::tensor::backend::AutodiffBackend;
use relay_tasks::Example;
use relay_train::{StopFlag, start_threads};
use serde_json::{Value, json};

use crate::{
    ChainFilter, Corpus, DataUse, Done, Existing, Made, Measured, Results, RunDir, Settings,
    corpus::corpus,
    cost::Written,
    json::{pretty, to_value},
    kept_chains::KeptChains,
    merge,
    report::write_report,
    stages::Stages,
};
use crate::{
    PipelineError, Result,
    arms::{AR_BASELINE, AR_RELAY, CHAINS, LOOPED_ALIGNED, LOOPED_VANILLA, MERGED, evaluation_of},
};

mod collect;
mod measure;
mod selected;

/// Whether stages that are not finished are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// They are made.
    Make,
    /// They are an error, [`PipelineError::NotFinished`].
    Refuse,
}

/// What the report says of how it came about.
#[derive(Debug, Clone)]
pub struct About {
    /// Name of the device.
    pub device: String,
    /// The command that anyone can type to repeat the run.
    pub command: String,
}

/// A run of RELAY in a directory of its own.
#[derive(Debug)]
pub struct Pipeline<B: AutodiffBackend> {
    pub(crate) settings: Settings,
    pub(crate) corpus: Arc<dyn Corpus>,
    pub(crate) dir: RunDir,
    about: About,
    pub(crate) stages: Stages<B>,
    filter: Option<Arc<dyn ChainFilter>>,
    /// The test problems, once an arm was measured: all have the same.
    tests: Mutex<Option<Arc<Vec<Example>>>>,
    jobs: usize,
    stop: StopFlag,
}

impl<B: AutodiffBackend> Pipeline<B> {
    /// Checks the settings, opens the run directory and prepares the data.
    ///
    /// # Errors
    /// When a setting is wrong, the data cannot be read, or the directory belongs to another run or process.
    pub fn open(
        settings: Settings,
        path: &Path,
        existing: Existing,
        about: About,
        device: B::Device,
        stop: StopFlag,
    ) -> Result<Self> {
        Self::open_on(corpus, settings, path, existing, about, device, stop)
    }

    /// The same with data that the program brings along: `data` of the settings is [`DataSettings::Own`](crate::DataSettings), and
    /// `corpus` mostly a [`GeneratedCorpus::of_tasks`](crate::GeneratedCorpus::of_tasks). What was made from other data is made anew,
    /// as far as the corpus's [`fingerprint`](Corpus::fingerprint) tells.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        corpus: Arc<dyn Corpus>,
        settings: Settings,
        path: &Path,
        existing: Existing,
        about: About,
        device: B::Device,
        stop: StopFlag,
    ) -> Result<Self> {
        let own = |_: &Settings| Ok(corpus);
        Self::open_on(own, settings, path, existing, about, device, stop)
    }

    /// Settings that are wrong are told before any data are read.
    fn open_on(
        corpus: impl FnOnce(&Settings) -> Result<Arc<dyn Corpus>>,
        settings: Settings,
        path: &Path,
        existing: Existing,
        about: About,
        device: B::Device,
        stop: StopFlag,
    ) -> Result<Self> {
        start_threads()?;
        settings.validate()?;
        let corpus = corpus(&settings)?;
        settings.validate_data(corpus.as_ref())?;
        settings.validate_precision::<B>(&device)?;
        let mut dir = RunDir::open(path, &settings, existing)?;
        dir.on_device(&about.device);
        let stop = stop.child();
        let stages = Stages::new(settings.clone(), Arc::clone(&corpus), device, stop.clone());
        Ok(Self {
            settings,
            corpus,
            dir,
            about,
            stages,
            filter: None,
            tests: Mutex::default(),
            jobs: 1,
            stop,
        })
    }

    /// The same run, whose Stage II learns from those chains alone that `filter` keeps, too. Where it is another one than before, chains are
    /// written anew, and what is made from them. Results do not tell of it: let the command that they name
    /// ([`About::command`]) say so.
    #[must_use]
    pub fn filtering(mut self, filter: Arc<dyn ChainFilter>) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The settings of the run.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What its problems are drawn from or read from.
    pub fn corpus(&self) -> &dyn Corpus {
        self.corpus.as_ref()
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The same run, which works on up to `jobs` stages at the same time where they do not need each other, each on its
    /// share of the threads, and trainings on those of the ended ones, too; 0 stands for as many as there are threads. What is computed
    /// does not depend on it.
    #[must_use]
    pub fn side_by_side(mut self, jobs: usize) -> Self {
        self.jobs = jobs;
        self
    }

    /// Runs what is not done yet, writes `results.json`, the figures and `report.html`, and gives the results.
    ///
    /// # Errors
    /// What a stage returns; the run can be resumed from its last checkpoint.
    pub fn run(&self) -> Result<Results> {
        self.run_arms(&[])
    }

    /// A stage of the run; see [`RunDir::stage`].
    pub(crate) fn stage(
        &self,
        name: &str,
        made_from: &Value,
        missing: Missing,
        work: impl FnOnce(&Path) -> Result<Made>,
    ) -> Result<Done> {
        match missing {
            Missing::Make if self.stop.is_set() => Err(PipelineError::Stopped),
            Missing::Make => self.dir.stage(name, made_from, |dir| {
                // Another run may have been waited for that made the same.
                if self.stop.is_set() {
                    return Err(PipelineError::Stopped);
                }
                work(dir)
            }),
            Missing::Refuse => self.dir.finished(name, made_from),
        }
    }

    fn train(&self, arm: &'static str, missing: Missing) -> Result<Done> {
        let made_from = self.stages.made_from(arm)?;
        self.stage(arm, &made_from, missing, |dir| {
            let why = match arm {
                LOOPED_ALIGNED => "Stage I: the looped model learns the steps",
                LOOPED_VANILLA => "a looped model learns answers only",
                _ => "the auto-regressive model learns the original data",
            };
            tracing::info!("{arm}: {why}");
            self.stages.train(arm, dir)
        })
    }

    /// Stage II, first half: the looped model writes chains for problems longer than it was trained on.
    fn chains(&self, looped: &Done, missing: Missing) -> Result<Done> {
        let mut made_from = json!({
            "data": self.corpus.fingerprint(DataUse::Longer)?, "settings": to_value(&self.settings.chains)?,
            "model": looped.result,
        });
        if let Some(filter) = &self.filter {
            made_from["filter"] = filter.fingerprint();
        }
        self.stage(CHAINS, &made_from, missing, |dir| {
            tracing::info!(
                "chains: the looped model writes chains for problems longer than it was trained on"
            );
            let model = self.dir.path().join(LOOPED_ALIGNED);
            let mut kept = KeptChains::open(dir, self.corpus.codec().vocab.len())?;
            let file = dir.join("chains.jsonl");
            let (settings, own) = (&self.settings.chains, self.filter.as_deref());
            let (counts, written) = self
                .stages
                .write_chains(&model, &file, settings, own, &mut kept)?;
            let seconds = kept.seconds();
            let mut notes = json!({ "chains": counts });
            written.note(&mut notes)?;
            Ok(Made {
                files: vec![PathBuf::from("chains.jsonl")],
                notes,
                seconds: Some(seconds),
            })
        })
    }

    fn merge(&self, chains: &Done, missing: Missing) -> Result<Done> {
        let made_from = json!({
            "data": self.corpus.fingerprint(DataUse::Original)?, "chains": chains.result,
            "seed": self.settings.seed, "batching": to_value(&self.settings.ar_baseline.batching)?,
        });
        self.stage(MERGED, &made_from, missing, |dir| {
            tracing::info!("merged: the chains join the original data");
            let chains = self.dir.path().join(CHAINS).join("chains.jsonl");
            let lines = merge::merge(
                self.corpus.as_ref(),
                &self.settings.ar_baseline.batching,
                &chains,
                &dir.join("merged.jsonl"),
                self.settings.seed,
            )?;
            Ok(Made {
                files: vec![PathBuf::from("merged.jsonl")],
                notes: json!({ "lines": lines }),
                seconds: None,
            })
        })
    }

    /// Stage II, second half: the baseline is fine-tuned on the merged data.
    fn fine_tune(&self, baseline: &Done, merged: &Done, missing: Missing) -> Result<Done> {
        let made_from = self.stages.fine_tuned_from(baseline, merged)?;
        self.stage(AR_RELAY, &made_from, missing, |dir| {
            tracing::info!(
                "ar_relay: Stage II, the auto-regressive model is fine-tuned on the merged data"
            );
            let merged = self.dir.path().join(MERGED).join("merged.jsonl");
            let baseline = self.dir.path().join(AR_BASELINE);
            self.stages
                .fine_tune(AR_RELAY, None, &baseline, &merged, dir)
        })
    }
}
