//! Several datagrams in one packet: UDP_GRO for receiving and UDP_SEGMENT for sending (udp(7)).
//!
//! All datagrams of a packet have the same size, except the last, which may be shorter. A control
//! message has this size.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::ptr;

use super::option;

/// Room for the control messages of a packet. The socket may have other options that add messages,
/// such as timestamps, which the service manager can set.
const CONTROL_BYTES: usize = 256;

/// A buffer for control messages, which need its alignment.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct ControlBuffer([u8; CONTROL_BYTES]);

impl ControlBuffer {
    pub(super) const EMPTY: Self = Self([0; CONTROL_BYTES]);

    /// Provides a header with this buffer as its room for control messages.
    pub(super) fn attach(&mut self, header: &mut libc::msghdr) {
        header.msg_control = ptr::from_mut(&mut self.0).cast();
        header.msg_controllen = CONTROL_BYTES as _;
    }

    /// Makes the kernel divide the payload of a header into datagrams of `size` bytes.
    pub(super) fn attach_size(&mut self, header: &mut libc::msghdr, size: u16) {
        self.attach(header);
        let bytes = mem::size_of::<u16>() as libc::c_uint;
        // SAFETY: the buffer has room for a message of two bytes and the alignment of its header, so
        // the first message is there and in the buffer. Its data may be unaligned.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let message = libc::CMSG_FIRSTHDR(header);
            (*message).cmsg_level = libc::SOL_UDP;
            (*message).cmsg_type = libc::UDP_SEGMENT;
            (*message).cmsg_len = libc::CMSG_LEN(bytes) as _;
            libc::CMSG_DATA(message).cast::<u16>().write_unaligned(size);
        }
    }
}

/// The size of the datagrams that the kernel merged into a received packet; `None` for a single
/// datagram.
///
/// # Safety
/// `msg_control` and `msg_controllen` must describe valid memory, aligned like `cmsghdr`.
pub(super) unsafe fn received_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the macros follow the lengths within the memory that the caller vouches for, and the
    // length of a message says that its data is there.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let bytes = libc::CMSG_LEN(mem::size_of::<libc::c_int>() as libc::c_uint);
            let has_size = found.cmsg_len >= bytes as usize;
            if (found.cmsg_level, found.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) && has_size {
                let size = libc::CMSG_DATA(message).cast::<libc::c_int>().read_unaligned();
                return usize::try_from(size).ok().filter(|size| *size > 0);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// Lets the kernel merge datagrams of one sender into a packet.
///
/// Never undone: packets that wait in the socket would then come without the size of their
/// datagrams.
///
/// # Errors
/// The error of `setsockopt(2)`: `ENOPROTOOPT` before Linux 5.0.
pub fn merge_datagrams(socket: BorrowedFd<'_>) -> io::Result<()> {
    option::set(socket, (libc::SOL_UDP, libc::UDP_GRO), 1)
}

/// Whether the kernel merges datagrams for this socket.
#[must_use]
pub fn merges_datagrams(socket: BorrowedFd<'_>) -> bool {
    option::read(socket, (libc::SOL_UDP, libc::UDP_GRO)).is_ok_and(|[on]| on != 0)
}

/// Whether the kernel divides packets that are sent over this socket. Other sockets ignore the
/// control message, and would send a packet as one datagram.
pub(super) fn divides_packets(socket: BorrowedFd<'_>) -> bool {
    option::read::<1>(socket, (libc::SOL_UDP, libc::UDP_SEGMENT)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// A header with these control messages: level, type and data.
    fn size_in(messages: &[(libc::c_int, libc::c_int, &[u8])]) -> Option<usize> {
        let mut buffer = ControlBuffer::EMPTY;
        // SAFETY: all-zero bytes are a valid msghdr.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        buffer.attach(&mut header);
        let mut length = 0;
        // SAFETY: the messages of the tests fit into the buffer.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const header);
            for (level, kind, data) in messages {
                let bytes = data.len() as libc::c_uint;
                (*message).cmsg_level = *level;
                (*message).cmsg_type = *kind;
                (*message).cmsg_len = libc::CMSG_LEN(bytes) as _;
                ptr::copy_nonoverlapping(data.as_ptr(), libc::CMSG_DATA(message), data.len());
                length += libc::CMSG_SPACE(bytes);
                message = libc::CMSG_NXTHDR(&raw const header, message);
            }
            header.msg_controllen = length as _;
            received_size(&header)
        }
    }

    #[test]
    fn the_size_is_found_among_other_control_messages() {
        let size = 1432_i32.to_ne_bytes();
        let merged = (libc::SOL_UDP, libc::UDP_GRO, &size[..]);
        let timestamp = (libc::SOL_SOCKET, libc::SO_TIMESTAMP, &[1; 16][..]);
        let drops = (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &[2; 4][..]);
        assert_eq!(size_in(&[merged]), Some(1432));
        assert_eq!(size_in(&[timestamp, drops, merged]), Some(1432));
        assert_eq!(size_in(&[merged, timestamp]), Some(1432));
        assert_eq!(size_in(&[]), None);
        assert_eq!(size_in(&[timestamp, drops]), None);
    }

    #[test]
    fn a_size_that_no_datagram_has_is_ignored() {
        for size in [0, -1_i32] {
            let data = size.to_ne_bytes();
            assert_eq!(size_in(&[(libc::SOL_UDP, libc::UDP_GRO, &data)]), None);
        }
        assert_eq!(size_in(&[(libc::SOL_UDP, libc::UDP_GRO, &[1, 2])]), None, "too short");
    }

    #[test]
    fn a_socket_merges_datagrams_once_asked_to() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!merges_datagrams(socket.as_fd()));
        merge_datagrams(socket.as_fd()).unwrap();
        assert!(merges_datagrams(socket.as_fd()));
        let (unix, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
        assert!(merge_datagrams(unix.as_fd()).is_err() && !merges_datagrams(unix.as_fd()));
    }
}
