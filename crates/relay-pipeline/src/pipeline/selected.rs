//! A run of some of its arms, beside other runs that may lend it stages.

use std::path::PathBuf;

use super::*;
use crate::{cost::needs, making::Making, side_by_side::side_by_side};

/// The finished stages of a run by name.
type StagesDone = BTreeMap<&'static str, Done>;

/// An arm, the record of its evaluation and what that measured.
type ArmMeasured = (&'static str, Done, Measured);

impl<B: AutodiffBackend> Pipeline<B> {
    /// The same run, which takes over stages that the runs in `lenders` have finished and that were made from the same.
    #[must_use]
    pub fn reusing(mut self, lenders: Vec<PathBuf>) -> Self {
        self.dir.reuse_from(lenders);
        self
    }

    /// The same run, beside other runs of this process that have the same `making`.
    #[must_use]
    pub(crate) fn sharing(mut self, making: Arc<Making>) -> Self {
        self.dir.share(making);
        self
    }

    /// As [`run`](Self::run), for `arms` only: what they are made from is trained, and they are measured. No name means all
    /// arms. The run can be continued for other arms later. The results hold other arms, too, that were finished before;
    /// where what one of these has made is damaged, a warning says so, and it is left out.
    ///
    /// # Errors
    /// When the settings have no such arm, and what a stage returns.
    pub fn run_arms(&self, arms: &[String]) -> Result<Results> {
        self.settings.check_arms(arms)?;
        // A failure before may have stopped what ran beside it.
        self.stop.clear();
        let asked = |name: &str| arms.is_empty() || arms.iter().any(|arm| arm == name);
        let all = self.settings.stages().into_iter().map(|(arm, _)| arm);
        let (asked, others): (Vec<_>, Vec<_>) = all.clone().partition(|arm| asked(arm));
        let mut done = self.stages_for(&asked, Missing::Make)?;
        let mut measured = side_by_side(self.jobs, &self.stop, asked, |arm| {
            self.measured(arm, &done, Missing::Make)
        })?;
        for arm in others {
            if let Some((stages, finished)) = self.finished_before(arm)? {
                done.extend(stages);
                measured.push(finished);
            }
        }
        let place = |arm: &str| all.clone().position(|one| one == arm);
        measured.sort_by_key(|(arm, ..)| place(arm));
        let results = self.results(&done, &measured)?;
        self.dir.check_there()?;
        write_report(&results, self.dir.path())?;
        Ok(results)
    }

    fn measured(
        &self,
        arm: &'static str,
        done: &BTreeMap<&'static str, Done>,
        missing: Missing,
    ) -> Result<ArmMeasured> {
        let (record, values) = self.evaluate(arm, done, missing)?;
        Ok((arm, record, values))
    }

    /// What an arm is made from and what was measured of it, if all of that is finished.
    fn finished_before(&self, arm: &'static str) -> Result<Option<(StagesDone, ArmMeasured)>> {
        let found = self.stages_for(&[arm], Missing::Refuse).and_then(|done| {
            let measured = self.measured(arm, &done, Missing::Refuse)?;
            Ok((done, measured))
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(PipelineError::NotFinished { .. }) => Ok(None),
            Err(error) if error.is_interrupted() => Err(error),
            // Nobody asked for it: what was asked for is told all the same.
            Err(error) => {
                tracing::warn!("{arm}: is left out of the report: {error}");
                Ok(None)
            }
        }
    }

    /// Trains `arms` and what they are made from.
    fn stages_for(&self, arms: &[&'static str], missing: Missing) -> Result<StagesDone> {
        let needed = |stage: &str| arms.iter().any(|arm| needs(arm, stage));
        // Looking takes no time, and what is not found must not stop anything beside it.
        let jobs = if missing == Missing::Make {
            self.jobs
        } else {
            1
        };
        // The one that takes longest comes first, so that the others fill the time beside it.
        let alone = [LOOPED_ALIGNED, LOOPED_VANILLA, AR_BASELINE];
        let alone = alone.into_iter().filter(|arm| needed(arm)).collect();
        let trained = side_by_side(jobs, &self.stop, alone, |arm| {
            Ok((arm, self.train(arm, missing)?))
        })?;
        let mut done: BTreeMap<_, _> = trained.into_iter().collect();
        let relay = needed(AR_RELAY).then_some(AR_RELAY);
        let own = self.settings.self_arms().filter(|arm| arms.contains(arm));
        let tuned = side_by_side(
            jobs,
            &self.stop,
            relay.into_iter().chain(own).collect(),
            |arm| match arm {
                AR_RELAY => self.relay(&done, missing),
                own => Ok(vec![(own, self.self_arm(own, &done, missing)?)]),
            },
        )?;
        done.extend(tuned.into_iter().flatten());
        Ok(done)
    }

    /// Stage II: chains, merged data, fine-tuned model.
    fn relay(&self, done: &StagesDone, missing: Missing) -> Result<Vec<(&'static str, Done)>> {
        let chains = self.chains(&done[LOOPED_ALIGNED], missing)?;
        let merged = self.merge(&chains, missing)?;
        let model = self.fine_tune(&done[AR_BASELINE], &merged, missing)?;
        Ok(vec![(CHAINS, chains), (MERGED, merged), (AR_RELAY, model)])
    }
}
