//! System calls that no safe library offers. The only module of this crate with `unsafe` code.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, set_parent_process_death_signal};

/// Maximum number of datagrams per system call.
pub const BATCH: usize = 64;
/// Size of a sender's address of any family.
const ADDRESS_BYTES: u32 = mem::size_of::<libc::sockaddr_storage>() as u32;
/// Added to the distance between two datagrams. If the distance were a power of two, the starts of
/// all datagrams would map to the same few cache lines.
const PADDING: usize = 320;

/// Allocations of at least this size have their own pages.
#[cfg(target_env = "gnu")]
const OWN_PAGES_FROM: libc::c_int = 256 << 10;

/// Makes the allocator give large allocations their own pages for good. Growing tables then move
/// without a copy, and freed memory returns to the system. By default, glibc stops doing so when
/// the first large allocation is freed, which costs a third of the memory at a million series.
pub fn keep_large_allocations_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: an option of the allocator, which takes its own lock.
    unsafe {
        // It cannot fail with this value. If it did, the daemon would only take more memory.
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_FROM);
    }
}

/// Buffers for `recvmmsg(2)`, which receives up to 64 datagrams per call. A call per datagram would
/// be too expensive: the kernel's part of receiving is the larger part of the whole daemon's work.
pub struct ReceiveBatch {
    buffer: Box<[u8]>,
    /// Distance between the starts of two datagrams in `buffer`.
    stride: usize,
    addresses: Box<[libc::sockaddr_storage]>,
    // `headers` points to these, so they are kept and never move.
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Whether the headers have room for senders.
    with_senders: bool,
    filled: usize,
}

// SAFETY: the pointers in `_vectors` and `headers` lead to heap memory that this struct owns, so
// they stay valid wherever the struct moves, to another thread too.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Allocates buffers for datagrams of up to `room` bytes. The system provides the memory page
    /// by page, as datagrams fill it.
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
        let with_senders = false;
        Self { buffer, stride, addresses, _vectors: vectors, headers, with_senders, filled: 0 }
    }

    /// Receives the available datagrams, up to the size of the batch, without waiting. Without
    /// `with_senders`, the senders stay unknown, which saves a twentieth of the time.
    ///
    /// # Errors
    /// `WouldBlock` if there is no datagram, otherwise the error of `recvmmsg(2)`.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, with_senders: bool) -> io::Result<usize> {
        // The kernel overwrites the address lengths in the slots that it fills: restore only these,
        // unless all slots change.
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
        self.filled = 0;
        // SAFETY: `headers` holds BATCH valid headers whose pointers lead to memory of this struct
        // that nothing else refers to while `&mut self` is borrowed; a null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// The datagrams of the last [`ReceiveBatch::receive`]: exactly the slots that it filled.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.headers[..self.filled].iter().enumerate().map(|(slot, header)| {
            let start = slot * self.stride;
            Datagram {
                bytes: &self.buffer[start..start + header.msg_len as usize],
                sender: SenderAddress(
                    (header.msg_hdr.msg_namelen > 0).then(|| &self.addresses[slot]),
                ),
                is_cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            }
        })
    }
}

/// A header for a message in one buffer, without an address.
fn header_of(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid mmsghdr: null pointers and zero lengths.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
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

/// Datagrams to send repeatedly with `sendmmsg(2)`. The arguments of the call are built once, so
/// that sending costs little more than the kernel's part.
pub struct SendRing {
    // The headers point to the vectors and these to the bytes, so both are kept and never move.
    _bytes: Box<[u8]>,
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
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
        Self { _bytes: bytes, _vectors: vectors, headers }
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
        let headers = &mut self.headers[range];
        // SAFETY: `headers` are valid, and their number is correct. They point to memory of this
        // struct, which the kernel only reads. They have no address, as the socket is connected.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Makes the kernel send SIGTERM to a child when this thread ends for any reason.
pub fn end_with_parent(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec, and makes one system call: it allocates
    // nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

/// Takes the descriptors that the service manager passed (sd_listen_fds(3)), in its order. Returns
/// none from the second call on.
///
/// # Errors
/// When the environment announces descriptors that do not exist.
pub fn passed_descriptors() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    // The descriptors are open, because `listen_fds` has set their flags. They were open before
    // this process started, so they come from the service manager, which passes ownership. `TAKEN`
    // ensures that they are not taken twice. SAFETY: hence each descriptor is open and has no other
    // owner.
    Ok(sd_notify::listen_fds()?
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })
        .collect())
}

