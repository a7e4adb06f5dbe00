//! The stages that measure the arms.

use super::*;
use crate::{
    EvaluationSettings,
    evaluate::evaluate,
    predictions::{PREDICTIONS, Predictions},
};

impl<B: AutodiffBackend> Pipeline<B> {
    /// A stage that measures an arm, and what it measured.
    pub(super) fn evaluate(
        &self,
        arm: &'static str,
        done: &BTreeMap<&str, Done>,
        missing: Missing,
    ) -> Result<(Done, Measured)> {
        let settings = self.settings.evaluation.of_arm(arm);
        let made_from = json!({
            "model": done[arm].result, "data": self.corpus.fingerprint(DataUse::Test)?,
            "settings": to_value(&settings)?,
        });
        let name = evaluation_of(arm);
        let record = self.stage(&name, &made_from, missing, |dir| {
            self.measure(arm, &settings, dir)
        })?;
        let file = self.dir.path().join(&name).join("measured.json");
        let text =
            std::fs::read_to_string(&file).map_err(|e| PipelineError::io("read", &file, e))?;
        let measured: Measured = serde_json::from_str(&text)
            .map_err(|e| PipelineError::corrupt(&file, e.to_string()))?;
        for (task, found) in measured.forensics.iter() {
            let checked = found.check();
            checked.map_err(|what| PipelineError::corrupt(&file, format!("{task}, {what}")))?;
        }
        Ok((record, measured))
    }

    /// The test problems, in memory once however many arms are measured at the same time.
    fn tests(&self) -> Result<Arc<Vec<Example>>> {
        let mut held = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tests) = held.as_ref() {
            return Ok(Arc::clone(tests));
        }
        let tests = Arc::new(self.corpus.test(self.settings.evaluation.samples)?);
        Ok(Arc::clone(held.insert(tests)))
    }

    /// Has an arm write on all test problems, and keeps what was measured in `dir`.
    fn measure(&self, arm: &str, settings: &EvaluationSettings, dir: &Path) -> Result<Made> {
        let (corpus, codec) = (self.corpus.as_ref(), self.corpus.codec());
        let examples = self.tests()?;
        tracing::info!("evaluation: {arm} on {} test problems", examples.len());
        let model = self.settings.model_dir(self.dir.path(), arm);
        let writer = self.stages.writer(arm, &model)?;
        let writes_chains = arm != LOOPED_VANILLA;
        let mut written = Written::by(arm, codec);
        let mut kept = KeptChains::open(dir, codec.vocab.len())?;
        let mut predictions = match settings.predictions {
            true => Some(Predictions::create(dir, codec, writes_chains)?),
            false => None,
        };
        let measured = evaluate(corpus, settings, &examples, writes_chains, |part| {
            let asked = settings.shifted(part);
            let chains = written.count(&asked, kept.write(&asked, &writer)?);
            if let Some(predictions) = &mut predictions {
                predictions.add(part, &chains)?;
            }
            Ok(chains)
        })?;
        let seconds = kept.seconds();
        let mut files = vec![PathBuf::from("measured.json")];
        let file = dir.join("measured.json");
        let text = pretty(&file, &measured)?;
        self.dir.check_there()?;
        crate::write_atomically(&file, text.as_bytes())?;
        if let Some(predictions) = predictions {
            predictions.finish()?;
            files.push(PREDICTIONS.into());
        }
        let mut notes = Value::Null;
        written.note(&mut notes)?;
        Ok(Made {
            files,
            notes,
            seconds: Some(seconds),
        })
    }
}
