//! Binding UDP sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use basics::units::ByteSize;
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use tracing::info;

use super::bind_error::{BindError, hint};
use super::config::{Endpoint, ListenerConfig, UdpConfig};
use super::datagram::BoundDatagrams;
use super::passed::{PassedSockets, Place};
use super::receive_buffer;
use super::stats::ListenerStats;
use super::tcp::bound_address;
use super::{Protocol, Transport};
use crate::sys;

/// The largest UDP payload is 65,507 bytes over IPv4 and 65,527 over IPv6.
const DATAGRAM_MAX: usize = 65_536;

/// What to do when an address has a socket that was passed, and `threads` asks for more.
const SHARING_HINT: &str = "; the service manager passed fewer sockets than `threads` asks for: the \
    socket unit needs a ListenDatagram= for each, and ReusePort=yes";

/// How UDP sockets are bound.
#[derive(Clone, Copy, Debug)]
pub struct UdpBindOptions {
    /// The general one, in bytes, for listeners without one of their own.
    pub receive_buffer: u64,
    /// Whether another socket of this process may have the same port until this one takes over.
    pub takes_over: bool,
}

/// Binds the sockets of a listener, one for each of its threads, but for those that were passed.
pub(super) fn bind(
    protocol: Protocol,
    config: &UdpConfig,
    options: UdpBindOptions,
    passed: &mut PassedSockets,
) -> Result<Vec<BoundDatagrams>, BindError> {
    let buffer = config.receive_buffer.map_or(options.receive_buffer, ByteSize::get);
    let mut config = config.clone();
    let mut bound = Vec::with_capacity(config.threads);
    let mut shares_passed = false;
    for _ in 0..config.threads {
        let socket = match passed.take(&Place::address(Transport::Udp, config.address)) {
            Some(socket) => {
                shares_passed = true;
                adopt(socket, buffer)
            }
            None => bind_one(&mut config, buffer, options.takes_over),
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
    receive_buffer::request(&socket, buffer)?;
    receive_buffer::log_if_smaller(&socket, buffer)?;
    socket.set_reuse_address(takes_over)?;
    config.address = bound_address(&socket, config.address)?;
    if takes_over {
        socket.set_reuse_address(false)?;
    }
    Ok(Opened { granted: receive_buffer::granted(&socket)?, socket: socket.into(), dropped: 0 })
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
    receive_buffer::request(&other, buffer)?;
    if receive_buffer::granted(&other)? > receive_buffer::granted(&socket)? {
        receive_buffer::request(&socket, buffer)?;
    }
    receive_buffer::log_if_smaller(&socket, buffer)?;
    Ok(Opened { granted: receive_buffer::granted(&socket)?, socket: socket.into(), dropped })
}
