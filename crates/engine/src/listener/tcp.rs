//! Binding TCP sockets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol as IpProtocol, Socket, Type};

use super::bind_error::{BindError, hint};
use super::config::{Endpoint, ListenerConfig, TcpConfig};
use super::passed::{self, PassedSockets};
use super::stream::{BACKLOG, BoundStream, Place};
use super::{Protocol, Transport};

/// Binds the socket of a listener, unless it was passed.
pub(super) fn bind(
    protocol: Protocol,
    config: &TcpConfig,
    passed: &mut PassedSockets,
) -> Result<BoundStream, BindError> {
    let listening = match passed.take(&passed::Place::address(Transport::Tcp, config.address)) {
        Some(socket) => Ok((socket, config.address)),
        None => listen(config.address),
    };
    listening
        .and_then(|(socket, address)| {
            let endpoint = Endpoint::Tcp(TcpConfig { address, ..config.clone() });
            let label = ListenerConfig { protocol, endpoint }.to_string();
            let place = Place::Ip(config.allow.clone());
            BoundStream::new(socket, protocol, label, place, config.stream)
        })
        .map_err(|source| BindError {
            place: config.address.to_string(),
            hint: hint(&source),
            source,
        })
}

fn listen(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(IpProtocol::TCP))?;
    // A restart must not wait for the connections of the last run to be forgotten. Unlike with UDP
    // this does not let two programs listen at once.
    socket.set_reuse_address(true)?;
    let address = bound_address(&socket, address)?;
    socket.listen(BACKLOG)?;
    Ok((socket, address))
}

/// Binds to an address and gives the one that came of it: port 0 has become a free one. `[::]`
/// stands for IPv4 too, whatever the system's default is.
pub(super) fn bound_address(socket: &Socket, address: SocketAddr) -> io::Result<SocketAddr> {
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.local_addr()?.as_socket().unwrap_or(address))
}
