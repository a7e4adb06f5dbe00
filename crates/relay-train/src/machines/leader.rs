//! The side of a machine that follows.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{thread, time::Duration};

use burn::tensor::{Tensor, backend::Backend};

use super::{LOOK, PROGRAM, data, tensor};
use crate::all_reduce::AllReduce;
use crate::restore::Verified;
use crate::wire::{Call, Message, Wire};
use crate::{Result, StopFlag, TrainError};

/// How long a machine tries to reach the one that leads before it looks whether it is to stop.
const CONNECTING: Duration = Duration::from_secs(2);

/// The machine that leads, as one that follows sees it.
#[derive(Debug)]
pub struct Leader {
    wire: Arc<Mutex<Wire>>,
    /// What was said to it.
    workers: usize,
}

/// Where a follower starts: from a checkpoint, as the first of some of all workers.
#[derive(Debug)]
pub(crate) struct Start {
    pub checkpoint: Box<Verified>,
    pub first_rank: usize,
    pub workers: usize,
}

/// What a follower has to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Start.
    Start(Start),
    /// Make this update.
    Update(Call),
    /// End: all updates are made.
    Done,
    /// End: the run was stopped after this many updates.
    Stopped(u64),
}

impl Leader {
    /// Joins the run that is led at `address`, a name or number and a port, with this many workers. Tries again until
    /// somebody is there or `stop` is set.
    ///
    /// # Errors
    /// [`TrainError::Machine`] when `address` is none, [`TrainError::Interrupted`] when `stop` is set.
    pub fn join(address: &str, workers: usize, stop: &StopFlag) -> Result<Self> {
        let failed = |reason: String| TrainError::Machine {
            address: address.to_owned(),
            reason,
        };
        let addresses: Vec<SocketAddr> = address
            .to_socket_addrs()
            .map_err(|error| failed(error.to_string()))?
            .collect();
        if addresses.is_empty() {
            return Err(failed("it is no address".to_owned()));
        }
        let mut tried = 0;
        let stream = loop {
            if stop.is_set() {
                return Err(TrainError::Interrupted { step: 0 });
            }
            // Where what is sent gets lost, the system would try for minutes.
            let one = addresses[tried % addresses.len()];
            match TcpStream::connect_timeout(&one, CONNECTING) {
                Ok(stream) => break stream,
                Err(error) if tried == 0 => {
                    tracing::info!("{address}: {error}; trying again until it is there");
                }
                Err(_) => {}
            }
            tried += 1;
            thread::sleep(LOOK);
        };
        let mut wire = Wire::new(stream).map_err(|error| failed(error.to_string()))?;
        let join = Message::Join {
            program: PROGRAM.to_owned(),
            workers,
        };
        wire.say(&join, Some(stop))?;
        let wire = Arc::new(Mutex::new(wire));
        Ok(Self { wire, workers })
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What adds up with the other machines.
    pub(crate) fn all_reduce<B: Backend>(&self) -> Box<dyn AllReduce<B>> {
        Box::new(Self {
            wire: Arc::clone(&self.wire),
            workers: self.workers,
        })
    }

    /// That this machine has as many workers as it said, which the leader deals the shares of every batch to: with fewer some
    /// would be lost, with more some would count twice.
    pub(crate) fn check_workers(&self, devices: usize) -> Result<()> {
        if self.workers == devices {
            return Ok(());
        }
        let right = format!("{devices}, the devices of the trainer that follows");
        let what = "the number of workers named on joining";
        Err(TrainError::input(what, self.workers, right))
    }

    /// Where the leader is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.wire().address()
    }

    /// That the leader does what it must not.
    pub(crate) fn lost(&self, reason: impl ToString) -> TrainError {
        self.wire().lost(reason)
    }

    /// What the leader says next; with `stop` it is not waited for much longer once that is set.
    pub(crate) fn next(&self, stop: Option<&StopFlag>) -> Result<Next> {
        let mut wire = self.wire();
        match wire.hear(stop, None)? {
            Message::Start {
                first_rank,
                workers,
            } => {
                let manifest = wire.take(stop)?;
                let name = PathBuf::from(format!("of the run led at {}", wire.address()));
                let next_file = || wire.take(stop);
                let checkpoint = Verified::received(name, &manifest, next_file)?;
                Ok(Next::Start(Start {
                    checkpoint: Box::new(checkpoint),
                    first_rank,
                    workers,
                }))
            }
            Message::Update(update) => Ok(Next::Update(update)),
            Message::Done => Ok(Next::Done),
            Message::Stopped { step } => Ok(Next::Stopped(step)),
            Message::Failed { reason } => Err(wire.lost(reason)),
            Message::Join { .. } | Message::Made { .. } => {
                Err(wire.lost("it speaks as one that follows"))
            }
        }
    }

    /// Says that an update was made. A follower that is asked to stop says so here, and hears what becomes of the run: the
    /// leader saves and tells all to stop.
    pub(crate) fn made(&self, stop: &StopFlag) -> Result<()> {
        let stopped = stop.is_set();
        self.wire().say(&Message::Made { stopped }, Some(stop))
    }

    /// Says why this machine cannot go on.
    pub(crate) fn fail(&self, error: &TrainError) {
        let reason = error.to_string();
        if let Err(error) = self.wire().say(&Message::Failed { reason }, None) {
            tracing::debug!("{error}");
        }
    }
}

impl<B: Backend> AllReduce<B> for Leader {
    fn sum(&mut self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>> {
        let (device, length) = (values.device(), values.dims()[0]);
        let mut wire = self.wire();
        wire.give(data(values).as_bytes(), None)?;
        let all = wire.take(None)?;
        tensor(&all, length, &device).map_err(|reason| wire.lost(reason))
    }
}
