//! Receives datagrams in batches.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::header::header_of;
use super::segments::{self, ControlBuffer};

/// Maximum number of packets per system call.
pub const BATCH: usize = 64;
/// Size of a sender's address of any family.
const ADDRESS_BYTES: u32 = mem::size_of::<libc::sockaddr_storage>() as u32;
/// Added to the distance between two packets. If the distance were a power of two, the starts of
/// all packets would map to the same few cache lines.
const PADDING: usize = 320;

/// Buffers for `recvmmsg(2)`, which receives up to 64 packets per call. A call per datagram would
/// be too expensive: the kernel's part of receiving is the larger part of the whole daemon's work.
///
/// A packet is a datagram, or several that the kernel merged.
pub struct ReceiveBatch {
    buffer: Box<[u8]>,
    /// Maximum size of a packet.
    room: usize,
    /// Distance between the starts of two packets in `buffer`.
    stride: usize,
    addresses: Box<[libc::sockaddr_storage]>,
    // `headers` points to these, so they are kept and never move.
    _vectors: Box<[libc::iovec]>,
    /// Room for the sizes of merged datagrams; empty for a socket that does not merge them.
    controls: Box<[ControlBuffer]>,
    headers: Box<[libc::mmsghdr]>,
    /// Whether the headers have room for senders.
    with_senders: bool,
    filled: usize,
}

// SAFETY: the pointers in `_vectors` and `headers` lead to heap memory that this struct owns, so
// they stay valid wherever the struct moves, to another thread too.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Allocates buffers for packets of up to `room` bytes. The system provides the memory page by
    /// page, as packets fill it.
    #[must_use]
    pub fn new(room: usize) -> Self {
        let stride = room + PADDING;
        let mut buffer = vec![0_u8; BATCH * stride].into_boxed_slice();
        // SAFETY: all-zero bytes are a valid sockaddr_storage, a plain C struct of integers.
        let addresses: Box<[libc::sockaddr_storage]> =
            vec![unsafe { mem::zeroed() }; BATCH].into_boxed_slice();
        let mut vectors: Box<[libc::iovec]> = buffer
            .chunks_exact_mut(stride)
            .map(|place| libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: room })
            .collect();
        let headers = vectors.iter_mut().map(header_of).collect();
        Self {
            buffer,
            room,
            stride,
            addresses,
            _vectors: vectors,
            controls: Box::default(),
            headers,
            with_senders: false,
            filled: 0,
        }
    }

    /// Makes room for the sizes of merged datagrams. Without it, a packet of a socket that merges
    /// datagrams would look like one large datagram.
    #[must_use]
    pub fn for_merged_datagrams(mut self) -> Self {
        self.controls = vec![ControlBuffer::EMPTY; BATCH].into_boxed_slice();
        for (header, control) in self.headers.iter_mut().zip(&mut self.controls) {
            control.attach(&mut header.msg_hdr);
        }
        self
    }

    /// Receives the available packets, up to the size of the batch, without waiting. Without
    /// `with_senders`, the senders stay unknown, which saves a twentieth of the time.
    ///
    /// # Errors
    /// `WouldBlock` if there is no packet, otherwise the error of `recvmmsg(2)`.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, with_senders: bool) -> io::Result<usize> {
        self.restore_headers(with_senders);
        self.filled = 0;
        // MSG_TRUNC: the length is that of the whole packet, even if it did not fit. SAFETY:
        // `headers` holds BATCH valid headers whose pointers lead to memory of this struct that
        // nothing else refers to while `&mut self` is borrowed; a null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// Restores the lengths that the kernel has overwritten, in the slots that it has filled. If
    /// `with_senders` changes, all slots change.
    fn restore_headers(&mut self, with_senders: bool) {
        let stale = if with_senders == self.with_senders { self.filled } else { BATCH };
        self.with_senders = with_senders;
        for (header, address) in self.headers.iter_mut().zip(&mut self.addresses).take(stale) {
            let header = &mut header.msg_hdr;
            (header.msg_name, header.msg_namelen) = if with_senders {
                (ptr::from_mut(address).cast(), ADDRESS_BYTES)
            } else {
                (ptr::null_mut(), 0)
            };
        }
        for (header, control) in self.headers.iter_mut().zip(&mut self.controls).take(stale) {
            control.attach(&mut header.msg_hdr);
        }
    }

    /// The packets of the last [`ReceiveBatch::receive`]: exactly the slots that it filled.
    pub fn packets(&self) -> impl Iterator<Item = ReceivedPacket<'_>> {
        self.headers[..self.filled].iter().enumerate().map(|(slot, header)| {
            let (start, length) = (slot * self.stride, header.msg_len as usize);
            ReceivedPacket {
                bytes: &self.buffer[start..start + length.min(self.room)],
                length,
                segment: self.segment_size(&header.msg_hdr),
                sender: SenderAddress(
                    (header.msg_hdr.msg_namelen > 0).then(|| &self.addresses[slot]),
                ),
            }
        })
    }

    #[inline]
    fn segment_size(&self, header: &libc::msghdr) -> usize {
        // The kernel has written the length: 0 for a single datagram.
        if self.controls.is_empty() || header.msg_controllen == 0 {
            return usize::MAX;
        }
        // SAFETY: the header points to a buffer in `controls`, of which the kernel has written this
        // length.
        unsafe { segments::received_size(header) }.unwrap_or(usize::MAX)
    }
}

