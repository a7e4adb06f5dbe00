//! What the records of the stages and what was measured come to: the results.

use super::*;
use crate::{
    Counts, LengthResult, RightTokens,
    arms::{AR_SELF_LOOP, AR_SELF_TRUTH},
    cost,
    machine::name_machines,
    self_chains::chains_in,
};

impl<B: AutodiffBackend> Pipeline<B> {
    pub(super) fn results(
        &self,
        done: &BTreeMap<&str, Done>,
        measured: &[(&str, Done, Measured)],
    ) -> Result<Results> {
        let mut results = self.head()?;
        let made_of = (&self.settings, self.corpus.as_ref());
        let mut stages = Vec::new();
        for stage in [
            LOOPED_ALIGNED,
            LOOPED_VANILLA,
            AR_BASELINE,
            CHAINS,
            MERGED,
            AR_RELAY,
            AR_SELF_LOOP,
            AR_SELF_TRUTH,
        ] {
            let Some(record) = done.get(stage) else {
                continue;
            };
            stages.push((stage.to_owned(), record));
            cost::add(&mut results, stage, record, made_of);
            if let Some(chains) = chains_in(&record.notes) {
                results.written_chains.insert(stage, chains);
            }
        }
        let evaluated = measured.iter();
        stages.extend(evaluated.map(|(arm, record, _)| (evaluation_of(arm), record)));
        name_machines(&mut results, stages.iter().cloned());
        let evaluations = measured.iter().map(|(arm, record, _)| (*arm, record));
        cost::add_evaluation(&mut results, evaluations, made_of);
        for (arm, _, measured) in measured {
            Self::add_arm(&mut results, arm, measured);
        }
        self.tell_step_ends(&mut results);
        Ok(results)
    }

    /// What results say before anything is measured.
    fn head(&self) -> Result<Results> {
        let Settings { preset, seed, .. } = &self.settings;
        let mut results = Results::new(preset, *seed, &self.about.device);
        results.command.clone_from(&self.about.command);
        results.settings = to_value(&self.settings.clone().with_vocab(self.corpus.codec()))?;
        let tasks = self.corpus.codec().tasks.iter();
        for (info, lengths) in tasks.zip(self.corpus.train_lengths()) {
            results.train_lengths.insert(&info.name, lengths);
        }
        Ok(results)
    }

    /// Says of the hit matrices whether their last column is the end of a step.
    fn tell_step_ends(&self, results: &mut Results) {
        for matrices in &mut results.hit_matrices {
            let mut tasks = self.corpus.codec().tasks.iter();
            let task = tasks.find(|task| task.name == matrices.task);
            // Where the last step is the answer, that is what its last token is.
            matrices.step_end =
                task.is_some_and(|task| task.step_end.is_some() && !task.answer_is_last_step);
        }
    }

    fn add_arm(results: &mut Results, arm: &str, measured: &Measured) {
        for (task, lengths) in &measured.by_length {
            for (&length, counts) in lengths {
                results.add(
                    arm,
                    task,
                    length_result(length, counts, measured.writes_chains),
                );
            }
        }
        if !measured.forensics.is_empty() {
            results.forensics.insert(arm, measured.forensics.clone());
        }
        for (task, length, matrix) in &measured.hit_matrices {
            let counts = measured.by_length.get(task).and_then(|of| of.get(length));
            let n = counts.map_or(0, |counts| counts.problems as u64);
            results.add_hit_matrix(arm, task, *length, n, matrix.clone());
        }
    }
}

fn length_result(length: usize, counts: &Counts, writes_chains: bool) -> LengthResult {
    let chains = RightTokens {
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
