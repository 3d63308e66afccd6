//! The receive buffer of a datagram socket in the kernel.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{SockRef, Socket};
use tracing::info;

/// The largest buffer that can be requested: the kernel doubles the size, in a signed integer.
const BUFFER_MAX: usize = i32::MAX as usize / 2;

/// Requests a buffer of another size for a bound socket. Returns the size that the kernel granted.
pub(super) fn resize(socket: &OwnedFd, buffer: u64) -> io::Result<usize> {
    let socket = SockRef::from(socket);
    request(&socket, buffer)?;
    log_if_smaller(&socket, buffer)?;
    granted(&socket)
}

/// Requests a large buffer. The default one holds about 250 small datagrams, less than a burst.
pub(super) fn request(socket: &Socket, bytes: u64) -> io::Result<()> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(BUFFER_MAX);
    // SO_RCVBUFFORCE may exceed net.core.rmem_max, but needs CAP_NET_ADMIN.
    let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes);
    if forced.is_err() { socket.set_recv_buffer_size(bytes) } else { Ok(()) }
}

/// Returns the granted size, which the kernel doubles to have room for its own bookkeeping.
pub(super) fn granted(socket: &Socket) -> io::Result<usize> {
    Ok(socket.recv_buffer_size()? / 2)
}

/// Logs if the kernel granted less than `asked`, with the sysctl that allows more.
pub(super) fn log_if_smaller(socket: &Socket, asked: u64) -> io::Result<()> {
    let granted = granted(socket)?;
    if (granted as u64) < asked.min(BUFFER_MAX as u64) {
        info!(
            asked,
            granted,
            "the kernel granted a smaller receive buffer; to allow the full size: \
             sysctl -w net.core.rmem_max={asked}"
        );
    }
    Ok(())
}
