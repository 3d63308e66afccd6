//! Probes for dead peers of TCP connections.

use std::io;
use std::os::fd::AsFd;

use rustix::net::sockopt;

use super::stream_config::Keepalive;

/// Sets when the kernel probes the peer of a connection. A listening socket passes the setting to
/// the connections that it accepts.
pub(super) fn set_keepalive(socket: impl AsFd, keepalive: Keepalive) -> io::Result<()> {
    let Some(silence) = keepalive.silence() else {
        return Ok(sockopt::set_socket_keepalive(socket, false)?);
    };
    sockopt::set_tcp_keepidle(&socket, silence)?;
    sockopt::set_tcp_keepintvl(&socket, Keepalive::pause(silence))?;
    sockopt::set_tcp_keepcnt(&socket, Keepalive::PROBES)?;
    Ok(sockopt::set_socket_keepalive(&socket, true)?)
}
