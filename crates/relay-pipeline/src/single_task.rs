//! A run's settings restricted to one of its tasks (figure 2 of the paper).

use crate::{DataSettings, PipelineError, Result, Settings};

impl Settings {
    /// Names of the tasks that problems are drawn from; none for files and for data that a program brings along.
    pub fn task_names(&self) -> Vec<&'static str> {
        match &self.data {
            DataSettings::Generated(tasks) => tasks.iter().map(|task| task.name()).collect(),
            DataSettings::Files(_) | DataSettings::Own(_) => Vec::new(),
        }
    }

    /// The same settings for `task` alone: every model has the updates that fall to one task, and its loss no weights.
    ///
    /// # Errors
    /// When the settings have no such task.
    pub fn single_task(&self, task: &str) -> Result<Self> {
        let names = self.task_names();
        if !names.contains(&task) {
            let right = if names.is_empty() {
                "left out where the data are files, or those of a program of one's own".to_owned()
            } else {
                format!("one of {}", names.join(", "))
            };
            return Err(PipelineError::settings("task", task, right));
        }
        let mut settings = self.clone();
        settings.share_of_updates(names.len() as u64);
        settings.keep_task(task);
        let alone = format!("-{task}-alone");
        if !settings.preset.ends_with(&alone) {
            settings.preset += &alone;
        }
        settings.validate()?;
        Ok(settings)
    }

    /// Leaves out what is of other tasks than `task`, which is one of these.
    pub(crate) fn keep_task(&mut self, task: &str) {
        if let DataSettings::Generated(tasks) = &mut self.data {
            tasks.retain(|one| one.name() == task);
        }
        for stage in self.stages_mut() {
            stage.curriculum.take_if(|grown| !grown.is_for(task));
            if let Some(grown) = &mut stage.curriculum {
                grown.tasks.clear();
            }
        }
        let matrices = &mut self.evaluation.hit_matrices;
        matrices.retain(|(of, _)| of == task);
    }
}

#[cfg(test)]
mod tests {
    use relay_train::Curriculum;

    #[test]
    fn one_task_has_its_share_of_the_updates() {
        let mut all = crate::preset("mini", 1).unwrap();
        all.ar_baseline.curriculum = Some(Curriculum {
            start: 0.0,
            steps: 3000,
            tasks: vec!["lis".into(), "ed".into()],
        });
        let one = all.single_task("ed").unwrap();
        assert_eq!(one.task_names(), ["ed"]);
        assert_eq!(one.single_task("ed").unwrap(), one);
        assert_eq!(
            one.looped_aligned.train.steps,
            all.looped_aligned.train.steps.div_ceil(3)
        );
        assert_eq!(
            one.ar_relay.train.steps,
            all.ar_relay.train.steps.div_ceil(3)
        );
        let grown = one.ar_baseline.curriculum.unwrap();
        assert_eq!((grown.steps, grown.tasks.len()), (1000, 0));
        let other = all.single_task("ari").unwrap();
        assert_eq!(other.ar_baseline.curriculum, None);
        assert!(one.ar_baseline.task_weights.is_empty());
        let error = all.single_task("sort").unwrap_err().to_string();
        assert!(error.contains("ari, ed, lis"), "{error}");
    }
}
