//! The connection to carbon, and the bytes sent over it.
//!
//! Carbon never answers. A batch therefore counts as delivered when the other host's TCP has
//! acknowledged all of it: it has left this host, although carbon may not have read it. If the
//! connection turns out to be broken afterwards, the last batch is sent again over the next
//! connection; in Graphite, a duplicate overwrites the same slot.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use crate::delivery::forwarder::SendError;
use crate::network::host::Host;
use crate::network::{tcp, unacked};

/// Sends batches over one connection that stays open.
#[derive(Debug)]
pub(super) struct Tcp {
    host: Arc<Host>,
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
    pub(super) fn new(host: Arc<Host>, forwarder: String, attempt_max: Duration) -> Self {
        Self { host, forwarder, attempt_max, connection: None, last: Vec::new() }
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
        if self.connection.as_ref().is_some_and(|one| unacked::is_closed(&one.stream)) {
            info!(forwarder = self.forwarder, "carbon closed the connection; reconnecting");
            self.connection = None;
        }
        self.leave_old_address().await;
        let deadline = Instant::now() + self.attempt_max;
        let outcome = self.write(batch, deadline).await;
        // Otherwise the connection is kept with its position, so that a slow carbon gets no byte
        // twice.
        if matches!(outcome, Err(Failed::Away(_) | Failed::Broken(_))) {
            self.connection = None;
            self.host.distrust();
        }
        outcome.map_err(|failed| self.error(failed.words()))
    }

    /// Closes a connection to an address that carbon's name no longer has, between two batches.
    async fn leave_old_address(&mut self) {
        let Some(connection) = &self.connection else { return };
        if connection.written > 0 || self.host.addresses().await.is_err() {
            return;
        }
        if connection.stream.peer_addr().is_ok_and(|address| !self.host.still_has(address)) {
            self.connection = None;
        }
    }

    fn error(&self, words: impl fmt::Display) -> SendError {
        SendError::transient(format!("{}: {words}", self.host))
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
        connect(&self.host, self.attempt_max).await.map(drop).map_err(|error| self.error(error))
    }

    async fn write(&mut self, batch: &[u8], deadline: Instant) -> Result<(), Failed> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let stream = connect(&self.host, self.attempt_max).await.map_err(Failed::Away)?;
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
        match timeout_at(deadline, unacked::acknowledged(&connection.stream, |_| ())).await {
            Ok(outcome) => outcome.map_err(|error| Failed::Broken(unread(error))),
            Err(_) => Err(Failed::Unacknowledged { whole }),
        }
    }
}

async fn connect(host: &Arc<Host>, attempt_max: Duration) -> io::Result<TcpStream> {
    tcp::connect(&host.addresses().await?, attempt_max).await
}

/// The error of a batch that carbon's host has not acknowledged.
fn unread(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::ConnectionReset {
        return io::Error::new(
            io::ErrorKind::ConnectionReset,
            "carbon closed the connection before it took the batch",
        );
    }
    error
}

impl Connection {
    /// Returns whether the other side has closed the connection, after a readiness event: clears it,
    /// so that the next wait is for a new one.
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
}

/// The reason why a batch is not delivered yet.
#[derive(Debug)]
enum Failed {
    /// No connection could be opened.
    Away(io::Error),
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
            Self::Away(error) | Self::Broken(error) => error.to_string(),
            Self::Full { written, whole } => format!(
                "carbon reads no more: {written} of {whole} bytes were written; check whether it is \
                 stopped or overloaded"
            ),
            Self::Unacknowledged { whole } => {
                format!("{whole} bytes are written, and the host does not acknowledge all of them")
            }
        }
    }
}
