//! The connection to carbon, and the bytes sent over it.
//!
//! Carbon never answers. A batch therefore counts as delivered when the other host's TCP has
//! acknowledged all of it: it has left this host, although carbon may not have read it. If the
//! connection turns out to be broken afterwards, the last batch is sent again over the next
//! connection; in Graphite, a duplicate overwrites the same slot.

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

/// First and longest pause between two checks for unacknowledged bytes, which no event announces.
const ACK_PAUSE: Duration = Duration::from_millis(1);
const ACK_PAUSE_MAX: Duration = Duration::from_millis(50);
/// The number of attempts without any acknowledgement after which the kernel aborts the connection.
/// Fewer would reconnect to a carbon that is only slow.
const ATTEMPTS_UNTIL_ABORT: u32 = 3;

/// Sends batches over one connection that stays open.
#[derive(Debug)]
pub(super) struct Tcp {
    target: Target,
    forwarder: String,
    attempt_max: Duration,
    connection: Option<Connection>,
    /// The last delivered batch.
    last: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Whether to send `last` first, because it may have been lost with the previous connection.
    again: bool,
    /// Number of bytes written of `last` (if `again`) and the batch together.
    written: usize,
}

impl Tcp {
    pub(super) fn new(target: Target, forwarder: String, attempt_max: Duration) -> Self {
        Self { target, forwarder, attempt_max, connection: None, last: Vec::new() }
    }

    /// Sends a batch, or the rest of it after an earlier attempt. `is_new` states whether the batch
    /// differs from that of the previous attempt.
    ///
    /// May be dropped at any await; the next call continues from there.
    pub(super) async fn send(&mut self, batch: &[u8], is_new: bool) -> Result<(), SendError> {
        // Half a line has been written whose rest is gone: only a new connection gets rid of it.
        if is_new && self.connection.as_ref().is_some_and(|connection| connection.written > 0) {
            self.connection = None;
        }
        if self.connection.as_ref().is_some_and(Connection::is_closed) {
            info!(forwarder = self.forwarder, "carbon closed the connection; reconnecting");
            self.connection = None;
        }
        let deadline = Instant::now() + self.attempt_max;
        let outcome = self.write(batch, deadline).await;
        // Otherwise the connection is kept with its position, so that a slow carbon gets no byte
        // twice.
        if matches!(outcome, Err(Failed::Broken(_))) {
            self.connection = None;
        }
        outcome.map_err(|failed| self.target.error(failed.words()))
    }

    /// Keeps the delivered batch, in case the connection turns out to be broken.
    pub(super) fn delivered(&mut self, batch: &mut Vec<u8>) {
        std::mem::swap(&mut self.last, batch);
        if let Some(connection) = &mut self.connection {
            (connection.written, connection.again) = (0, false);
        }
    }

    /// Checks that a connection can be opened.
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
                // A batch was delivered before: if the old connection lost it, the new one has to
                // repeat it.
                none.insert(Connection { stream, again: !self.last.is_empty(), written: 0 })
            }
        };
        let again = if connection.again { self.last.as_slice() } else { &[] };
        let whole = again.len() + batch.len();
        let written = timeout_at(deadline, connection.write(again, batch)).await;
        // A timeout is no error here: the position says how much is left.
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
    /// Returns whether the other side has closed the connection. Carbon never sends; any received
    /// bytes are discarded.
    ///
    /// Asks the kernel, because the runtime may not have seen the event yet.
    fn is_closed(&self) -> bool {
        loop {
            match recv(&self.stream, &mut [0_u8; 4096], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return true,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return error != Errno::AGAIN,
            }
        }
    }

    /// Like [`is_closed`](Self::is_closed), after a readiness event: clears it, so that the next
    /// wait is for a new one.
    fn is_closed_now(&self) -> bool {
        match self.stream.try_read(&mut [0_u8; 4096]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Writes the rest of `again` and then of `batch`.
    async fn write(&mut self, again: &[u8], batch: &[u8]) -> io::Result<()> {
        loop {
            let left = match again.get(self.written..) {
                Some([]) | None => batch.get(self.written - again.len()..).unwrap_or_default(),
                Some(left) => left,
            };
            if left.is_empty() {
                return Ok(());
            }
            // Also waits for readability, because a closed connection might otherwise only be
            // noticed after everything was written.
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

    /// Waits until the other host has acknowledged all written bytes.
    async fn acknowledged(&self) -> io::Result<()> {
        let mut pause = ACK_PAUSE;
        loop {
            // Checked first: if carbon closes the connection right after its last acknowledgement,
            // the batch was still received.
            let closed = self.is_closed();
            // Zero bytes alone do not prove an acknowledgement: the connection may have been reset.
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

/// The reason why a batch is not delivered yet.
#[derive(Debug)]
enum Failed {
    /// No connection could be opened.
    Away(String),
    /// The connection cannot be used further.
    Broken(io::Error),
    /// The other side does not read; the connection is kept.
    Full { written: usize, whole: usize },
    /// The other host has not acknowledged all bytes; the connection is kept.
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
    // The last segment of a batch must not wait for the acknowledgement of its predecessor.
    stream.set_nodelay(true)?;
    // Without a limit, the kernel would retransmit into a dead network for about 15 minutes.
    let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    Ok(set_tcp_user_timeout(stream, patience_ms)?)
}
