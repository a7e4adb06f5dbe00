//! The side of the machine that leads.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{thread, time::Duration};

use burn::tensor::{Tensor, backend::Backend};

use super::{LOOK, PROGRAM, data, tensor};
use crate::all_reduce::AllReduce;
use crate::checkpoint::Sealed;
use crate::wire::{Call, Message, Wire};
use crate::{Result, StopFlag, TrainError};

/// How long a program that connects may take to say what it is.
const GREETING: Duration = Duration::from_secs(5);

/// The machines that follow, as the one that leads sees them.
///
/// The network has to be one that is trusted: nobody is asked for a password, and nothing is encrypted.
#[derive(Debug, Clone)]
pub struct Followers {
    lines: Arc<Mutex<Vec<Line>>>,
}

#[derive(Debug)]
struct Line {
    wire: Wire,
    workers: usize,
    /// Whether it was called for an update and has not said yet that it made it.
    called: bool,
}

impl Followers {
    /// Waits at `listener` until this many machines have joined, for as long as `stop` is not set. Whoever connects and is
    /// no follower of the same version is sent away, and who has joined already hears why there is no run.
    ///
    /// # Errors
    /// [`TrainError::Interrupted`] when `stop` is set, [`TrainError::Machine`] when nobody can connect.
    pub fn gather(listener: &TcpListener, machines: usize, stop: &StopFlag) -> Result<Self> {
        let followers = Self {
            lines: Arc::default(),
        };
        let gathered = followers.wait_for(listener, machines, stop);
        match gathered {
            Ok(()) => Ok(followers),
            Err(error) => {
                followers.end(&Message::how_it_ended(&error));
                Err(error)
            }
        }
    }

    fn wait_for(&self, listener: &TcpListener, machines: usize, stop: &StopFlag) -> Result<()> {
        let failed = |error: std::io::Error| TrainError::Machine {
            address: listener
                .local_addr()
                .map_or_else(|_| "here".to_owned(), |address| address.to_string()),
            reason: error.to_string(),
        };
        listener.set_nonblocking(true).map_err(failed)?;
        let mut lines = self.lines();
        while lines.len() < machines {
            match listener.accept() {
                Ok((stream, address)) => match greet(stream, stop) {
                    Ok(line) => {
                        lines.push(line);
                        tracing::info!("{address} joined: {} of {machines} followers", lines.len());
                    }
                    Err(error) => tracing::warn!("{error}; still waiting for followers"),
                },
                // The second: somebody was gone before it was let in.
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::ConnectionAborted]
                        .contains(&error.kind()) =>
                {
                    thread::sleep(LOOK);
                }
                Err(error) => return Err(failed(error)),
            }
            if stop.is_set() {
                return Err(TrainError::Interrupted { step: 0 });
            }
        }
        Ok(())
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What adds up with the other machines, and does not wait for one much longer once `stop` is set.
    pub(crate) fn all_reduce<B: Backend>(&self, stop: &StopFlag) -> Box<dyn AllReduce<B>> {
        Box::new(Sums {
            followers: self.clone(),
            stop: stop.clone(),
        })
    }

    /// Workers of all followers.
    pub(crate) fn workers(&self) -> usize {
        self.lines().iter().map(|line| line.workers).sum()
    }

    /// Has all start from a checkpoint. The leader has the first `own` workers.
    pub(crate) fn start(&self, own: usize, checkpoint: &Sealed, stop: &StopFlag) -> Result<()> {
        if self.lines().is_empty() {
            let right = "at least 1, and those of a run that ended are gone";
            return Err(TrainError::input("the number of followers", 0, right));
        }
        self.done_with_update(stop)?;
        let workers = own + self.workers();
        let mut first_rank = own;
        for line in self.lines().iter_mut() {
            let wire = &mut line.wire;
            let start = Message::Start {
                first_rank,
                workers,
            };
            wire.say(&start, Some(stop))?;
            wire.give(checkpoint.manifest.as_bytes(), Some(stop))?;
            for bytes in checkpoint.files.values() {
                wire.give(bytes, Some(stop))?;
            }
            first_rank += line.workers;
        }
        Ok(())
    }

    /// Calls for an update. Gives false, and calls for none, when a follower was asked to stop.
    pub(crate) fn call(&self, update: Call, stop: &StopFlag) -> Result<bool> {
        if self.done_with_update(stop)? {
            return Ok(false);
        }
        for line in self.lines().iter_mut() {
            line.wire.say(&Message::Update(update), Some(stop))?;
            line.called = true;
        }
        Ok(true)
    }

    /// Hears from all that they made the update that they were last called for, and whether one was asked to stop.
    fn done_with_update(&self, stop: &StopFlag) -> Result<bool> {
        let mut stopped = false;
        for line in self.lines().iter_mut() {
            if !std::mem::take(&mut line.called) {
                continue;
            }
            match line.wire.hear(Some(stop), None)? {
                Message::Made { stopped: false } => {}
                Message::Made { stopped: true } => {
                    tracing::info!("{} was asked to stop", line.wire.address());
                    stopped = true;
                }
                Message::Failed { reason } => return Err(line.wire.lost(reason)),
                _ => return Err(line.wire.lost("it did not say that it made its update")),
            }
        }
        Ok(stopped)
    }

    /// Tells all how the run ended. Who is lost by then is not waited for.
    pub(crate) fn end(&self, last_word: &Message) {
        for line in self.lines().drain(..) {
            let mut wire = line.wire;
            // The run is over: who does not take it is not waited for much longer.
            let over = StopFlag::default();
            over.set();
            match wire.say(last_word, Some(&over)) {
                Ok(()) => wire.close(),
                Err(error) => tracing::debug!("{error}"),
            }
        }
    }
}

/// The first words with a machine that wants to join.
fn greet(stream: TcpStream, stop: &StopFlag) -> Result<Line> {
    let address = stream.peer_addr();
    let mut wire = Wire::new(stream).map_err(|error| TrainError::Machine {
        address: address.map_or_else(|_| "somebody".to_owned(), |address| address.to_string()),
        reason: error.to_string(),
    })?;
    match wire.hear(Some(stop), Some(GREETING))? {
        Message::Join { program, workers } if program == PROGRAM && workers > 0 => Ok(Line {
            wire,
            workers,
            called: false,
        }),
        Message::Join { program, .. } => {
            let reason = format!("{program} cannot follow {PROGRAM}: all machines need the same");
            let failed = Message::Failed {
                reason: reason.clone(),
            };
            let said = wire.say(&failed, Some(stop));
            said.and(Err(wire.lost(reason)))
        }
        _ => Err(wire.lost("it did not say that it wants to join")),
    }
}

/// The leader's part in adding up.
#[derive(Debug)]
struct Sums {
    followers: Followers,
    stop: StopFlag,
}

impl<B: Backend> AllReduce<B> for Sums {
    fn sum(&mut self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>> {
        let mut lines = self.followers.lines();
        let (device, length) = (values.device(), values.dims()[0]);
        let mut sum = values;
        for line in lines.iter_mut() {
            let part = line.wire.take(Some(&self.stop))?;
            sum = sum + tensor(&part, length, &device).map_err(|reason| line.wire.lost(reason))?;
        }
        let all = data(sum.clone());
        for line in lines.iter_mut() {
            line.wire.give(all.as_bytes(), Some(&self.stop))?;
        }
        Ok(sum)
    }
}
