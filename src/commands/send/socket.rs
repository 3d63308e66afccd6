//! The socket that messages are sent over, at a pace that suits it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::commands::client::connect::{ConnectError, connect, is_passing};
use crate::commands::client::endpoint::SendEndpoint;
use crate::commands::client::pace::{Pacer, SendRate};
use engine::listener::Transport;

/// Bytes of lines that are written to a stream together.
const BYTES_A_WRITE: usize = 64 << 10;
/// How long a daemon may read nothing.
const STUCK: Duration = Duration::from_secs(10);

/// An open socket to a daemon.
pub(super) struct MessageSocket {
    socket: Socket,
    is_datagram: bool,
    /// Only for UDP: every other transport makes a sender wait itself.
    pacer: Option<(Pacer, Instant)>,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    /// Messages sent, each in a datagram or a line.
    pub(super) payloads: u64,
    /// Their size, in bytes.
    pub(super) bytes: u64,
}

impl MessageSocket {
    /// Opens a socket.
    ///
    /// # Errors
    /// When this host can tell that no daemon listens there.
    pub(super) fn open(endpoint: &SendEndpoint, rate: SendRate) -> Result<Self, ConnectError> {
        let pacer = match (endpoint.transport, rate) {
            (Transport::Udp, SendRate(Some(rate))) => {
                Some((Pacer::new(rate.get() as f64), Instant::now()))
            }
            _ => None,
        };
        let socket = connect(endpoint)?;
        let is_datagram = endpoint.is_datagram();
        Ok(Self { socket, is_datagram, pacer, pending: Vec::new(), payloads: 0, bytes: 0 })
    }

    /// The address of this end, as the daemon sees it; `None` for a Unix socket.
    pub(super) fn local(&self) -> Option<String> {
        let address = self.socket.local_addr().ok()?;
        address.as_socket().map(|address| address.to_string())
    }

    /// Sends a message; over a stream it may wait for [`MessageSocket::flush`].
    ///
    /// # Errors
    /// When the daemon is gone or reads nothing.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.is_datagram {
            self.wait_until_due();
            while_passing(|| self.socket.send(message))?;
        } else {
            // Only an array may hold newlines, and there they are blanks.
            self.pending
                .extend(message.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
            self.pending.push(b'\n');
            if self.pending.len() >= BYTES_A_WRITE {
                self.flush()?;
            }
        }
        self.payloads += 1;
        self.bytes += message.len() as u64;
        Ok(())
    }

    /// Sends the lines that wait.
    ///
    /// # Errors
    /// When the daemon is gone or reads nothing.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let written = while_passing(|| (&self.socket).write(rest))?;
            rest = &rest[written..];
        }
        self.pending.clear();
        Ok(())
    }

    /// Sends the lines that wait and makes sure, as far as the transport tells, that the daemon has
    /// read them.
    ///
    /// # Errors
    /// When it has not.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.is_datagram {
            return self.socket.take_error()?.map_or(Ok(()), Err);
        }
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)?;
        // The daemon closes its end after reading everything, and otherwise resets the connection.
        self.socket.set_read_timeout(Some(STUCK))?;
        loop {
            match (&self.socket).read(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_until_due(&mut self) {
        let Some((pacer, start)) = &mut self.pacer else { return };
        while pacer.due(start.elapsed()) == 0 {
            thread::sleep(pacer.pause(start.elapsed()));
        }
        pacer.sent(1);
    }
}

/// Retries while the system says so, up to a time limit.
fn while_passing(mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_passing(&error) && start.elapsed() < STUCK => {}
            outcome => return outcome,
        }
    }
}
