//! The socket that messages go out over, at a pace that suits it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::commands::bench::options::Rate;
use crate::commands::bench::pacer::Pacer;
use crate::commands::client::connect::{ConnectError, connect, is_passing};
use crate::commands::client::endpoint::Endpoint;
use engine::listener::Transport;

/// Lines that are written together to a stream.
const BYTES_A_WRITE: usize = 64 << 10;
/// A daemon that takes nothing for so long will not.
const STUCK: Duration = Duration::from_secs(10);

/// An open way to a daemon.
pub(super) struct Outgoing {
    socket: Socket,
    is_datagram: bool,
    /// Only where nothing else makes a sender wait.
    pacer: Option<(Pacer, Instant)>,
    /// Lines that are still to be written.
    pending: Vec<u8>,
    /// Messages, datagrams or lines, that went out.
    pub(super) payloads: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
}

impl Outgoing {
    /// Opens it.
    ///
    /// # Errors
    /// When, as far as this host can tell, nobody listens there.
    pub(super) fn open(endpoint: &Endpoint, rate: Rate) -> Result<Self, ConnectError> {
        let pacer = match (endpoint.transport, rate) {
            (Transport::Udp, Rate(Some(rate))) => {
                Some((Pacer::new(rate.get() as f64), Instant::now()))
            }
            _ => None,
        };
        let socket = connect(endpoint)?;
        let is_datagram = endpoint.is_datagram();
        Ok(Self { socket, is_datagram, pacer, pending: Vec::new(), payloads: 0, bytes: 0 })
    }

    /// This end, as the daemon sees it; none of a Unix socket.
    pub(super) fn local(&self) -> Option<String> {
        let address = self.socket.local_addr().ok()?;
        address.as_socket().map(|address| address.to_string())
    }

    /// Sends a message, over a stream perhaps not before [`Outgoing::flush`].
    ///
    /// # Errors
    /// When the daemon is gone or takes nothing.
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

    /// Brings out what waits here.
    ///
    /// # Errors
    /// When the daemon is gone or takes nothing.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let written = while_passing(|| (&self.socket).write(rest))?;
            rest = &rest[written..];
        }
        self.pending.clear();
        Ok(())
    }

    /// Sends the rest and makes sure, as far as the transport tells, that the daemon has it.
    ///
    /// # Errors
    /// When it has not.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.is_datagram {
            return self.socket.take_error()?.map_or(Ok(()), Err);
        }
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)?;
        // The daemon closes its end when it has read all, and resets it when it has not.
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

/// Tries again while the system says so, but not for ever.
fn while_passing(mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_passing(&error) && start.elapsed() < STUCK => {}
            outcome => return outcome,
        }
    }
}
