//! System calls and instructions that no safe library offers. The only module of this crate with
//! `unsafe` code.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

pub mod ascii;
pub mod lanes;

use rustix::process::{Signal, set_parent_process_death_signal};

pub use self::receive::{BATCH, Datagram, ReceiveBatch, ReceivedPacket, SenderAddress};
pub use self::segments::{merge_datagrams, merges_datagrams};
pub use self::send::{SendRing, send_each};

mod header;
mod option;
mod receive;
mod segments;
mod send;
#[cfg(test)]
mod testing;

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

/// Prefetches a value into the processor's cache. This only changes the time of the next access:
/// with 100,000 series, waiting for memory is most of the cost of a sample.
#[inline]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program could notice and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        use std::ptr;
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
    let [.., drops] = option::read::<9>(socket, (libc::SOL_SOCKET, libc::SO_MEMINFO))?;
    Ok(drops)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::testing::pair;
    use super::*;

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
