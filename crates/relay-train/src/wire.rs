//! Messages between the machines of a run.
//!
//! A frame is a byte that says what it is, its length in 8 bytes, and that many bytes: a [`Message`] as JSON, or data. Numbers
//! are little-endian.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Effort, Result, StopFlag, TrainError};

/// The most bytes of a message; a reason that somebody gives is the longest part of one.
const LARGEST_MESSAGE: u64 = 1 << 20;

/// The most bytes that are read at once.
const AT_ONCE: u64 = 1 << 18;

/// How often a machine that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// How long a machine that was asked to stop waits for the others, so that the run ends in good order.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// How long the other side may take to hear the last word.
const PARTING: Duration = Duration::from_secs(2);

/// What machines say to each other besides data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Message {
    /// The first word of a follower: what it runs, and how many workers it has.
    Join { program: String, workers: usize },
    /// Updates start from a checkpoint, which comes next as data: its manifest, then the files that this lists, in order.
    Start {
        /// The first of the follower's workers among all.
        first_rank: usize,
        /// All workers.
        workers: usize,
    },
    /// The next update.
    Update(Call),
    /// The follower made the update; whether it was asked to stop.
    Made { stopped: bool },
    /// All updates are made.
    Done,
    /// The run was stopped after this many updates, to be resumed.
    Stopped { step: u64 },
    /// Whoever says it cannot go on.
    Failed { reason: String },
}

impl Message {
    /// What tells others of a run that ended with `error`.
    pub fn how_it_ended(error: &TrainError) -> Self {
        match error {
            TrainError::Interrupted { step } => Self::Stopped { step: *step },
            error => Self::Failed {
                reason: error.to_string(),
            },
        }
    }
}

/// An update, by what its batches look like: machines with other data would add up gradients of other problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// Updates before it.
    pub step: u64,
    pub samples: u64,
    pub effort: Effort,
}

/// A connection to another machine.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    address: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Message = b'M',
    Data = b'D',
}

impl Wire {
    /// The connection over `stream`.
    ///
    /// # Errors
    /// When the operating system refuses to set it up.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        let address = stream.peer_addr()?;
        stream.set_nonblocking(false)?;
        // An update is a few short messages, each of which somebody waits for.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK))?;
        keep_alive(&stream)?;
        Ok(Self { stream, address })
    }

    /// Says something. Does not wait long for the other side to take it once `stop` is set.
    pub fn say(&mut self, message: &Message, stop: Option<&StopFlag>) -> Result<()> {
        let text = serde_json::to_vec(message).map_err(|error| self.lost(error))?;
        self.send(Kind::Message, &text, stop)
    }

    /// Sends data, as [`say`](Self::say) does.
    pub fn give(&mut self, data: &[u8], stop: Option<&StopFlag>) -> Result<()> {
        self.send(Kind::Data, data, stop)
    }

    /// What the other side says next. Waits no longer than `patience`, and not long once `stop` is set.
    pub fn hear(&mut self, stop: Option<&StopFlag>, patience: Option<Duration>) -> Result<Message> {
        match self.receive(&mut Wait::new(stop, patience))? {
            (Kind::Message, text) => serde_json::from_slice(&text)
                .map_err(|error| self.lost(format!("it said what is no message: {error}"))),
            (Kind::Data, _) => Err(self.lost("it sent data where a message was due")),
        }
    }

    /// The data that the other side sends next.
    pub fn take(&mut self, stop: Option<&StopFlag>) -> Result<Vec<u8>> {
        match self.receive(&mut Wait::new(stop, None))? {
            (Kind::Data, data) => Ok(data),
            (Kind::Message, text) => Err(match serde_json::from_slice(&text) {
                Ok(Message::Failed { reason }) => self.lost(reason),
                _ => self.lost("it sent a message where data were due"),
            }),
        }
    }

    /// Ends the connection once the other side has had the time to hear what was said last: with data on its way that
    /// nobody took, a connection that is just dropped takes it back.
    pub fn close(mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let (end, mut rest) = (Instant::now() + PARTING, [0; 1 << 16]);
        while Instant::now() < end {
            match self.stream.read(&mut rest) {
                Ok(0) => return,
                Err(error) if !is_patience(&error) => return,
                _ => {}
            }
        }
    }

    /// Where the other side is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// That the other side is lost, and why.
    pub fn lost(&self, reason: impl ToString) -> TrainError {
        TrainError::Machine {
            address: self.address.to_string(),
            reason: reason.to_string(),
        }
    }

    fn send(&mut self, kind: Kind, bytes: &[u8], stop: Option<&StopFlag>) -> Result<()> {
        let mut head = [kind as u8; 9];
        head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let mut wait = Wait::new(stop, None);
        let mut sent = Ok(());
        for bytes in [&head[..], bytes] {
            let mut rest = bytes;
            while sent.is_ok() && !rest.is_empty() {
                match self.stream.write(rest) {
                    Ok(0) => sent = Err(ErrorKind::WriteZero.into()),
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) if is_patience(&error) => wait.goes_on(self)?,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => sent = Err(error),
                }
            }
        }
        let Err(error) = sent else { return Ok(()) };
        // Why it closed the connection, if it had the time to say so.
        let last_word = self.hear(None, Some(LOOK));
        Err(match last_word {
            Ok(Message::Failed { reason }) => self.lost(reason),
            _ => self.lost(error),
        })
    }

    fn receive(&mut self, wait: &mut Wait<'_>) -> Result<(Kind, Vec<u8>)> {
        let head = self.read(9, wait)?;
        let (kind, length) = head.split_at(1);
        let length = length
            .iter()
            .rev()
            .fold(0, |all, byte| (all << 8) | u64::from(*byte));
        let kind = match kind {
            b"M" if length <= LARGEST_MESSAGE => Kind::Message,
            b"D" => Kind::Data,
            _ => return Err(self.lost("it does not speak as the machines of a run do")),
        };
        Ok((kind, self.read(length, wait)?))
    }

    /// So many bytes. Memory grows with what has come, not with what was promised.
    fn read(&mut self, length: u64, wait: &mut Wait<'_>) -> Result<Vec<u8>> {
        let (mut bytes, mut part) = (Vec::new(), vec![0; length.min(AT_ONCE) as usize]);
        while (bytes.len() as u64) < length {
            let most = (length - bytes.len() as u64).min(AT_ONCE) as usize;
            match self.stream.read(&mut part[..most]) {
                Ok(0) => return Err(self.lost("it closed the connection")),
                Ok(read) => bytes.extend_from_slice(&part[..read]),
                Err(error) if is_patience(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
            // Also of what comes a little at a time there must be an end.
            if (bytes.len() as u64) < length {
                wait.goes_on(self)?;
            }
        }
        Ok(bytes)
    }
}

/// Whether nothing came for as long as a read waits. On Unix [`ErrorKind::TimedOut`] is another thing: the other side no
/// longer answers the operating system.
fn is_patience(error: &io::Error) -> bool {
    match error.kind() {
        ErrorKind::WouldBlock => true,
        ErrorKind::TimedOut => cfg!(not(unix)),
        _ => false,
    }
}

/// How long somebody waits.
struct Wait<'a> {
    stop: Option<&'a StopFlag>,
    end: Option<Instant>,
    stopped: Option<Instant>,
}

