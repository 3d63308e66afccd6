//! Sends datagrams in batches.

use std::io;
use std::iter;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::header::header_of;
use super::segments::{self, ControlBuffer};

/// Maximum number of datagrams in a packet: `UDP_MAX_SEGMENTS` of kernels before 6.9.
const MERGED_MAX: usize = 64;
/// Maximum size of a packet, the most that IPv4 carries.
const PACKET_BYTES_MAX: usize = 65_507;
/// Maximum number of packets per system call.
const PACKETS_MAX: usize = 64;

/// Datagrams to send repeatedly with `sendmmsg(2)`. The arguments of the call are built once, so
/// that sending costs little more than the kernel's part.
pub struct SendRing {
    // The headers point to the vectors and these to the bytes, so both are kept and never move.
    _bytes: Box<[u8]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Packets of several datagrams; `None` if each datagram is sent separately.
    packets: Option<Box<Packets>>,
}

// SAFETY: as for `ReceiveBatch`: the pointers lead to heap memory that this struct owns.
unsafe impl Send for SendRing {}

impl SendRing {
    /// Takes the datagrams, back to back, and the end of each.
    ///
    /// # Panics
    /// If the ends are not in ascending order, or exceed the bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>, ends: &[usize]) -> Self {
        let mut bytes = bytes.into_boxed_slice();
        let mut start = 0;
        let mut vectors: Box<[libc::iovec]> = ends
            .iter()
            .map(|end| {
                let datagram = &mut bytes[start..*end];
                start = *end;
                libc::iovec { iov_base: datagram.as_mut_ptr().cast(), iov_len: datagram.len() }
            })
            .collect();
        let headers = vectors.iter_mut().map(header_of).collect();
        Self { _bytes: bytes, vectors, headers, packets: None }
    }

    /// Sends successive datagrams of one size as one packet, which the kernel or the network card
    /// divides. If sockets like this one cannot do that, or the system refuses such a packet, each
    /// datagram is sent separately.
    #[must_use]
    pub fn merging(self, socket: BorrowedFd<'_>) -> Self {
        let can = segments::divides_packets(socket);
        Self { packets: can.then(|| Box::new(Packets::new())), ..self }
    }

    /// Whether datagrams are sent in common packets.
    #[must_use]
    pub fn is_merging(&self) -> bool {
        self.packets.is_some()
    }

    /// Sends the datagrams of this range over a connected socket. Returns the number sent. If it is
    /// lower than requested, send the rest again: the error of its first datagram is not known.
    ///
    /// # Errors
    /// The error of `sendmmsg(2)` for the first datagram.
    ///
    /// # Panics
    /// If the range is not within the ring.
    pub fn send(&mut self, socket: BorrowedFd<'_>, range: Range<usize>) -> io::Result<usize> {
        if let Some(packets) = &mut self.packets {
            packets.fill(&self.vectors[range.clone()]);
            match send_headers(socket, packets.filled()) {
                Ok(sent) => return Ok(packets.datagrams(sent)),
                Err(error) if !is_refusal(&error) => return Err(error),
                Err(_) => self.packets = None,
            }
        }
        send_headers(socket, &mut self.headers[range])
    }
}

/// Sends each of the datagrams once over a connected socket that does not block. Returns the number
/// sent. A datagram that fails is skipped; once the send buffer is full, so are the following ones.
pub fn send_each(socket: BorrowedFd<'_>, datagrams: &[&[u8]]) -> usize {
    let vector = |datagram: &&[u8]| {
        // The kernel only reads, so no pointer is used to change the bytes.
        libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() }
    };
    let mut vectors: Vec<libc::iovec> = datagrams.iter().map(vector).collect();
    let mut headers: Vec<libc::mmsghdr> = vectors.iter_mut().map(header_of).collect();
    let (mut rest, mut sent) = (&mut headers[..], 0);
    while !rest.is_empty() {
        let done = match send_headers(socket, rest) {
            Ok(count) => {
                sent += count;
                count
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_full(&error) => break,
            Err(_) => 1,
        };
        rest = &mut rest[done..];
    }
    sent
}

/// Whether the system has no room for another datagram at the moment.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Sends messages over a connected socket. Returns the number sent.
fn send_headers(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    // SAFETY: `headers` are valid, and their number is correct. They point to memory that the callers
    // keep, and which the kernel only reads. They have no address, as the socket is connected.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Whether the system refuses packets of several datagrams: an old kernel, a device without
/// checksums, or datagrams that the route would fragment.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EIO | libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EMSGSIZE)
    )
}

/// The arguments of a call that sends packets.
struct Packets {
    /// The datagrams of each packet.
    counts: Vec<usize>,
    // The headers point to these.
    vectors: [libc::iovec; PACKETS_MAX],
    controls: [ControlBuffer; PACKETS_MAX],
    headers: Vec<libc::mmsghdr>,
}

