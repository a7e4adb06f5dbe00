//! The two sides of a run on several machines: what the leader does beside its own updates, and what a follower does.

use std::thread;

use burn::tensor::backend::AutodiffBackend;
use serde_json::Value;

use crate::after_update::Log;
use crate::loader::{Loader, Update};
use crate::machines::{Next, Start};
use crate::optimizer::Optimizer;
use crate::own_pool::in_own_pool;
use crate::step::State;
use crate::wire::{Call, Message};
use crate::workers::Team;
use crate::{ExampleSource, Followers, Leader, Objective, Result, StopFlag, TrainError, Trainer};

/// A model after a training that another machine led.
#[derive(Debug, Clone)]
pub struct Followed<M> {
    /// The model, with the leader's last weights bit by bit, but without the average that the leader may keep.
    pub model: M,
    /// Updates made, skipped ones and those before this machine joined included.
    pub steps: u64,
}

/// The state after some updates, unless too many skipped ones lost it, and what the leader said in place of the next.
type Ended<B, M> = (Option<State<B, M>>, Next);

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    /// Leads a run on several machines: what [`more_devices`](Self::more_devices) does on one, with the workers of all. A
    /// machine that is lost ends the run with an error, one that is asked to stop ends it after a checkpoint. Good for
    /// one run.
    pub fn lead(mut self, followers: Followers) -> Self {
        self.followers = Some(followers);
        self
    }

    /// Makes the updates of a run that another machine [leads](Self::lead), with the same settings, objective and source. State
    /// and settings of the run come from there. Nothing is validated, told or saved here.
    ///
    /// # Errors
    /// - [`TrainError::Input`] when `leader` was joined with another number of workers than this trainer has devices, or an
    ///   update has other batches than on the machine that leads.
    /// - [`TrainError::OtherSettings`] when the leader has other settings.
    /// - [`TrainError::Interrupted`] when the leader stopped.
    /// - [`TrainError::Machine`] when the leader failed or is lost.
    /// - What a run on one machine ends with.
    pub fn follow(
        &self,
        model: O::Model,
        source: &dyn ExampleSource,
        leader: &Leader,
        stop: &StopFlag,
    ) -> Result<Followed<O::Model>> {
        let outcome = in_own_pool(|| self.follow_on(model, source, leader, stop));
        // Whoever leads says why itself.
        match &outcome {
            Ok(_) | Err(TrainError::Machine { .. } | TrainError::Interrupted { .. }) => {}
            Err(error) => leader.fail(error),
        }
        outcome
    }

    fn follow_on(
        &self,
        model: O::Model,
        source: &dyn ExampleSource,
        leader: &Leader,
        stop: &StopFlag,
    ) -> Result<Followed<O::Model>> {
        self.objective.check_model(&model)?;
        self.objective
            .check_settings(&model, &self.model_settings)?;
        leader.check_workers(1 + self.more_devices.len())?;
        let first = leader.next(Some(stop)).map_err(|error| match error {
            // It may have waited for other machines all the time, and goes on without this one.
            TrainError::Machine { .. } if stop.is_set() => {
                let stopped = TrainError::Interrupted { step: 0 };
                leader.fail(&stopped);
                stopped
            }
            error => error,
        });
        let (mut state, mut next) = (None, first?);
        loop {
            match (next, state) {
                (Next::Start(start), _) => {
                    (state, next) = self.start(start, model.clone(), source, leader, stop)?;
                }
                (
                    Next::Done,
                    Some(State {
                        model, counters, ..
                    }),
                ) => {
                    let steps = counters.step;
                    return Ok(Followed { model, steps });
                }
                (Next::Stopped(step), _) => return Err(TrainError::Interrupted { step }),
                (Next::Update(_) | Next::Done, _) => {
                    return Err(leader.lost("it did not say first where to start"));
                }
            }
        }
    }

    /// Makes updates from the leader's checkpoint on.
    fn start(
        &self,
        Start {
            checkpoint,
            first_rank,
            workers,
        }: Start,
        model: O::Model,
        source: &dyn ExampleSource,
        leader: &Leader,
        stop: &StopFlag,
    ) -> Result<Ended<B, O::Model>> {
        self.check(&checkpoint, &source.settings())?;
        let optimizer = Optimizer::new(&self.config);
        let mut state = self.state_of(&checkpoint, model, optimizer)?;
        // The leader keeps it.
        state.average = None;
        tracing::info!(
            "following {} after step {}: workers {first_rank} to {} of {workers}",
            leader.address(),
            state.counters.step,
            first_rank + self.more_devices.len(),
        );
        let team = Team {
            first_rank,
            workers,
            machines: Some(leader.all_reduce()),
        };
        self.updates_called_for(state, team, source, leader, stop)
    }

    /// Makes updates for as long as the leader calls for them.
    fn updates_called_for(
        &self,
        mut state: State<B, O::Model>,
        team: Team<B::InnerBackend>,
        source: &dyn ExampleSource,
        leader: &Leader,
        stop: &StopFlag,
    ) -> Result<Ended<B, O::Model>> {
        thread::scope(|scope| {
            let todo = state.counters.step..self.config.steps;
            let widths = self.config.width_multiple;
            let loader = Loader::start::<B, O>(scope, source, &self.objective, widths, todo)?;
            let mut workers = self.start_workers(scope, &state, team)?;
            loop {
                // The leader may validate or save for minutes. It hears of a stop with the next update, and then ends the run in
                // good order; whether it is there at all the system watches.
                let there = match leader.next(None)? {
                    Next::Update(call) => call,
                    other => return Ok((Some(state), other)),
                };
                let ready = loader.next(state.counters.step)?;
                same(call_for(&state, &ready), there)?;
                match workers.update(&mut state, ready.batches) {
                    Ok(()) => state.counters.see(ready.samples, ready.effort),
                    // The leader found the same, and says what becomes of it.
                    Err(TrainError::NotFinite { .. }) => {
                        leader.made(stop)?;
                        return Ok((None, leader.next(None)?));
                    }
                    Err(error) => return Err(error),
                }
                leader.made(stop)?;
            }
        })
    }

    /// Where the workers of this machine stand in a run that it leads, or makes alone; the followers start from `state`.
    pub(crate) fn team(
        &self,
        state: &State<B, O::Model>,
        data: &Value,
        stop: &StopFlag,
    ) -> Result<Team<B::InnerBackend>> {
        let own = 1 + self.more_devices.len();
        let Some(followers) = &self.followers else {
            return Ok(Team {
                first_rank: 0,
                workers: own,
                machines: None,
            });
        };
        followers.start(own, &self.sealed(state, data)?, stop)?;
        Ok(Team {
            first_rank: 0,
            workers: own + followers.workers(),
            machines: Some(followers.all_reduce(stop)),
        })
    }

    /// Calls the followers, if there are any, for the `next` update. Where one is lost or was asked to stop, `state` is saved
    /// and the run ends.
    pub(crate) fn call(
        &self,
        state: &State<B, O::Model>,
        next: &Update<O::Batch>,
        log: &mut Log,
        stop: &StopFlag,
    ) -> Result<()> {
        let Some(followers) = &self.followers else {
            return Ok(());
        };
        let call = call_for(state, next);
        match followers.call(call, stop) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.save_at_end(state, log)?;
                Err(TrainError::Interrupted { step: call.step })
            }
            Err(error) => Err(self.rescued(state, log, error, stop)),
        }
    }

    /// Tells the followers, if there are any, how a run ended.
    pub(crate) fn tell_followers<T>(&self, outcome: &Result<T>) {
        if let Some(followers) = &self.followers {
            followers.end(&match outcome {
                Ok(_) => Message::Done,
                Err(error) => Message::how_it_ended(error),
            });
        }
    }
}

fn call_for<B: AutodiffBackend, M, T>(state: &State<B, M>, next: &Update<T>) -> Call {
    Call {
        step: state.counters.step,
        samples: next.samples,
        effort: next.effort,
    }
}

/// That an update has the same batches on both machines, as far as their sizes tell.
fn same(here: Call, there: Call) -> Result<()> {
    if here == there {
        return Ok(());
    }
    let told = |call: Call| {
        let (step, samples, tokens) = (call.step, call.samples, call.effort.tokens);
        format!("{samples} samples of {tokens} tokens after step {step}")
    };
    let expected = told(there) + ", as on the machine that leads";
    let what = "the next update of this machine";
    Err(TrainError::input(what, told(here), expected))
}