/// A received packet: a datagram, or several of one sender that the kernel merged.
#[derive(Clone, Copy)]
pub struct ReceivedPacket<'a> {
    /// The content that fitted into the buffer.
    bytes: &'a [u8],
    /// The size of the whole packet.
    length: usize,
    /// The size of each datagram except the last, above 0.
    segment: usize,
    /// The sender.
    pub sender: SenderAddress<'a>,
}

impl<'a> ReceivedPacket<'a> {
    /// The datagrams, at least one. A datagram that did not fit into the buffer is truncated,
    /// perhaps to nothing.
    pub fn datagrams(self) -> impl Iterator<Item = Datagram<'a>> {
        let Self { bytes, length, segment, sender } = self;
        // An empty packet is one empty datagram.
        let count = if length <= segment { 1 } else { length.div_ceil(segment) };
        (0..count).map(move |index| {
            let start = index * segment;
            let end = length.min(start.saturating_add(segment));
            let fits = end.min(bytes.len());
            Datagram { bytes: &bytes[start.min(fits)..fits], sender, is_cut: end > fits }
        })
    }
}

/// A received datagram.
#[derive(Clone, Copy)]
pub struct Datagram<'a> {
    /// The content that fitted into the buffer.
    pub bytes: &'a [u8],
    /// The sender.
    pub sender: SenderAddress<'a>,
    /// Whether the datagram was truncated.
    pub is_cut: bool,
}

/// The address of a sender as written by the kernel, converted only where it is needed.
#[derive(Clone, Copy)]
pub struct SenderAddress<'a>(Option<&'a libc::sockaddr_storage>);

