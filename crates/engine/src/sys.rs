//! The system calls that no safe library offers. The only module with `unsafe` in it.

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

/// Datagrams that one system call may bring.
pub const BATCH: usize = 64;
/// Room for a sender's address, of whatever family.
const ADDRESS_BYTES: u32 = mem::size_of::<libc::sockaddr_storage>() as u32;
/// Added to the distance between two datagrams: a power of two would map the start of every one to
/// the same few cache lines.
const PADDING: usize = 320;

/// From this size on an allocation has pages of its own.
#[cfg(target_env = "gnu")]
const OWN_PAGES_FROM: libc::c_int = 256 << 10;

/// Has large allocations in pages of their own for good: tables that grow then move without a copy,
/// and what is freed goes back to the system. glibc would stop doing so with the first large one
/// that is freed, which is a third of the memory at a million series.
pub fn keep_large_allocations_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: an option of the allocator, which takes its own lock.
    unsafe {
        // It cannot fail with this value; if it did, nothing but memory would be lost.
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_FROM);
    }
}

/// Memory for `recvmmsg(2)`: one call brings up to 64 datagrams, which is what makes a call a
/// datagram too dear (the kernel's share of receiving is the larger part of the whole daemon's).
pub struct ReceiveBatch {
    buffer: Box<[u8]>,
    /// Distance between the starts of two datagrams in it.
    stride: usize,
    addresses: Box<[libc::sockaddr_storage]>,
    // Pointed to by `headers`, hence kept and never moved.
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
    /// Allocates memory for datagrams of up to `room` bytes; the system gives it page by page as
    /// datagrams fill it.
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

    /// Takes what the socket holds, up to the size of the batch, without waiting. Without
    /// `with_senders`, who sent it stays unknown, which spares a twentieth of the time.
    ///
    /// # Errors
    /// `WouldBlock` when it holds nothing, else what the system says.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, with_senders: bool) -> io::Result<usize> {
        // The kernel overwrites the lengths that it was given, in the slots that it fills.
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

/// A message of one piece, without an address.
fn header_of(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid mmsghdr: null pointers and zero lengths.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// What came.
#[derive(Clone, Copy)]
pub struct Datagram<'a> {
    /// Its content, as far as there was room.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub sender: SenderAddress<'a>,
    /// Whether there was more of it than room.
    pub is_cut: bool,
}

/// Datagrams to send again and again with `sendmmsg(2)`: what a call needs is built once, so that
/// sending costs little but the kernel's share.
pub struct SendRing {
    // Pointed to by the vectors, and these by the headers, hence kept and never moved.
    _bytes: Box<[u8]>,
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: as for `ReceiveBatch`: the pointers lead to heap memory that this struct owns.
unsafe impl Send for SendRing {}

impl SendRing {
    /// Takes the datagrams, one behind the other, and where each ends.
    ///
    /// # Panics
    /// If the ends do not rise or lie behind the bytes.
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

    /// Sends datagrams of this range over a connected socket; gives how many went out. If not all
    /// did, the first that did not has to be sent again: what the system says to that is lost.
    ///
    /// # Errors
    /// What the system says to the first.
    ///
    /// # Panics
    /// If the range is not within the ring.
    pub fn send(&mut self, socket: BorrowedFd<'_>, range: Range<usize>) -> io::Result<usize> {
        let headers = &mut self.headers[range];
        // SAFETY: `headers` are valid and as many as is said. They point to memory of this struct
        // that the kernel only reads; no address is given, as the socket is connected.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Has the kernel end a child with SIGTERM when this thread ends, however it ends.
pub fn end_with_parent(command: &mut Command) {
    // SAFETY: what runs between fork and exec is one system call: it allocates nothing and takes no
    // lock.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

/// The descriptors that the service manager passed (sd_listen_fds(3)), in its order; none from the
/// second call on.
///
/// # Errors
/// When the environment promises some that are not there.
pub fn passed_descriptors() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    // They are open: their flags could be set. They were before this process ran its first line, so
    // it has them from nobody but the manager, which passes them to be owned; and nobody takes them
    // a second time.
    // SAFETY: hence each is open and has no other owner.
    Ok(sd_notify::listen_fds()?
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })
        .collect())
}

/// A sender as the kernel wrote it down; made into an address only for whoever asks.
#[derive(Clone, Copy)]
pub struct SenderAddress<'a>(Option<&'a libc::sockaddr_storage>);

impl SenderAddress<'_> {
    /// Its address; `None` if it has none, is not over IP or was not asked for.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        let storage = self.0?;
        match i32::from(storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the kernel says that it wrote a sockaddr_in, which is smaller than and no
                // stricter aligned than a sockaddr_storage.
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

/// Asks the processor to have `place` in its cache soon. Changes nothing but how long the next look
/// at it takes: with 100,000 series, waiting for memory is most of what a sample costs.
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

/// How many datagrams the kernel dropped because the socket's buffer was full, since the socket was
/// made. Wraps at 2^32.
///
/// Asked of the socket itself (`SO_MEMINFO`): exact at once and without privileges, whereas the
/// counter that rides on datagrams (`SO_RXQ_OVFL`) misses those dropped at the end of a burst.
///
/// # Errors
/// What the system says.
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
    fn only_the_datagrams_that_came_are_given() {
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
        assert_eq!(batch.datagrams().count(), 0, "nothing of the last batch is seen again");
    }

    #[test]
    fn a_datagram_that_did_not_fit_is_told_apart_and_its_neighbours_are_whole() {
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
    fn senders_are_known_over_both_protocols() {
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
    fn a_sender_hears_that_nobody_listens() {
        let (receiver, sender) = pair("127.0.0.1:0");
        drop(receiver);
        let mut ring = SendRing::new(b"x".to_vec(), &[1]);
        ring.send(sender.as_fd(), 0..1).unwrap();
        let error = ring.send(sender.as_fd(), 0..1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn the_kernel_tells_its_drops_without_another_datagram() {
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
