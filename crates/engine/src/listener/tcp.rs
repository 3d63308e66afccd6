//! Binds TCP sockets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol as IpProtocol, Socket, Type};

use super::bind_error::{BindError, hint};
use super::config::{ListenerEndpoint, TcpConfig};
use super::keepalive::set_keepalive;
use super::passed::{BindTarget, PassedSockets};
use super::stream::{BACKLOG, BoundStream, StreamTransport};
use super::tls_config::ListenerTls;
use super::{Protocol, Transport};

/// Binds the socket of a listener, unless the service manager passed it.
pub(super) fn bind(
    protocol: Protocol,
    config: &TcpConfig,
    passed: &mut PassedSockets,
) -> Result<BoundStream, BindError> {
    let error =
        |source| BindError { address: config.address.to_string(), hint: hint(&source), source };
    let tls = config.tls.as_ref().map(ListenerTls::settings).transpose();
    let tls = tls.map_err(|concern| error(io::Error::other(concern)))?;
    let listening = match passed.take(&BindTarget::address(Transport::Tcp, config.address)) {
        Some(socket) => Ok((socket, config.address)),
        None => listen(config.address),
    };
    listening
        .and_then(|(socket, address)| {
            set_keepalive(&socket, config.stream.keepalive)?;
            let endpoint = ListenerEndpoint::Tcp(TcpConfig { address, ..config.clone() });
            let label = endpoint.label(protocol);
            let transport = StreamTransport::Tcp(config.allow.clone(), tls);
            BoundStream::new(socket, protocol, label, transport, config.stream)
        })
        .map_err(error)
}

fn listen(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(IpProtocol::TCP))?;
    // A restart must not fail while connections of the last run are in TIME_WAIT. Unlike with UDP,
    // this does not allow two programs to listen at the same time.
    socket.set_reuse_address(true)?;
    let address = bound_address(&socket, address)?;
    socket.listen(BACKLOG)?;
    Ok((socket, address))
}

/// Binds to an address and returns the actual one, in which port 0 is replaced by a free port.
/// `[::]` includes IPv4, regardless of the system's default.
pub(super) fn bound_address(socket: &Socket, address: SocketAddr) -> io::Result<SocketAddr> {
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.local_addr()?.as_socket().unwrap_or(address))
}