impl<'a> Wait<'a> {
    fn new(stop: Option<&'a StopFlag>, patience: Option<Duration>) -> Self {
        let end = patience.map(|patience| Instant::now() + patience);
        Self {
            stop,
            end,
            stopped: None,
        }
    }

    /// That it is worth it to wait on for `other`.
    fn goes_on(&mut self, other: &Wire) -> Result<()> {
        let now = Instant::now();
        if self.stop.is_some_and(StopFlag::is_set) && now - *self.stopped.get_or_insert(now) > GRACE
        {
            return Err(
                other.lost("this machine was asked to stop and did not hear from it any more")
            );
        }
        if self.end.is_some_and(|end| now > end) {
            return Err(other.lost("it said nothing"));
        }
        Ok(())
    }
}

/// Has the operating system ask a silent machine every few seconds whether it is there: one that lost its power or its
/// network says no goodbye, and may be silent for as long as a validation takes.
#[cfg(unix)]
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(20))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    Ok(sockopt::set_tcp_keepcnt(stream, 6)?)
}

#[cfg(not(unix))]
fn keep_alive(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        (Wire::new(stream).unwrap(), other)
    }

    /// More than the buffers of two sockets hold, to one that lives and reads nothing.
    #[test]
    fn what_nobody_takes_is_not_waited_for_once_asked_to_stop() {
        let (mut wire, silent) = pair();
        let stop = StopFlag::default();
        stop.set();
        let error = wire.give(&vec![0; 64 << 20], Some(&stop)).unwrap_err();
        assert!(error.to_string().contains("asked to stop"), "{error}");
        drop(silent);
    }

    #[test]
    fn a_byte_now_and_then_does_not_renew_the_patience() {
        let (mut wire, mut slow) = pair();
        thread::scope(|scope| {
            scope.spawn(move || {
                let length = 1000_u64.to_le_bytes();
                slow.write_all(b"M").unwrap();
                slow.write_all(&length).unwrap();
                // Until the other side has closed.
                while slow.write_all(b" ").is_ok() {
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let heard = wire.hear(None, Some(Duration::from_millis(300)));
            let error = heard.unwrap_err().to_string();
            assert!(error.contains("it said nothing"), "{error}");
            drop(wire);
        });
    }

    #[test]
    fn what_is_sent_arrives_whole() {
        let (mut wire, other) = pair();
        let mut other = Wire::new(other).unwrap();
        let data: Vec<u8> = (0..8_u32 << 20).map(|i| i as u8).collect();
        thread::scope(|scope| {
            scope.spawn(|| wire.give(&data, None).unwrap());
            let taken = other.take(None);
            // Before anything is asserted: whoever gives waits until it is taken, or nobody is there.
            drop(other);
            assert!(taken.unwrap() == data);
        });
    }
}
