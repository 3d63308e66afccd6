//! The ledger of the listeners: what became of every message that was received.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::RejectReason;
use crate::sys;

const REASONS: usize = RejectReason::ALL.len();

/// Counts of one listener. At every moment `received()` = `aggregated` + the sum of `rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams read, empty ones included.
    pub datagrams: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Samples that were recorded.
    pub aggregated: u64,
    /// Messages that were rejected, by [`RejectReason`].
    pub rejected: [u64; REASONS],
}

impl Counts {
    /// Samples received: recorded or rejected, there is no third fate.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.aggregated + self.rejected.iter().sum::<u64>()
    }

    /// The rejections that occurred, by the ledger's words.
    #[must_use]
    pub fn rejected_by_reason(&self) -> BTreeMap<&'static str, u64> {
        RejectReason::ALL
            .iter()
            .zip(self.rejected)
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.as_str(), count))
            .collect()
    }

    /// Adds the counts of another listener, or of a batch.
    pub fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.aggregated += other.aggregated;
        for (own, other) in self.rejected.iter_mut().zip(other.rejected) {
            *own += other;
        }
    }
}

/// Shared between a listener thread and whoever reports.
///
/// The thread counts in a local and adds it once a batch; one lock around all the numbers makes the
/// ledger's equation hold at every moment.
#[derive(Debug)]
pub struct ListenerStats {
    label: String,
    receive_buffer: usize,
    counts: Mutex<Counts>,
    kernel: Mutex<KernelDrops>,
}

/// The kernel's own count, unwrapped to 64 bits.
#[derive(Debug)]
struct KernelDrops {
    /// Closed, and the count final, when the listener has ended.
    socket: Option<OwnedFd>,
    last: u32,
    total: u64,
}

impl ListenerStats {
    /// For a listener shown as `label` on this socket (a duplicate of its descriptor), whose buffer
    /// the kernel made this large.
    #[must_use]
    pub fn new(label: String, socket: OwnedFd, receive_buffer: usize) -> Self {
        let kernel = KernelDrops { socket: Some(socket), last: 0, total: 0 };
        Self { label, receive_buffer, counts: Mutex::default(), kernel: Mutex::new(kernel) }
    }

    /// How logs and status name the listener.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The buffer that the kernel granted, in bytes of its own accounting.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// All numbers at one moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    /// Adds a batch.
    pub fn add(&self, batch: &Counts) {
        lock(&self.counts).add(batch);
    }

    /// Datagrams that the kernel dropped because the socket's buffer was full: asked right now.
    pub fn kernel_drops(&self) -> u64 {
        lock(&self.kernel).read()
    }

    /// Reads the kernel's count for the last time and lets go of the socket.
    pub fn close(&self) {
        let mut kernel = lock(&self.kernel);
        kernel.read();
        kernel.socket = None;
    }
}

impl KernelDrops {
    fn read(&mut self) -> u64 {
        if let Some(socket) = &self.socket
            && let Ok(now) = sys::socket_drops(socket.as_fd())
        {
            self.total += u64::from(now.wrapping_sub(self.last));
            self.last = now;
        }
        self.total
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