impl SenderAddress<'_> {
    /// The address of a sender that has none, or that was not asked for.
    pub const UNKNOWN: Self = Self(None);

    /// The address; `None` if the sender has none, does not use IP, or was not asked for.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        let storage = self.0?;
        match i32::from(storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that the kernel wrote a sockaddr_in, which is smaller
                // than a sockaddr_storage and does not need stricter alignment.
                let v4 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above, with a sockaddr_in6.
                let v6 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::new(ip.to_canonical(), u16::from_be(v6.sin6_port)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::sys::SendRing;
    use crate::sys::option;
    use crate::sys::testing::pair;

    /// The datagrams of a batch, across its packets.
    fn datagrams(batch: &ReceiveBatch) -> impl Iterator<Item = Datagram<'_>> {
        batch.packets().flat_map(ReceivedPacket::datagrams)
    }

    #[test]
    fn only_received_datagrams_are_returned() {
        let (receiver, sender) = pair("127.0.0.1:0");
        let mut batch = ReceiveBatch::new(65_536);
        for round in 0..3 {
            for size in [0, 1, 65_507] {
                sender.send(&vec![round; size]).unwrap();
            }
            // Loopback delivers before `send` returns.
            assert_eq!(batch.receive(receiver.as_fd(), true).unwrap(), 3);
            let lengths: Vec<_> = datagrams(&batch).map(|datagram| datagram.bytes.len()).collect();
            assert_eq!(lengths, [0, 1, 65_507]);
            assert!(datagrams(&batch).all(|d| !d.is_cut && d.bytes.iter().all(|b| *b == round)));
        }
        let error = batch.receive(receiver.as_fd(), true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(datagrams(&batch).count(), 0, "datagrams of the last batch are gone");
    }

    #[test]
    fn a_truncated_datagram_is_marked_and_its_neighbours_are_whole() {
        let (receiver, sender) = UnixDatagram::pair().unwrap();
        let mut batch = ReceiveBatch::new(1000);
        for size in [1000, 1001, 999] {
            sender.send(&vec![1; size]).unwrap();
        }
        assert_eq!(batch.receive(receiver.as_fd(), true).unwrap(), 3);
        let seen: Vec<_> = datagrams(&batch).map(|d| (d.bytes.len(), d.is_cut)).collect();
        assert_eq!(seen, [(1000, false), (1000, true), (999, false)]);
        assert!(datagrams(&batch).all(|datagram| datagram.sender.address().is_none()));
    }

    #[test]
    fn senders_are_known_over_ipv4_and_ipv6() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let (receiver, sender) = pair(bind);
            let mut batch = ReceiveBatch::new(65_536);
            sender.send(b"x").unwrap();
            batch.receive(receiver.as_fd(), true).unwrap();
            let address = datagrams(&batch).next().unwrap().sender.address();
            assert_eq!(address, Some(sender.local_addr().unwrap()));

            sender.send(b"x").unwrap();
            batch.receive(receiver.as_fd(), false).unwrap();
            assert_eq!(datagrams(&batch).next().unwrap().sender.address(), None);
        }
    }

    /// A packet of `length` bytes, of which `room` bytes fitted.
    fn sizes(length: usize, room: usize, segment: usize) -> Vec<(usize, bool)> {
        let bytes = &[b'x'; 100][..length.min(room)];
        let packet = ReceivedPacket { bytes, length, segment, sender: SenderAddress(None) };
        packet.datagrams().map(|datagram| (datagram.bytes.len(), datagram.is_cut)).collect()
    }

    #[test]
    fn the_last_datagram_of_a_packet_may_be_shorter() {
        assert_eq!(sizes(9, 100, 4), [(4, false), (4, false), (1, false)]);
        assert_eq!(sizes(8, 100, 4), [(4, false), (4, false)]);
        assert_eq!(sizes(3, 100, 4), [(3, false)]);
        assert_eq!(sizes(0, 100, usize::MAX), [(0, false)]);
        assert_eq!(sizes(100, 100, 1), [(1, false); 100]);
    }

    #[test]
    fn each_datagram_of_a_truncated_packet_is_there() {
        assert_eq!(sizes(15, 9, 4), [(4, false), (4, false), (1, true), (0, true)]);
        assert_eq!(sizes(16, 8, 4), [(4, false), (4, false), (0, true), (0, true)]);
        assert_eq!(sizes(15, 9, usize::MAX), [(9, true)]);
    }

    #[test]
    fn merged_datagrams_are_separate_again_with_their_sender() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let (receiver, sender) = pair(bind);
            segments::merge_datagrams(receiver.as_fd()).unwrap();
            let mut batch = ReceiveBatch::new(65_536).for_merged_datagrams();
            // More than a batch, so that the lengths are restored.
            for round in 0..3 {
                sender.send(b"").unwrap();
                let ends = [2, 4, 6, 7, 8, 11];
                let mut ring =
                    SendRing::new(b"aabbccdefff".to_vec(), &ends).merging(sender.as_fd());
                assert_eq!(ring.send(sender.as_fd(), 0..6).unwrap(), 6);
                let packets = batch.receive(receiver.as_fd(), round > 0).unwrap();
                assert_eq!(packets, 4, "empty, aa-bb-cc-d, e, fff");
                let seen: Vec<_> = datagrams(&batch).map(|one| one.bytes.to_vec()).collect();
                assert_eq!(seen, [&b""[..], b"aa", b"bb", b"cc", b"d", b"e", b"fff"]);
                let address = (round > 0).then(|| sender.local_addr().unwrap());
                assert!(datagrams(&batch).all(|one| one.sender.address() == address));
            }
        }
    }

    #[test]
    fn each_datagram_of_a_packet_that_is_too_long_is_there() {
        let (receiver, sender) = pair("127.0.0.1:0");
        segments::merge_datagrams(receiver.as_fd()).unwrap();
        let mut batch = ReceiveBatch::new(9).for_merged_datagrams();
        let mut ring = SendRing::new(b"aaaabbbbccccdd".to_vec(), &[4, 8, 12, 14]);
        ring = ring.merging(sender.as_fd());
        assert_eq!(ring.send(sender.as_fd(), 0..4).unwrap(), 4);
        assert_eq!(batch.receive(receiver.as_fd(), false).unwrap(), 1);
        let seen: Vec<_> = datagrams(&batch).map(|one| (one.bytes, one.is_cut)).collect();
        assert_eq!(seen, [(&b"aaaa"[..], false), (b"bbbb", false), (b"c", true), (b"", true)]);
    }

    #[test]
    fn a_packet_is_separated_whatever_other_options_the_socket_has() {
        let (receiver, sender) = pair("127.0.0.1:0");
        segments::merge_datagrams(receiver.as_fd()).unwrap();
        for (level, name) in [
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
            (libc::SOL_IP, libc::IP_PKTINFO),
            (libc::SOL_IP, libc::IP_RECVTOS),
            (libc::SOL_IP, libc::IP_RECVTTL),
        ] {
            option::set(receiver.as_fd(), (level, name), 1).unwrap();
        }
        let mut batch = ReceiveBatch::new(100).for_merged_datagrams();
        let mut ring = SendRing::new(b"aabb".to_vec(), &[2, 4]).merging(sender.as_fd());
        ring.send(sender.as_fd(), 0..2).unwrap();
        batch.receive(receiver.as_fd(), false).unwrap();
        let seen: Vec<_> = datagrams(&batch).map(|one| one.bytes).collect();
        assert_eq!(seen, [b"aa", b"bb"]);
    }
}
