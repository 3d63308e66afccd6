//! A connection to carbon, and what was sent through it.
//!
//! Carbon never answers. So a batch counts as delivered when the other host's TCP has acknowledged
//! all of it: it is out of this host then, though carbon may not have read it. If the connection
//! turns out to be broken afterwards, the last batch goes through the next one again; in Graphite
//! a repeat overwrites the same slot.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::info;

use super::address::Target;
use crate::delivery::forwarder::SendError;

/// First and longest pause between two looks at what is unacknowledged: no event tells.
const ACK_PAUSE: Duration = Duration::from_millis(1);
const ACK_PAUSE_MAX: Duration = Duration::from_millis(50);
/// The kernel gives a connection up on which nothing was acknowledged for so many attempts. Fewer
/// would connect anew to a carbon that is only slow.
const ATTEMPTS_UNTIL_ABORT: u32 = 3;

/// Sends batches through a connection that is kept.
#[derive(Debug)]
pub(super) struct Tcp {
    target: Target,
    forwarder: String,
    attempt_max: Duration,
    connection: Option<Connection>,
    /// What was delivered last.
    last: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Whether `last` goes first, as it may have been lost with the connection before this one.
    again: bool,
    /// How much of what is to be sent has been written.
    written: usize,
}

impl Tcp {
    pub(super) fn new(target: Target, forwarder: String, attempt_max: Duration) -> Self {
        Self { target, forwarder, attempt_max, connection: None, last: Vec::new() }
    }

    /// Sends a batch, or what an earlier attempt has left of it. `is_new` says that it is another
    /// batch than that of the attempt before.
    ///
    /// May be dropped at any await: it goes on there when it is called again.
    pub(super) async fn send(&mut self, batch: &[u8], is_new: bool) -> Result<(), SendError> {
        // The end of what was begun is not there any more, so its beginning must not stay.
        if is_new && self.connection.as_ref().is_some_and(|connection| connection.written > 0) {
            self.connection = None;
        }
        if self.connection.as_ref().is_some_and(Connection::is_closed) {
            info!(forwarder = self.forwarder, "carbon closed the connection; reconnecting");
            self.connection = None;
        }
        let deadline = Instant::now() + self.attempt_max;
        let outcome = self.write(batch, deadline).await;
        if matches!(outcome, Err(Failed::Broken(_))) {
            self.connection = None;
        }
        outcome.map_err(|failed| self.target.error(failed.words()))
    }

    /// Remembers what was delivered.
    pub(super) fn delivered(&mut self, batch: &mut Vec<u8>) {
        std::mem::swap(&mut self.last, batch);
        if let Some(connection) = &mut self.connection {
            (connection.written, connection.again) = (0, false);
        }
    }

    /// Connects, and that is all.
    pub(super) async fn probe(&mut self) -> Result<(), SendError> {
        let connected = self.target.connect(self.attempt_max).await;
        connected.map(drop).map_err(|words| self.target.error(words))
    }

    async fn write(&mut self, batch: &[u8], deadline: Instant) -> Result<(), Failed> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let stream = self.target.connect(self.attempt_max).await.map_err(Failed::Away)?;
                let patience = self.attempt_max * ATTEMPTS_UNTIL_ABORT;
                prepare(&stream, patience).map_err(Failed::Broken)?;
                none.insert(Connection { stream, again: !self.last.is_empty(), written: 0 })
            }
        };
        let again = if connection.again { self.last.as_slice() } else { &[] };
        let whole = again.len() + batch.len();
        let written = timeout_at(deadline, connection.write(again, batch)).await;
        written.unwrap_or(Ok(())).map_err(Failed::Broken)?;
        if connection.written < whole {
            return Err(Failed::Full { written: connection.written, whole });
        }
        match timeout_at(deadline, connection.acknowledged()).await {
            Ok(outcome) => outcome.map_err(Failed::Broken),
            Err(_) => Err(Failed::Unacknowledged { whole }),
        }
    }
}

impl Connection {
    /// Whether the other side has ended it. Carbon never sends; what comes all the same is read and
    /// forgotten.
    ///
    /// The kernel is asked, and not the runtime, which may not have heard of it yet.
    fn is_closed(&self) -> bool {
        loop {
            match recv(&self.stream, &mut [0_u8; 4096], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return true,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return error != Errno::AGAIN,
            }
        }
    }

    /// The same when the runtime says that there is something to read, so that it goes on to wait.
    fn is_closed_now(&self) -> bool {
        match self.stream.try_read(&mut [0_u8; 4096]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Writes what is left of both, one behind the other.
    async fn write(&mut self, again: &[u8], batch: &[u8]) -> io::Result<()> {
        loop {
            let left = match again.get(self.written..) {
                Some([]) | None => batch.get(self.written - again.len()..).unwrap_or_default(),
                Some(left) => left,
            };
            if left.is_empty() {
                return Ok(());
            }
            let ready = self.stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
            if ready.is_readable() && self.is_closed_now() {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "carbon closed the connection in the middle of a batch",
                ));
            }
            match self.stream.try_write(left) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the other host has acknowledged all that was written.
    async fn acknowledged(&self) -> io::Result<()> {
        let mut pause = ACK_PAUSE;
        loop {
            // In this order: when it is closed behind the last acknowledgement, all was taken.
            let closed = self.is_closed();
            if super::unacked::unacked_bytes(&self.stream)? == 0
                && self.stream.take_error()?.is_none()
            {
                return Ok(());
            }
            if closed {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "carbon closed the connection before it took the batch",
                ));
            }
            sleep(pause).await;
            pause = (pause * 2).min(ACK_PAUSE_MAX);
        }
    }
}

/// Why a batch is not delivered yet.
#[derive(Debug)]
enum Failed {
    /// There is no connection.
    Away(String),
    /// The connection is of no more use.
    Broken(io::Error),
    /// The other side takes no more; the connection is kept.
    Full { written: usize, whole: usize },
    /// The other host does not say that it has it; the connection is kept.
    Unacknowledged { whole: usize },
}

impl Failed {
    fn words(self) -> String {
        match self {
            Self::Away(words) => words,
            Self::Broken(error) => error.to_string(),
            Self::Full { written, whole } => format!(
                "carbon reads no more: {written} of {whole} bytes are written; is it stopped, or \
                 slower than what it is sent?"
            ),
            Self::Unacknowledged { whole } => {
                format!("{whole} bytes are written, and the host does not acknowledge all of them")
            }
        }
    }
}

fn prepare(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // What was sent into a dead network would otherwise be repeated for a quarter of an hour.
    let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    Ok(set_tcp_user_timeout(stream, patience_ms)?)
}
