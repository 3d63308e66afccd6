//! The kernel's receive buffer of a datagram socket.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{SockRef, Socket};
use tracing::info;

/// The largest buffer that can be asked for: the kernel doubles it, in a signed number.
const BUFFER_MAX: usize = i32::MAX as usize / 2;

/// Asks for a buffer of another size for a bound socket. Returns what the kernel granted.
pub(super) fn resize(socket: &OwnedFd, buffer: u64) -> io::Result<usize> {
    let socket = SockRef::from(socket);
    request(&socket, buffer)?;
    log_if_smaller(&socket, buffer)?;
    granted(&socket)
}

/// Asks for a large buffer: the default one holds some 250 small datagrams, which is less than the
/// first burst.
pub(super) fn request(socket: &Socket, bytes: u64) -> io::Result<()> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(BUFFER_MAX);
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN.
    let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes);
    if forced.is_err() { socket.set_recv_buffer_size(bytes) } else { Ok(()) }
}

/// The kernel doubles what it grants, to have room for its own bookkeeping.
pub(super) fn granted(socket: &Socket) -> io::Result<usize> {
    Ok(socket.recv_buffer_size()? / 2)
}

/// Logs when the kernel granted less than `asked`, and the sysctl that allows it.
pub(super) fn log_if_smaller(socket: &Socket, asked: u64) -> io::Result<()> {
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
