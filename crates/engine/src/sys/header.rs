//! Message headers for `sendmmsg` and `recvmmsg`, system calls that take several messages.

use std::mem;

/// A header for a message in one buffer, without an address. It points to `vector`, which has to
/// outlive it.
pub(super) fn header_of(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid mmsghdr: null pointers and zero lengths.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}
