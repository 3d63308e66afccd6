//! Sockets to a daemon.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::endpoint::{SendEndpoint, SocketPlace};

/// How long a write may block before the sender checks the clock and the signals.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// Why a socket cannot be opened.
#[derive(Debug, Error)]
#[error("cannot send to {endpoint}: {source}{hint}")]
pub(crate) struct ConnectError {
    endpoint: SendEndpoint,
    #[source]
    source: io::Error,
    hint: &'static str,
}

/// Whether the operation can be retried: a signal interrupted it, or it timed out.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Opens a socket and checks, as far as this host can, that a daemon listens there.
///
/// # Errors
/// The error of the system, with advice.
pub(crate) fn connect(endpoint: &SendEndpoint) -> Result<Socket, ConnectError> {
    open(endpoint).map_err(|source| ConnectError {
        endpoint: endpoint.clone(),
        hint: hint(&source),
        source,
    })
}

fn open(endpoint: &SendEndpoint) -> io::Result<Socket> {
    let kind = if endpoint.is_datagram() { Type::DGRAM } else { Type::STREAM };
    match &endpoint.place {
        SocketPlace::Addresses(addresses) => open_first(addresses, kind),
        SocketPlace::Path(path) => open_one(Domain::UNIX, kind, &SockAddr::unix(path)?),
    }
}

/// Opens a socket to the first address that does not refuse it. Returns the last error if all do.
fn open_first(addresses: &[SocketAddr], kind: Type) -> io::Result<Socket> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let socket = open_one(Domain::for_address(*address), kind, &SockAddr::from(*address));
        let socket = socket.and_then(|socket| {
            if kind == Type::DGRAM {
                knock(&socket, address)?;
            }
            Ok(socket)
        });
        match socket {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn open_one(domain: Domain, kind: Type, address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, None)?;
    socket.connect(address)?;
    socket.set_write_timeout(Some(WAIT_MAX))?;
    Ok(socket)
}

/// Sends an empty datagram, which listeners ignore. On this host, the error that no socket listens is
/// available when the call returns.
fn knock(socket: &Socket, address: &SocketAddr) -> io::Result<()> {
    if !address.ip().is_loopback() {
        return Ok(());
    }
    socket.send(&[])?;
    socket.take_error()?.map_or(Ok(()), Err)
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            "; no daemon listens there: start one with `tallyd run`, or name another endpoint"
        }
        io::ErrorKind::PermissionDenied => {
            "; only users who may write to the socket's file may send: see `mode` of the listener"
        }
        _ => "",
    }
}
