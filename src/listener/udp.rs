//! Datagrams over UDP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forwarders::units::ByteSize;
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use thiserror::Error;
use tracing::{info, warn};

use super::ListenerConfig;
use super::recorder::Recorder;
use super::stats::ListenerStats;
use super::wake::Waker;
use crate::sys::ReceiveBatch;

/// After a stop a socket is read until it is empty, but no longer than this: whoever goes on
/// sending must not keep the daemon from stopping.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Pause after an error of the socket, so that one that stays does not burn a core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Why a listener cannot be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct BindError {
    address: SocketAddr,
    #[source]
    source: io::Error,
    hint: &'static str,
}

/// A bound socket, not read yet.
#[derive(Debug)]
pub struct BoundUdp {
    socket: UdpSocket,
    stats: Arc<ListenerStats>,
}

/// Binds the sockets of a listener, one for each of its threads.
///
/// # Errors
/// When the address is taken, not of this host, or needs a privilege.
pub fn bind(config: &ListenerConfig, receive_buffer: u64) -> Result<Vec<BoundUdp>, BindError> {
    let buffer = config.receive_buffer.map_or(receive_buffer, ByteSize::get);
    // Sharing an address is asked for only where it is used: otherwise a second daemon would bind
    // it too and silently take its share of the datagrams.
    let is_shared = config.threads > 1;
    let mut address = config.address.0;
    let mut bound = Vec::with_capacity(config.threads);
    for _ in 0..config.threads {
        let one = bind_one(config, address, is_shared, buffer).map_err(|source| BindError {
            address,
            hint: hint(&source),
            source,
        })?;
        // With port 0 the first socket's port is the one to share.
        address = one.address();
        bound.push(one);
    }
    Ok(bound)
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it or change `bind_port` or `listeners`"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this host has that address: change `bind_address` or `listeners`"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one"
        }
        _ => "",
    }
}

fn bind_one(
    config: &ListenerConfig,
    address: SocketAddr,
    is_shared: bool,
    buffer: u64,
) -> io::Result<BoundUdp> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(IpProtocol::UDP))?;
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    let granted = enlarge_buffer(&socket, buffer)?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(OwnedFd::from(socket));
    let shown =
        ListenerConfig { address: super::ListenAddress(socket.local_addr()?), ..config.clone() };
    let duplicate = socket.as_fd().try_clone_to_owned()?;
    let stats = Arc::new(ListenerStats::new(shown.to_string(), duplicate, granted));
    Ok(BoundUdp { socket, stats })
}

/// Asks for a large buffer: the default one holds some 250 small datagrams, which is less than the
/// first burst. Returns what the kernel granted.
fn enlarge_buffer(socket: &Socket, bytes: u64) -> io::Result<usize> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(i32::MAX as usize / 2);
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN.
    let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes);
    if forced.is_err() {
        socket.set_recv_buffer_size(bytes)?;
    }
    // The kernel doubles what it grants, to have room for its own bookkeeping.
    let granted = socket.recv_buffer_size()? / 2;
    if granted < bytes {
        info!(
            asked = bytes,
            granted,
            "the kernel granted a smaller receive buffer; for all of it: \
             sysctl -w net.core.rmem_max={bytes}"
        );
    }
    Ok(granted)
}

impl BoundUdp {
    /// The counts of this socket.
    #[must_use]
    pub fn stats(&self) -> &Arc<ListenerStats> {
        &self.stats
    }

    /// The address that it is bound to.
    fn address(&self) -> SocketAddr {
        // A bound socket has an address.
        self.socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Reads datagrams until stopped, then what the socket still holds.
    pub fn run(self, mut recorder: Recorder, waker: &Waker) {
        info!(listener = self.stats.label(), buffer = self.stats.receive_buffer(), "listening");
        let mut batch = ReceiveBatch::new();
        let mut drain_until = None;
        loop {
            recorder.at_edge();
            if drain_until.is_none() && waker.is_stopping() {
                drain_until = Some(Instant::now() + DRAIN_MAX);
            }
            if drain_until.is_some_and(|until| Instant::now() > until) {
                warn!(
                    listener = self.stats.label(),
                    "senders go on; the rest is not read any more"
                );
                break;
            }
            match batch.receive(self.socket.as_fd()) {
                Ok(_) => {
                    recorder.begin_batch();
                    for (datagram, sender) in batch.datagrams() {
                        recorder.datagram(datagram, Sender(sender));
                    }
                    recorder.publish();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if drain_until.is_some() {
                        break;
                    }
                    self.wait(waker);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.pause_after(&error),
            }
        }
        recorder.finish();
    }

    fn wait(&self, waker: &Waker) {
        if let Err(error) = waker.wait(self.socket.as_fd()) {
            self.pause_after(&error);
        }
    }

    fn pause_after(&self, error: &io::Error) {
        warn!(listener = self.stats.label(), %error, "cannot read from the socket; trying again");
        std::thread::sleep(ERROR_PAUSE);
    }
}

/// Shows a sender; only made into text where somebody looks.
struct Sender(Option<SocketAddr>);

impl std::fmt::Display for Sender {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(formatter),
            None => formatter.write_str("unknown"),
        }
    }
}
