//! The number of written bytes that the other host has not acknowledged.

#![allow(unsafe_code, reason = "no safe library has this call")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::c_int;

/// Returns the bytes in the socket's send queue that the peer's TCP has not acknowledged, including
/// bytes that have not been sent yet: `SIOCOUTQ` of tcp(7).
pub(super) fn unacked_bytes(socket: &impl AsFd) -> io::Result<u64> {
    let mut bytes: c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed, and `TIOCOUTQ`, Linux' other name
    // for `SIOCOUTQ`, writes one int to the address in its argument.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes.unsigned_abs().into()) }
}
