//! Binds UDP sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use basics::units::ByteSize;
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use tracing::{info, warn};

use super::bind_error::{BindError, hint};
use super::config::{ListenerEndpoint, UdpConfig};
use super::datagram::BoundDatagrams;
use super::passed::{BindTarget, PassedSockets};
use super::receive_buffer;
use super::stats::ListenerStats;
use super::tcp::bound_address;
use super::{Protocol, Transport};
use crate::sys;

/// The largest UDP payload is 65,507 bytes over IPv4 and 65,527 over IPv6. A packet of merged
/// datagrams is not larger.
const DATAGRAM_MAX: usize = 65_536;

/// Advice for an address with fewer passed sockets than `threads`.
const SHARING_HINT: &str = "; the service manager passed fewer sockets than `threads` requires: \
    the socket unit needs a ListenDatagram= for each, and ReusePort=yes";

/// Options for binding UDP sockets.
#[derive(Clone, Copy, Debug)]
pub struct UdpBindOptions {
    /// The general `receive_buffer` in bytes, for listeners that do not set their own.
    pub receive_buffer: u64,
    /// Whether another socket of this process has the same port until this one takes over.
    pub takes_over: bool,
}

/// Binds the sockets of a listener, one per thread, unless the service manager passed them.
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
        let socket = match passed.take(&BindTarget::address(Transport::Udp, config.address)) {
            Some(socket) => {
                shares_passed = true;
                adopt(socket, buffer)
            }
            None => bind_one(&mut config, buffer, options.takes_over),
        };
        let socket = socket.and_then(|OpenedSocket { socket, granted, dropped }| {
            let endpoint = ListenerEndpoint::Udp(config.clone());
            let label = endpoint.label(protocol);
            let is_merging = merges(&socket, config.gro, &label);
            let stats = ListenerStats::of_datagrams(label, socket.try_clone()?, granted, dropped);
            Ok((socket, Arc::new(stats.with_merging(is_merging))))
        });
        let (socket, stats) = socket.map_err(|source| BindError {
            address: config.address.to_string(),
            hint: if shares_passed { SHARING_HINT } else { hint(&source) },
            source,
        })?;
        bound.push(BoundDatagrams {
            socket,
            protocol,
            allow: config.allow.clone(),
            mirror: config.mirror.clone(),
            secret: config.secret.clone(),
            datagram_max: DATAGRAM_MAX,
            is_merging: stats.is_merging(),
            origin: "unknown".to_owned(),
            file: None,
            stats,
        });
    }
    Ok(bound)
}

/// A bound socket.
struct OpenedSocket {
    socket: OwnedFd,
    /// The size of the buffer that the kernel granted.
    granted: usize,
    /// Number of datagrams that the kernel dropped before this run.
    dropped: u32,
}

/// Binds a socket and stores its address: with port 0, all threads share the port of the first
/// socket.
fn bind_one(config: &mut UdpConfig, buffer: u64, takes_over: bool) -> io::Result<OpenedSocket> {
    let domain = Domain::for_address(config.address);
    let socket = Socket::new(domain, Type::DGRAM, Some(IpProtocol::UDP))?;
    // Only if it is needed: otherwise a second daemon could bind the same address and silently
    // receive a part of the datagrams.
    if config.threads > 1 {
        socket.set_reuse_port(true)?;
    }
    receive_buffer::request(&socket, buffer)?;
    receive_buffer::log_if_smaller(&socket, buffer)?;
    // Only while binding, for the same reason.
    socket.set_reuse_address(takes_over)?;
    config.address = bound_address(&socket, config.address)?;
    if takes_over {
        socket.set_reuse_address(false)?;
    }
    Ok(OpenedSocket {
        granted: receive_buffer::granted(&socket)?,
        socket: socket.into(),
        dropped: 0,
    })
}

/// Prepares a passed socket, which may hold datagrams already.
fn adopt(socket: Socket, buffer: u64) -> io::Result<OpenedSocket> {
    let dropped = sys::socket_drops(socket.as_fd())?;
    if dropped > 0 {
        // Earlier runs have reported theirs, but nothing reports drops between two runs.
        info!(dropped, "the kernel dropped datagrams on this socket before this start");
    }
    // The service manager may have set a larger buffer than this process may request, and a request
    // for less would shrink it. So try the request with another socket first.
    let other = Socket::new(socket.domain()?, Type::DGRAM, Some(IpProtocol::UDP))?;
    receive_buffer::request(&other, buffer)?;
    if receive_buffer::granted(&other)? > receive_buffer::granted(&socket)? {
        receive_buffer::request(&socket, buffer)?;
    }
    receive_buffer::log_if_smaller(&socket, buffer)?;
    Ok(OpenedSocket { granted: receive_buffer::granted(&socket)?, socket: socket.into(), dropped })
}

/// Lets the kernel merge datagrams if `wanted`. Returns whether it does.
fn merges(socket: &OwnedFd, wanted: bool, listener: &str) -> bool {
    // An earlier run may have set the option of a passed socket. It stays set, because packets that
    // wait would otherwise come without the size of their datagrams.
    if sys::merges_datagrams(socket.as_fd()) {
        if !wanted {
            info!(
                listener,
                "`gro` of an earlier run stays on; to turn it off, restart the socket unit"
            );
        }
        return true;
    }
    wanted
        && sys::merge_datagrams(socket.as_fd())
            .inspect_err(|error| warn!(listener, %error, "the kernel does not support `gro`"))
            .is_ok()
}