/// The address of a sender as written by the kernel, converted only where it is needed.
#[derive(Clone, Copy)]
pub struct SenderAddress<'a>(Option<&'a libc::sockaddr_storage>);

impl SenderAddress<'_> {
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

/// Prefetches a value into the processor's cache. This only changes the time of the next access:
/// with 100,000 series, waiting for memory is most of the cost of a sample.
#[inline]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program could notice and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Returns the number of datagrams that the kernel has dropped since the socket was created,
/// because its buffer was full. Wraps at 2^32.
///
/// The socket itself is asked (`SO_MEMINFO`), which is exact at once and needs no privileges. The
/// counter attached to datagrams (`SO_RXQ_OVFL`) misses drops at the end of a burst.
///
/// # Errors
/// The error of `getsockopt(2)`.
pub fn socket_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // linux/sock_diag.h: SK_MEMINFO_DROPS is the ninth of the variables.
    const DROPS: usize = 8;
    let mut variables = [0_u32; DROPS + 1];
    let mut length = mem::size_of_val(&variables) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the array.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            variables.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(variables[DROPS]) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn pair(bind: &str) -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind(bind).unwrap();
        let sender = UdpSocket::bind(bind).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (receiver, sender)
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
            let lengths: Vec<_> = batch.datagrams().map(|datagram| datagram.bytes.len()).collect();
            assert_eq!(lengths, [0, 1, 65_507]);
            assert!(batch.datagrams().all(|d| !d.is_cut && d.bytes.iter().all(|b| *b == round)));
        }
        let error = batch.receive(receiver.as_fd(), true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(batch.datagrams().count(), 0, "datagrams of the last batch are gone");
    }

    #[test]
    fn a_truncated_datagram_is_marked_and_its_neighbours_are_whole() {
        let (receiver, sender) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let mut batch = ReceiveBatch::new(1000);
        for size in [1000, 1001, 999] {
            sender.send(&vec![1; size]).unwrap();
        }
        assert_eq!(batch.receive(receiver.as_fd(), true).unwrap(), 3);
        let seen: Vec<_> = batch.datagrams().map(|d| (d.bytes.len(), d.is_cut)).collect();
        assert_eq!(seen, [(1000, false), (1000, true), (999, false)]);
        assert!(batch.datagrams().all(|datagram| datagram.sender.address().is_none()));
    }

    #[test]
    fn senders_are_known_over_ipv4_and_ipv6() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let (receiver, sender) = pair(bind);
            let mut batch = ReceiveBatch::new(65_536);
            sender.send(b"x").unwrap();
            batch.receive(receiver.as_fd(), true).unwrap();
            let address = batch.datagrams().next().unwrap().sender.address();
            assert_eq!(address, Some(sender.local_addr().unwrap()));

            sender.send(b"x").unwrap();
            batch.receive(receiver.as_fd(), false).unwrap();
            assert_eq!(batch.datagrams().next().unwrap().sender.address(), None);
        }
    }

    #[test]
    fn a_range_of_the_ring_is_sent() {
        let (receiver, sender) = pair("127.0.0.1:0");
        let mut ring = SendRing::new(b"abbccc".to_vec(), &[1, 3, 3, 6]);
        assert_eq!(ring.send(sender.as_fd(), 1..4).unwrap(), 3);
        assert_eq!(ring.send(sender.as_fd(), 0..1).unwrap(), 1);
        let mut batch = ReceiveBatch::new(100);
        assert_eq!(batch.receive(receiver.as_fd(), true).unwrap(), 4);
        let seen: Vec<_> = batch.datagrams().map(|datagram| datagram.bytes.to_vec()).collect();
        assert_eq!(seen, [&b"bb"[..], b"", b"ccc", b"a"]);
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
    fn drops_are_known_without_another_datagram() {
        let (receiver, sender) = pair("127.0.0.1:0");
        socket2::SockRef::from(&receiver).set_recv_buffer_size(4096).unwrap();
        for _ in 0..1000 {
            sender.send(&[0; 100]).unwrap();
        }
        let dropped = socket_drops(receiver.as_fd()).unwrap();
        let mut batch = ReceiveBatch::new(65_536);
        let received = batch.receive(receiver.as_fd(), true).unwrap();
        assert!(received < BATCH);
        assert_eq!(received as u32 + dropped, 1000);
    }
}
