//! The socket that messages are sent over, at a pace that suits it.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::error::SendCommandError;
use super::target::SendTarget;
use super::tls::TlsConnection;
use crate::commands::client::connect::{connect, is_passing};
use crate::commands::client::pace::{Pacer, SendRate};
use crate::commands::client::signer::Signer;
use engine::listener::Transport;
use engine::sys::SendRing;

/// Maximum size of messages that are sent together, in bytes.
const BYTES_A_WRITE: usize = 64 << 10;
/// Maximum number of datagrams that are sent together.
const DATAGRAMS_A_CALL: usize = 64;
/// How long a daemon may read nothing.
const STUCK: Duration = Duration::from_secs(10);

/// An open socket to a daemon.
pub(super) struct MessageSocket {
    socket: Socket,
    /// `None` without TLS.
    tls: Option<TlsConnection>,
    is_datagram: bool,
    /// Only for UDP: every other transport makes a sender wait itself.
    pacer: Option<(Pacer, Instant)>,
    /// Messages that are not sent yet.
    pending: Vec<u8>,
    /// The end of each datagram in them; empty for a stream.
    ends: Vec<usize>,
    /// Signs the datagrams, if the listener has a secret.
    signer: Option<Signer>,
    /// Messages sent, each in a datagram or a line.
    pub(super) payloads: u64,
    /// Their size, in bytes.
    pub(super) bytes: u64,
}

impl MessageSocket {
    /// Opens a socket. With a secret, its datagrams are signed.
    ///
    /// # Errors
    /// When this host can tell that no daemon listens there.
    pub(super) fn open(to: &SendTarget, rate: SendRate) -> Result<Self, SendCommandError> {
        let endpoint = &to.endpoint;
        let pacer = match (endpoint.transport, rate) {
            (Transport::Udp, SendRate(Some(rate))) => {
                Some((Pacer::new(rate.get() as f64), Instant::now()))
            }
            _ => None,
        };
        let socket = connect(endpoint)?;
        let tls = to.tls.as_ref().map(|client| {
            // Only for the handshake: the daemon sends nothing after it.
            socket.set_read_timeout(Some(STUCK))?;
            TlsConnection::open(client, &socket)
        });
        let tls = tls
            .transpose()
            .map_err(|source| SendCommandError::Handshake { endpoint: endpoint.clone(), source })?;
        let is_datagram = endpoint.is_datagram();
        let (pending, ends) = (Vec::new(), Vec::new());
        let signer = to.secret.as_ref().map(Signer::new);
        Ok(Self { socket, tls, is_datagram, pacer, pending, ends, signer, payloads: 0, bytes: 0 })
    }

    /// The address of this end, as the daemon sees it; `None` for a Unix socket.
    pub(super) fn local(&self) -> Option<String> {
        let address = self.socket.local_addr().ok()?;
        address.as_socket().map(|address| address.to_string())
    }

    /// Sends a message; it may wait for [`MessageSocket::flush`].
    ///
    /// # Errors
    /// When the daemon is gone or reads nothing.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.is_datagram {
            self.wait_until_due()?;
            match &mut self.signer {
                Some(signer) => signer.sign(message, &mut self.pending),
                None => self.pending.extend_from_slice(message),
            }
            self.ends.push(self.pending.len());
        } else {
            // Only an array may hold newlines, and there they are blanks.
            self.pending
                .extend(message.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
            self.pending.push(b'\n');
        }
        if self.pending.len() >= BYTES_A_WRITE || self.ends.len() == DATAGRAMS_A_CALL {
            self.flush()?;
        }
        self.payloads += 1;
        self.bytes += message.len() as u64;
        Ok(())
    }

    /// Sends the messages that wait.
    ///
    /// # Errors
    /// When the daemon is gone or reads nothing.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.is_datagram { self.flush_datagrams() } else { self.flush_lines() }
    }

    fn flush_datagrams(&mut self) -> io::Result<()> {
        let (bytes, ends) = (mem::take(&mut self.pending), mem::take(&mut self.ends));
        // A single message, as always while messages come slowly.
        if let [_] = *ends {
            return while_passing(|| self.socket.send(&bytes)).map(drop);
        }
        let mut ring = SendRing::new(bytes, &ends).merging(self.socket.as_fd());
        let mut sent = 0;
        while sent < ends.len() {
            sent += while_passing(|| ring.send(self.socket.as_fd(), sent..ends.len()))?;
        }
        Ok(())
    }

    fn flush_lines(&mut self) -> io::Result<()> {
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let written = while_passing(|| match &mut self.tls {
                None => (&self.socket).write(rest),
                Some(tls) => tls.write(&self.socket, rest),
            })?;
            rest = &rest[written..];
        }
        self.pending.clear();
        Ok(())
    }

    /// Sends the messages that wait, and checks that the daemon has read them, as far as the transport
    /// shows it.
    ///
    /// # Errors
    /// When the daemon has not read them.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.is_datagram {
            return self.socket.take_error()?.map_or(Ok(()), Err);
        }
        if let Some(tls) = &mut self.tls {
            tls.close(&self.socket)?;
        }
        self.socket.shutdown(Shutdown::Write)?;
        // The daemon closes its end after reading everything, and otherwise resets the connection.
        self.socket.set_read_timeout(Some(STUCK))?;
        loop {
            let read = match &mut self.tls {
                None => (&self.socket).read(&mut [0; 64]),
                Some(tls) => tls.read(&self.socket, &mut [0; 64]),
            };
            match read {
                Ok(0) => return Ok(()),
                // Without TLS, a daemon sends nothing; with TLS, the alert that it closes.
                Ok(_) if self.tls.is_none() => {
                    let words = "the listener has `tls`: add --tls-ca";
                    return Err(io::Error::new(ErrorKind::InvalidData, words));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the datagrams that were due, and waits until the next datagram is due.
    fn wait_until_due(&mut self) -> io::Result<()> {
        if self.pause().is_some() {
            self.flush()?;
        }
        while let Some(pause) = self.pause() {
            thread::sleep(pause);
        }
        if let Some((pacer, _)) = &mut self.pacer {
            pacer.sent(1);
        }
        Ok(())
    }

    /// The time until the next datagram is due; `None` if it is due now.
    fn pause(&mut self) -> Option<Duration> {
        let (pacer, start) = self.pacer.as_mut()?;
        let elapsed = start.elapsed();
        (pacer.due(elapsed) == 0).then(|| pacer.pause(elapsed))
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
