//! Binding UDP sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use basics::units::ByteSize;
use socket2::{Domain, Protocol as IpProtocol, SockRef, Socket, Type};
use tracing::info;

use super::bind::{BindError, Terms, hint};
use super::config::{Endpoint, ListenerConfig, UdpConfig};
use super::datagram::BoundDatagrams;
use super::passed::{PassedSockets, Place};
use super::stats::ListenerStats;
use super::tcp::bound_address;
use super::{Protocol, Transport};
use crate::sys;

/// The largest UDP payload is 65,507 bytes over IPv4 and 65,527 over IPv6.
const DATAGRAM_MAX: usize = 65_536;
/// The largest buffer that can be asked for: the kernel doubles it, in a signed number.
const BUFFER_MAX: usize = i32::MAX as usize / 2;

/// What to do when an address has a socket that was passed, and `threads` asks for more.
const SHARING_HINT: &str = "; the service manager passed fewer sockets than `threads` asks for: the \
    socket unit needs a ListenDatagram= for each, and ReusePort=yes";

/// Binds the sockets of a listener, one for each of its threads, but for those that were passed.
pub(super) fn bind(
    protocol: Protocol,
    config: &UdpConfig,
    terms: Terms,
    passed: &mut PassedSockets,
) -> Result<Vec<BoundDatagrams>, BindError> {
    let buffer = config.receive_buffer.map_or(terms.receive_buffer, ByteSize::get);
    let mut config = config.clone();
    let mut bound = Vec::with_capacity(config.threads);
    let mut shares_passed = false;
    for _ in 0..config.threads {
        let socket = match passed.take(&Place::address(Transport::Udp, config.address)) {
            Some(socket) => {
                shares_passed = true;
                adopt(socket, buffer)
            }
            None => bind_one(&mut config, buffer, terms.takes_over),
        };
        let socket = socket.and_then(|Opened { socket, granted, dropped }| {
            let endpoint = Endpoint::Udp(config.clone());
            let label = ListenerConfig { protocol, endpoint }.to_string();
            let stats = ListenerStats::of_datagrams(label, socket.try_clone()?, granted, dropped);
            Ok((socket, Arc::new(stats)))
        });
        let (socket, stats) = socket.map_err(|source| BindError {
            place: config.address.to_string(),
            hint: if shares_passed { SHARING_HINT } else { hint(&source) },
            source,
        })?;
        bound.push(BoundDatagrams {
            socket,
            protocol,
            stats,
            allow: config.allow.clone(),
            datagram_max: DATAGRAM_MAX,
            origin: "unknown".to_owned(),
            file: None,
        });
    }
    Ok(bound)
}

/// A socket, ready to be read.
struct Opened {
    socket: OwnedFd,
    /// What the kernel granted as buffer.
    granted: usize,
    /// What the kernel had dropped before.
    dropped: u32,
}

/// Binds a socket and notes its address: with port 0 the first socket's port is the one to share.
fn bind_one(config: &mut UdpConfig, buffer: u64, takes_over: bool) -> io::Result<Opened> {
    let domain = Domain::for_address(config.address);
    let socket = Socket::new(domain, Type::DGRAM, Some(IpProtocol::UDP))?;
    // Sharing an address is asked for only where it is used: otherwise a second daemon would bind
    // it too and silently take its share of the datagrams.
    if config.threads > 1 {
        socket.set_reuse_port(true)?;
    }
    ask_buffer(&socket, buffer)?;
    tell_of_smaller(&socket, buffer)?;
    socket.set_reuse_address(takes_over)?;
    config.address = bound_address(&socket, config.address)?;
    if takes_over {
        socket.set_reuse_address(false)?;
    }
    Ok(Opened { granted: granted(&socket)?, socket: socket.into(), dropped: 0 })
}

/// Takes a socket that was passed, with what it holds.
fn adopt(socket: Socket, buffer: u64) -> io::Result<Opened> {
    let dropped = sys::socket_drops(socket.as_fd())?;
    if dropped > 0 {
        // Those of earlier runs were told then; those in between, nobody was there to tell.
        info!(dropped, "the kernel had dropped datagrams of this socket before this start");
    }
    // The service manager may give more than this process can get, and to ask for less than is
    // there takes it away. So another socket is asked first.
    let other = Socket::new(socket.domain()?, Type::DGRAM, Some(IpProtocol::UDP))?;
    ask_buffer(&other, buffer)?;
    if granted(&other)? > granted(&socket)? {
        ask_buffer(&socket, buffer)?;
    }
    tell_of_smaller(&socket, buffer)?;
    Ok(Opened { granted: granted(&socket)?, socket: socket.into(), dropped })
}

/// Asks for a buffer of another size for a bound socket. Returns what the kernel granted.
pub(super) fn resize(socket: &OwnedFd, buffer: u64) -> io::Result<usize> {
    let socket = SockRef::from(socket);
    ask_buffer(&socket, buffer)?;
    tell_of_smaller(&socket, buffer)?;
    granted(&socket)
}

/// Asks for a large buffer: the default one holds some 250 small datagrams, which is less than the
/// first burst.
fn ask_buffer(socket: &Socket, bytes: u64) -> io::Result<()> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(BUFFER_MAX);
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN.
    let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes);
    if forced.is_err() { socket.set_recv_buffer_size(bytes) } else { Ok(()) }
}

/// The kernel doubles what it grants, to have room for its own bookkeeping.
fn granted(socket: &Socket) -> io::Result<usize> {
    Ok(socket.recv_buffer_size()? / 2)
}

fn tell_of_smaller(socket: &Socket, asked: u64) -> io::Result<()> {
    let granted = granted(socket)?;
    if (granted as u64) < asked.min(BUFFER_MAX as u64) {
        info!(
            asked,
            granted,
            "the kernel granted a smaller receive buffer; for all of it: \
             sysctl -w net.core.rmem_max={asked}"
        );
    }
    Ok(())
}
