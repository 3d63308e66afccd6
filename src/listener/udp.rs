//! Binding UDP sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use forwarders::units::ByteSize;
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use tracing::info;

use super::Protocol;
use super::bind::{BindError, hint};
use super::config::{Endpoint, ListenerConfig, UdpConfig};
use super::datagram::BoundDatagrams;
use super::stats::ListenerStats;
use super::tcp::bound_address;

/// The largest UDP payload is 65,507 bytes over IPv4 and 65,527 over IPv6.
const DATAGRAM_MAX: usize = 65_536;

/// Binds the sockets of a listener, one for each of its threads.
pub(super) fn bind(
    protocol: Protocol,
    config: &UdpConfig,
    receive_buffer: u64,
) -> Result<Vec<BoundDatagrams>, BindError> {
    let buffer = config.receive_buffer.map_or(receive_buffer, ByteSize::get);
    let mut config = config.clone();
    let mut bound = Vec::with_capacity(config.threads);
    for _ in 0..config.threads {
        let socket = bind_one(&mut config, buffer).and_then(|(socket, granted)| {
            let endpoint = Endpoint::Udp(config.clone());
            let label = ListenerConfig { protocol, endpoint }.to_string();
            let stats = ListenerStats::of_datagrams(label, socket.try_clone()?, granted);
            Ok((socket, Arc::new(stats)))
        });
        let (socket, stats) = socket.map_err(|source| BindError {
            place: config.address.to_string(),
            hint: hint(&source),
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

/// Binds a socket and notes its address: with port 0 the first socket's port is the one to share.
/// Gives what the kernel granted as buffer too.
fn bind_one(config: &mut UdpConfig, buffer: u64) -> io::Result<(OwnedFd, usize)> {
    let domain = Domain::for_address(config.address);
    let socket = Socket::new(domain, Type::DGRAM, Some(IpProtocol::UDP))?;
    // Sharing an address is asked for only where it is used: otherwise a second daemon would bind
    // it too and silently take its share of the datagrams.
    if config.threads > 1 {
        socket.set_reuse_port(true)?;
    }
    let granted = enlarge_buffer(&socket, buffer)?;
    config.address = bound_address(&socket, config.address)?;
    Ok((socket.into(), granted))
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
