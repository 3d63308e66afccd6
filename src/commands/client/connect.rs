//! Sockets to a daemon.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::endpoint::{SendEndpoint, SocketPlace};

/// A socket that takes nothing for so long gives way to a look at the clock and at the signals.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// Why nothing can be sent.
#[derive(Debug, Error)]
#[error("cannot send to {endpoint}: {source}{hint}")]
pub(crate) struct ConnectError {
    endpoint: SendEndpoint,
    #[source]
    source: io::Error,
    hint: &'static str,
}

/// Whether the same can be tried again: a signal came, or the time to wait was over.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Opens a socket and makes sure, as far as this host can tell, that somebody listens there.
///
/// # Errors
/// What the system says, and what to do about it.
pub(crate) fn connect(endpoint: &SendEndpoint) -> Result<Socket, ConnectError> {
    open(endpoint).map_err(|source| ConnectError {
        endpoint: endpoint.clone(),
        hint: hint(&source),
        source,
    })
}

fn open(endpoint: &SendEndpoint) -> io::Result<Socket> {
    let (domain, address) = match &endpoint.place {
        SocketPlace::Address(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        SocketPlace::Path(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let kind = if endpoint.is_datagram() { Type::DGRAM } else { Type::STREAM };
    let socket = Socket::new(domain, kind, None)?;
    socket.connect(&address)?;
    socket.set_write_timeout(Some(WAIT_MAX))?;
    if let SocketPlace::Address(address) = &endpoint.place
        && endpoint.is_datagram()
    {
        knock(&socket, address)?;
    }
    Ok(socket)
}

/// Sends an empty datagram, which means nothing to a listener: on this host the answer that nobody
/// listens is there when the call returns.
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
            "; who may write to the socket's file may send: see `mode` of the listener"
        }
        _ => "",
    }
}
