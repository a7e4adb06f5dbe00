//! A run's settings restricted to one of its tasks (figure 2 of the paper).

use serde_json::{Value, json};

use crate::{DataSettings, PipelineError, Result, Settings, run_dir::to_value};

impl Settings {
    /// Names of the tasks that problems are drawn from; none for files.
    pub fn task_names(&self) -> Vec<&'static str> {
        match &self.data {
            DataSettings::Generated(tasks) => tasks.iter().map(|task| task.name()).collect(),
            DataSettings::Files(_) => Vec::new(),
        }
    }

    /// The same settings for `task` alone: every model has the updates that fall to one task, and its loss no weights.
    ///
    /// # Errors
    /// When the settings have no such task.
    pub fn single_task(&self, task: &str) -> Result<Self> {
        let names = self.task_names();
        if !names.contains(&task) {
            let right = format!("one of {}", names.join(", "));
            return Err(PipelineError::settings("task", task, right));
        }
        let mut json = to_value(self)?;
        let stages = json.as_object_mut().into_iter().flatten();
        for (name, stage) in stages {
            // The phases of self-chains are one level down.
            let stage = match name.as_str() {
                "self_chains" => stage.get_mut("phase"),
                _ => Some(stage),
            };
            let Some(stage) = stage else { continue };
            if let Some(steps) = stage.pointer("/train/steps").and_then(Value::as_u64) {
                stage["train"]["steps"] = json!(steps.div_ceil(names.len() as u64));
                stage["task_weights"] = json!([]);
            }
        }
        let mut settings: Self = serde_json::from_value(json)
            .map_err(|e| PipelineError::settings("task", task, e.to_string()))?;
        if let DataSettings::Generated(tasks) = &mut settings.data {
            tasks.retain(|one| one.name() == task);
        }
        let matrices = &mut settings.evaluation.hit_matrices;
        matrices.retain(|(of, _)| of == task);
        settings.preset = format!("{}-{task}-alone", self.preset);
        settings.validate()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_task_has_its_share_of_the_updates() {
        let all = crate::preset("mini", 1).unwrap();
        let one = all.single_task("ed").unwrap();
        assert_eq!(one.task_names(), ["ed"]);
        assert_eq!(
            one.looped_aligned.train.steps,
            all.looped_aligned.train.steps.div_ceil(3)
        );
        assert_eq!(
            one.ar_relay.train.steps,
            all.ar_relay.train.steps.div_ceil(3)
        );
        assert!(one.ar_baseline.task_weights.is_empty());
        let error = all.single_task("sort").unwrap_err().to_string();
        assert!(error.contains("ari, ed, lis"), "{error}");
    }
}