impl Packets {
    fn new() -> Self {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            counts: Vec::with_capacity(PACKETS_MAX),
            vectors: [empty; PACKETS_MAX],
            controls: [ControlBuffer::EMPTY; PACKETS_MAX],
            headers: Vec::with_capacity(PACKETS_MAX),
        }
    }

    /// Divides datagrams that lie back to back into packets, as many as one call sends.
    fn fill(&mut self, mut datagrams: &[libc::iovec]) {
        self.counts.clear();
        self.headers.clear();
        for (vector, control) in iter::zip(&mut self.vectors, &mut self.controls) {
            let Some(first) = datagrams.first() else { break };
            let count = merged_count(datagrams.iter().map(|datagram| datagram.iov_len));
            let (merged, rest) = datagrams.split_at(count);
            datagrams = rest;
            let length = merged.iter().map(|datagram| datagram.iov_len).sum();
            *vector = libc::iovec { iov_base: first.iov_base, iov_len: length };
            let mut header = header_of(vector);
            if let (2.., Ok(size)) = (count, u16::try_from(first.iov_len)) {
                control.attach_size(&mut header.msg_hdr, size);
            }
            self.counts.push(count);
            self.headers.push(header);
        }
    }

    fn filled(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.headers
    }

    /// The number of datagrams in the first packets.
    fn datagrams(&self, packets: usize) -> usize {
        self.counts[..packets].iter().sum()
    }
}

/// The number of datagrams, of these sizes, that fit into one packet, at least one: equal sizes,
/// perhaps followed by a smaller one. A packet cannot have empty datagrams.
fn merged_count(mut sizes: impl Iterator<Item = usize>) -> usize {
    let Some(size @ 1..) = sizes.next() else { return 1 };
    let most = MERGED_MAX.min(PACKET_BYTES_MAX / size);
    let mut count = 1;
    for next in sizes {
        if count >= most || next > size || next == 0 {
            break;
        }
        count += 1;
        if next < size {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::option;
    use crate::sys::receive::{ReceiveBatch, ReceivedPacket};
    use crate::sys::testing::pair;

    fn received(batch: &ReceiveBatch) -> Vec<Vec<u8>> {
        let datagrams = batch.packets().flat_map(ReceivedPacket::datagrams);
        datagrams.map(|datagram| datagram.bytes.to_vec()).collect()
    }

    #[test]
    fn a_range_of_the_ring_is_sent() {
        let (receiver, sender) = pair("127.0.0.1:0");
        let mut ring = SendRing::new(b"abbccc".to_vec(), &[1, 3, 3, 6]);
        assert_eq!(ring.send(sender.as_fd(), 1..4).unwrap(), 3);
        assert_eq!(ring.send(sender.as_fd(), 0..1).unwrap(), 1);
        let mut batch = ReceiveBatch::new(100);
        assert_eq!(batch.receive(receiver.as_fd(), true).unwrap(), 4);
        assert_eq!(received(&batch), [&b"bb"[..], b"", b"ccc", b"a"]);
    }

    #[test]
    fn sending_to_a_closed_port_fails() {
        let (receiver, sender) = pair("127.0.0.1:0");
        drop(receiver);
        let mut ring = SendRing::new(b"x".to_vec(), &[1]);
        ring.send(sender.as_fd(), 0..1).unwrap();
        let error = ring.send(sender.as_fd(), 0..1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_packet_has_equal_sizes_and_perhaps_a_smaller_one_at_its_end() {
        let count = |sizes: &[usize]| merged_count(sizes.iter().copied());
        assert_eq!(count(&[5, 5, 5]), 3);
        assert_eq!(count(&[5, 5, 4, 4]), 3);
        assert_eq!(count(&[5, 6]), 1);
        assert_eq!(count(&[5, 0, 5]), 1);
        assert_eq!(count(&[0, 0]), 1);
        assert_eq!(count(&[7; 100]), 64);
        assert_eq!(count(&[30_000; 3]), 2);
        assert_eq!(count(&[65_507; 2]), 1);
        assert_eq!(count(&[100_000; 2]), 1);
    }

    #[test]
    fn merged_datagrams_reach_an_ordinary_socket_one_by_one() {
        let (receiver, sender) = pair("127.0.0.1:0");
        let ends: Vec<_> = (1..=100).map(|number| number * 3).collect();
        let mut ring = SendRing::new(b"abc".repeat(100), &ends).merging(sender.as_fd());
        assert_eq!(ring.send(sender.as_fd(), 50..100).unwrap(), 50);
        let mut batch = ReceiveBatch::new(100);
        assert_eq!(batch.receive(receiver.as_fd(), false).unwrap(), 50);
        assert_eq!(received(&batch), vec![b"abc"; 50]);
    }

    fn sent_by(sender: BorrowedFd<'_>, receiver: BorrowedFd<'_>) -> (Vec<Vec<u8>>, bool) {
        let mut ring = SendRing::new(b"aabb".to_vec(), &[2, 4]).merging(sender);
        assert_eq!(ring.send(sender, 0..2).unwrap(), 2);
        let mut batch = ReceiveBatch::new(100);
        batch.receive(receiver, false).unwrap();
        (received(&batch), ring.is_merging())
    }

    #[test]
    fn a_socket_that_cannot_divide_packets_sends_datagrams() {
        let (receiver, sender) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let (received, is_merging) = sent_by(sender.as_fd(), receiver.as_fd());
        assert_eq!(received, [b"aa", b"bb"]);
        assert!(!is_merging);
    }

    #[test]
    fn datagrams_are_sent_separately_after_the_system_has_refused_a_packet() {
        let (receiver, sender) = pair("127.0.0.1:0");
        // The kernel divides no packets for a socket without checksums.
        option::set(sender.as_fd(), (libc::SOL_SOCKET, libc::SO_NO_CHECK), 1).unwrap();
        let (received, is_merging) = sent_by(sender.as_fd(), receiver.as_fd());
        assert_eq!(received, [b"aa", b"bb"]);
        assert!(!is_merging);
    }
}
