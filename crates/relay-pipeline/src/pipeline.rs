//! The pipeline: every stage from nothing to the report, each taken up where it was left.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::backend::AutodiffBackend;
use relay_train::StopFlag;
use serde_json::{Value, json};

use crate::{
    ChainCounts, Corpus, Counts, Done, Existing, HitMatrixOf, LengthResult, Made, Measured,
    Results, RunDir, Settings, corpus::corpus, evaluate::evaluate, merge, report::write_report,
    run_dir::to_value, stages::Stages,
};
use crate::{PipelineError, Result};

mod selected;

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
    settings: Settings,
    corpus: Arc<dyn Corpus>,
    dir: RunDir,
    about: About,
    stages: Stages<B>,
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
        settings.validate()?;
        let corpus = corpus(&settings)?;
        let dir = RunDir::open(path, &settings, existing)?;
        let stages = Stages::new(settings.clone(), Arc::clone(&corpus), device, stop);
        Ok(Self {
            settings,
            corpus,
            dir,
            about,
            stages,
        })
    }

    /// Runs what is not done yet, writes `results.json`, the figures and `report.html`, and gives the results.
    ///
    /// # Errors
    /// What a stage returns; the run can be gone on with, from its last checkpoint.
    pub fn run(&self) -> Result<Results> {
        let mut done: BTreeMap<&'static str, Done> = BTreeMap::new();
        done.insert(
            "looped_aligned",
            self.train(
                "looped_aligned",
                "Stage I: the looped model learns the steps",
            )?,
        );
        if self.settings.looped_vanilla.is_some() {
            done.insert(
                "looped_vanilla",
                self.train("looped_vanilla", "a looped model learns answers only")?,
            );
        }
        done.insert(
            "ar_baseline",
            self.train(
                "ar_baseline",
                "the auto-regressive model learns the original data",
            )?,
        );
        done.insert("chains", self.chains(&done)?);
        done.insert("merged", self.merge(&done)?);
        done.insert("ar_relay", self.fine_tune(&done)?);
        let mut measured = Vec::new();
        for (arm, _) in self.settings.stages() {
            let (record, values) = self.evaluate(arm, &done)?;
            measured.push((arm, record, values));
        }
        let results = self.results(&done, &measured)?;
        write_report(&results, self.dir.path())?;
        Ok(results)
    }

    fn train(&self, arm: &'static str, why: &str) -> Result<Done> {
        let made_from = json!({
            "data": self.corpus.fingerprint()?, "seed": self.settings.seed, "stage": self.stages.describe(arm)?,
        });
        self.dir.stage(arm, &made_from, |dir| {
            tracing::info!("{arm}: {why}");
            self.stages.train(arm, dir)
        })
    }

    /// Stage II, first half: the looped model writes chains for problems longer than it was trained on.
    fn chains(&self, done: &BTreeMap<&str, Done>) -> Result<Done> {
        let made_from = json!({
            "data": self.corpus.fingerprint()?, "settings": to_value(&self.settings.chains)?,
            "model": done["looped_aligned"].result,
        });
        self.dir.stage("chains", &made_from, |dir| {
            tracing::info!(
                "chains: the looped model writes chains for problems longer than it was trained on"
            );
            let model = self.dir.path().join("looped_aligned");
            let counts = self.stages.write_chains(
                &model,
                &dir.join("chains.jsonl"),
                &self.settings.chains,
            )?;
            Ok(Made {
                files: vec![PathBuf::from("chains.jsonl")],
                notes: to_value(&counts)?,
                seconds: None,
            })
        })
    }

    fn merge(&self, done: &BTreeMap<&str, Done>) -> Result<Done> {
        let made_from =
            json!({ "data": self.corpus.fingerprint()?, "chains": done["chains"].result });
        self.dir.stage("merged", &made_from, |dir| {
            tracing::info!("merged: the chains join the original data");
            let chains = self.dir.path().join("chains/chains.jsonl");
            let lines = merge::merge(
                self.corpus.as_ref(),
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
    fn fine_tune(&self, done: &BTreeMap<&str, Done>) -> Result<Done> {
        let made_from = json!({
            "baseline": done["ar_baseline"].result, "merged": done["merged"].result,
            "stage": self.stages.describe("ar_relay")?, "seed": self.settings.seed,
        });
        self.dir.stage("ar_relay", &made_from, |dir| {
            tracing::info!(
                "ar_relay: Stage II, the auto-regressive model is fine-tuned on the merged data"
            );
            let merged = self.dir.path().join("merged/merged.jsonl");
            self.stages
                .fine_tune(&self.dir.path().join("ar_baseline"), &merged, dir)
        })
    }

    fn evaluate(&self, arm: &'static str, done: &BTreeMap<&str, Done>) -> Result<(Done, Measured)> {
        let settings = self.settings.evaluation.of_arm(arm);
        let made_from = json!({
            "model": done[arm].result, "data": self.corpus.fingerprint()?, "settings": to_value(&settings)?,
        });
        let name = format!("evaluation/{arm}");
        let record = self.dir.stage(&name, &made_from, |dir| {
            let examples = self.corpus.test(self.settings.evaluation.samples)?;
            tracing::info!("evaluation: {arm} on {} test problems", examples.len());
            let writer = self.stages.writer(arm, &self.dir.path().join(arm))?;
            let chains = arm != "looped_vanilla";
            let measured = evaluate(self.corpus.as_ref(), &settings, &examples, chains, |part| {
                writer(&settings.shifted(part))
            })?;
            let text = serde_json::to_string_pretty(&measured)
                .map_err(|e| PipelineError::corrupt(dir, e.to_string()))?;
            crate::write_atomically(&dir.join("measured.json"), text.as_bytes())?;
            Ok(Made {
                files: vec![PathBuf::from("measured.json")],
                notes: Value::Null,
                seconds: None,
            })
        })?;
        let file = self.dir.path().join(&name).join("measured.json");
        let text =
            std::fs::read_to_string(&file).map_err(|e| PipelineError::io("read", &file, e))?;
        let measured = serde_json::from_str(&text)
            .map_err(|e| PipelineError::corrupt(&file, e.to_string()))?;
        Ok((record, measured))
    }

    fn results(
        &self,
        done: &BTreeMap<&str, Done>,
        measured: &[(&str, Done, Measured)],
    ) -> Result<Results> {
        let mut results = Results::new(
            &self.settings.preset,
            self.settings.seed,
            &self.about.device,
        );
        results.command.clone_from(&self.about.command);
        results.settings = to_value(&self.settings)?;
        for (info, lengths) in self
            .corpus
            .codec()
            .tasks
            .iter()
            .zip(self.corpus.train_lengths())
        {
            results.train_lengths.insert(&info.name, lengths);
        }
        for stage in [
            "looped_aligned",
            "looped_vanilla",
            "ar_baseline",
            "chains",
            "merged",
            "ar_relay",
        ] {
            let Some(record) = done.get(stage) else {
                continue;
            };
            results.seconds.insert(stage, record.seconds);
            if let Some(updates) = record.notes.get("updates").and_then(Value::as_u64) {
                results.updates.insert(stage, updates);
            }
            if let Some(samples) = record.notes.get("samples").and_then(Value::as_u64) {
                results.samples.insert(stage, samples);
            }
        }
        results.seconds.insert(
            "evaluation",
            measured.iter().map(|(_, record, _)| record.seconds).sum(),
        );
        for (arm, _, measured) in measured {
            self.add_arm(&mut results, arm, measured);
        }
        Ok(results)
    }

    fn add_arm(&self, results: &mut Results, arm: &str, measured: &Measured) {
        for (task, lengths) in &measured.by_length {
            for (&length, counts) in lengths {
                results.add(
                    arm,
                    task,
                    length_result(length, counts, measured.writes_chains),
                );
            }
        }
        if let (Some(matrix), Some((task, length))) =
            (&measured.hit_matrix, &self.settings.evaluation.hit_matrix)
        {
            results.hit_matrix.insert(arm, matrix.clone());
            let n = measured
                .by_length
                .get(task)
                .and_then(|lengths| lengths.get(length))
                .map_or(0, |c| c.problems as u64);
            results.hit_matrix_of = Some(HitMatrixOf {
                task: task.clone(),
                length: *length,
                n,
            });
        }
    }
}

fn length_result(length: usize, counts: &Counts, writes_chains: bool) -> LengthResult {
    let chains = ChainCounts {
        right_chains: counts.chains as u64,
        right_tokens: counts.right as u64,
        tokens: counts.total as u64,
    };
    LengthResult::from_counts(
        length,
        counts.problems as u64,
        counts.answers as u64,
        writes_chains.then_some(chains),
    )
}
