//! One run on several devices of a machine: each has the model, takes its share of every micro-batch, and makes the same update.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use burn::module::Module;
use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::all_reduce::{AllReduce, Threads, lost};
use crate::loader::message;
use crate::statistics::Window;
use crate::step::{State, Worker};
use crate::{Objective, Result, TrainError, Trainer};

/// A worker's shares of the micro-batches of an update.
type Shares<T> = Vec<Option<T>>;

/// What adds up over other machines, if there are any.
type Machines<B> = Option<Box<dyn AllReduce<B>>>;

/// What connects each worker with the others.
type Ends<B> = Vec<Box<dyn AllReduce<B>>>;

/// The worker of this thread, which tells and saves, and those of the other devices.
#[derive(Debug)]
pub(crate) struct Workers<'scope, 'a, B: AutodiffBackend, O: Objective<B>> {
    first: Worker<'a, B, O>,
    others: Vec<Other<'scope, O::Batch>>,
}

/// Where the workers of this machine stand among those of all.
#[derive(Debug)]
pub(crate) struct Team<I: Backend> {
    /// Workers of the machines before this one.
    pub first_rank: usize,
    /// Workers of all machines.
    pub workers: usize,
    pub machines: Machines<I>,
}

#[derive(Debug)]
struct Other<'scope, T> {
    // Dropped before anyone waits for the thread, which ends as soon as nobody sends.
    work: Sender<Shares<T>>,
    thread: ScopedJoinHandle<'scope, Result<()>>,
}

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    /// Starts the workers of the other devices with what `state` holds.
    ///
    /// # Errors
    /// When they cannot be connected, or the system gives no threads.
    pub(crate) fn start_workers<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        state: &State<B, O::Model>,
        team: Team<B::InnerBackend>,
    ) -> Result<Workers<'scope, 'env, B, O>> {
        let Team {
            first_rank,
            workers,
            machines,
        } = team;
        let worker = |rank: usize, device: &B::Device, others| Worker {
            objective: &self.objective,
            config: &self.config,
            device: device.clone(),
            rank: first_rank + rank,
            workers,
            tasks: self.codec.tasks.len(),
            others,
        };
        if workers == 1 {
            return Ok(Workers {
                first: worker(0, &self.device, None),
                others: Vec::new(),
            });
        }
        let mut ends = self.connect(machines)?.into_iter();
        let first = worker(0, &self.device, ends.next());
        let others = (1..).zip(&self.more_devices).zip(ends);
        let others = others.map(|((rank, device), end)| {
            let worker = worker(rank, device, Some(end));
            let state = copy(state, device);
            let (work, todo) = channel();
            let thread = thread::Builder::new()
                .spawn_scoped(scope, move || follow(worker, state, &todo))
                .map_err(|error| TrainError::Worker {
                    rank: first_rank + rank,
                    reason: format!("the system gives no thread: {error}"),
                })?;
            Ok(Other { work, thread })
        });
        Ok(Workers {
            others: others.collect::<Result<_>>()?,
            first,
        })
    }

    /// What connects the workers of this machine, in their order.
    fn connect(&self, machines: Machines<B::InnerBackend>) -> Result<Ends<B::InnerBackend>> {
        #[cfg(feature = "collective")]
        if self.collective {
            let ends = self.connect_collective(machines)?;
            return Ok(ends.into_iter().map(boxed).collect());
        }
        let ends = Threads::connect(1 + self.more_devices.len(), machines);
        Ok(ends.into_iter().map(boxed).collect())
    }
}

fn boxed<B: Backend>(end: impl AllReduce<B> + 'static) -> Box<dyn AllReduce<B>> {
    Box::new(end)
}

/// Makes the same updates as the first worker, until that sends no more.
fn follow<B: AutodiffBackend, O: Objective<B>>(
    mut worker: Worker<'_, B, O>,
    mut state: State<B, O::Model>,
    todo: &Receiver<Shares<O::Batch>>,
) -> Result<()> {
    while let Ok(batches) = todo.recv() {
        worker.update(&mut state, &batches)?;
    }
    Ok(())
}

/// What another worker has to know, on its device.
fn copy<B: AutodiffBackend, M: Module<B>>(state: &State<B, M>, device: &B::Device) -> State<B, M> {
    State {
        model: state.model.clone().fork(device),
        optimizer: state.optimizer.on_device(device),
        average: None,
        counters: state.counters,
        window: Window::default(),
    }
}

impl<B: AutodiffBackend, O: Objective<B>> Workers<'_, '_, B, O> {
    /// One update, on all devices.
    ///
    /// # Errors
    /// When too many updates in a row had to be skipped; and, with `state` as it was, when a worker failed.
    pub fn update(&mut self, state: &mut State<B, O::Model>, batches: Vec<O::Batch>) -> Result<()> {
        let own = match self.share(batches) {
            Ok(own) => own,
            Err(error) => return Err(self.reason(error)),
        };
        self.first
            .update(state, &own)
            .map_err(|error| self.reason(error))
    }

    /// Gives the others their shares of the micro-batches, and the first worker its own.
    fn share(&self, batches: Vec<O::Batch>) -> Result<Shares<O::Batch>> {
        let Worker { rank, workers, .. } = self.first;
        if workers == 1 {
            return Ok(batches.into_iter().map(Some).collect());
        }
        let here = 1 + self.others.len();
        let mut shares: Vec<Shares<O::Batch>> = (0..here).map(|_| Vec::new()).collect();
        for batch in batches {
            // Those before and after are the other machines', which make the same batches.
            let parts = self.first.objective.share(batch, workers);
            let parts = parts.into_iter().skip(rank);
            for (share, part) in shares.iter_mut().zip(parts) {
                share.push(part);
            }
        }
        let mut shares = shares.into_iter();
        let own = shares.next().unwrap_or_default();
        for ((rank, other), share) in (1..).zip(&self.others).zip(shares) {
            other.work.send(share).map_err(|_| lost(rank))?;
        }
        Ok(own)
    }

    /// What a lost worker said, which tells more than that it is lost.
    fn reason(&mut self, error: TrainError) -> TrainError {
        let (rank, told) = match error {
            TrainError::Worker { rank, reason } => (rank, reason),
            error => return error,
        };
        // Whoever still waits for the others has to hear that there will be no more.
        self.first.others = None;
        let threads = std::mem::take(&mut self.others).into_iter();
        let threads: Vec<_> = threads.map(|other| other.thread).collect();
        let ended: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        let reason = match rank.checked_sub(1).and_then(|at| ended.into_iter().nth(at)) {
            Some(Err(panic)) => message(panic.as_ref()),
            Some(Ok(Err(error))) => error.to_string(),
            _ => told,
        };
        let rank = self.first.rank + rank;
        TrainError::Worker { rank, reason }
    }
}
