//! Options of sockets.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads an option that consists of integers.
pub(super) fn read<const N: usize>(
    socket: BorrowedFd<'_>,
    (level, name): (libc::c_int, libc::c_int),
) -> io::Result<[u32; N]> {
    let mut values = [0_u32; N];
    let mut length = mem::size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the array.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(values) } else { Err(io::Error::last_os_error()) }
}

/// Sets an option that is an integer.
pub(super) fn set(
    socket: BorrowedFd<'_>,
    (level, name): (libc::c_int, libc::c_int),
    value: u32,
) -> io::Result<()> {
    // SAFETY: the kernel reads `length` bytes, the size of the value.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of_val(&value) as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
