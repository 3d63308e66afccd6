//! The ledger of the listeners: what became of every message that was received.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::net::sockopt;

use super::senders::SenderCounts;
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
    /// Messages of a kind that is passed over, and which are not received: see
    /// [`statsd`](crate::protocol::statsd).
    pub skipped: u64,
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
        self.skipped += other.skipped;
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
    receive_buffer: Option<AtomicUsize>,
    counts: Mutex<Counts>,
    kernel: Mutex<KernelDrops>,
    refused: [AtomicU64; Refusal::ALL.len()],
    connections: Option<Connections>,
    senders: SenderCounts,
}

/// Why a datagram or a connection was refused before a byte of it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its sender is not in the listener's `allow`.
    NotAllowed,
    /// There were as many connections as `max_connections` allows.
    TooMany,
}

impl Refusal {
    /// Every reason, in the order in which listings show them.
    pub const ALL: [Self; 2] = [Self::NotAllowed, Self::TooMany];

    /// The word that the status uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::TooMany => "too_many",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its peer said that it was all.
    ByPeer,
    /// No line came for `idle_timeout`.
    Idle,
    /// The system reported an error.
    Failed,
    /// The daemon stops.
    Stopped,
}

impl Closed {
    /// Every reason, in the order in which listings show them.
    pub const ALL: [Self; 4] = [Self::ByPeer, Self::Idle, Self::Failed, Self::Stopped];

    /// The word that the status uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByPeer => "by_peer",
            Self::Idle => "idle",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Default)]
struct Connections {
    accepted: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
}

/// What became of connections: `accepted` = `open` + the sum of `closed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Those that are there.
    pub open: u64,
    /// All that were let in.
    pub accepted: u64,
    /// Those that ended, by the status's words.
    pub closed: BTreeMap<&'static str, u64>,
}

/// The kernel's own count, unwrapped to 64 bits.
#[derive(Debug, Default)]
struct KernelDrops {
    /// Closed, and the count final, when the listener has ended; sockets that drop nothing are not
    /// asked.
    socket: Option<OwnedFd>,
    last: u32,
    total: u64,
}

impl ListenerStats {
    /// For a datagram listener shown as `label` on this socket (a duplicate of its descriptor),
    /// whose buffer the kernel made this large. What it had dropped before this run is not counted.
    #[must_use]
    pub fn of_datagrams(
        label: String,
        socket: OwnedFd,
        receive_buffer: usize,
        dropped_before: u32,
    ) -> Self {
        let kernel = KernelDrops { socket: Some(socket), last: dropped_before, total: 0 };
        let kernel = Mutex::new(kernel);
        let receive_buffer = Some(AtomicUsize::new(receive_buffer));
        Self { receive_buffer, kernel, ..Self::without_drops(label) }
    }

    /// For a datagram listener whose socket makes senders wait instead of dropping anything.
    #[must_use]
    pub fn without_drops(label: String) -> Self {
        Self {
            label,
            receive_buffer: None,
            counts: Mutex::default(),
            kernel: Mutex::default(),
            refused: Default::default(),
            connections: None,
            senders: SenderCounts::default(),
        }
    }

    /// For a listener that accepts connections.
    #[must_use]
    pub fn of_connections(label: String) -> Self {
        Self { connections: Some(Connections::default()), ..Self::without_drops(label) }
    }

    /// How logs and status name the listener.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The buffer that the kernel granted, in bytes of its own accounting, where it matters.
    #[must_use]
    pub fn receive_buffer(&self) -> Option<usize> {
        self.receive_buffer.as_ref().map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// The kernel granted another buffer.
    pub fn set_receive_buffer(&self, bytes: usize) {
        if let Some(known) = &self.receive_buffer {
            known.store(bytes, Ordering::Relaxed);
        }
    }

    /// Lets another socket have the address too, or no longer: for the moment in which one takes
    /// over from the other. Of sockets that lose nothing, none is shared.
    ///
    /// # Errors
    /// What the system says.
    pub fn share_address(&self, shares: bool) -> std::io::Result<()> {
        match &self.kernel.lock().socket {
            Some(socket) => Ok(sockopt::set_socket_reuseaddr(socket, shares)?),
            None => Ok(()),
        }
    }

    /// Adds what became of another listener, which is gone.
    pub fn absorb(&self, gone: &Self) {
        self.add(&gone.counts());
        self.kernel.lock().total += gone.kernel_drops();
        for (own, gone) in self.refused.iter().zip(&gone.refused) {
            own.fetch_add(gone.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Who sends how much, while somebody wants to know.
    #[must_use]
    pub fn senders(&self) -> &SenderCounts {
        &self.senders
    }

    /// All numbers at one moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// Adds a batch.
    pub fn add(&self, batch: &Counts) {
        self.counts.lock().add(batch);
    }

    /// Counts a datagram or a connection that was refused.
    pub fn refuse(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The refusals that occurred, by the status's words.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        by_word(Refusal::ALL.map(Refusal::as_str), &self.refused)
    }

    /// Counts a connection that was let in.
    pub fn connection_accepted(&self) {
        if let Some(connections) = &self.connections {
            connections.accepted.fetch_add(1, Ordering::Release);
        }
    }

    /// Counts a connection that ended.
    pub fn connection_closed(&self, why: Closed) {
        if let Some(connections) = &self.connections {
            connections.closed[why as usize].fetch_add(1, Ordering::Release);
        }
    }

    /// What became of connections, if the listener has any.
    #[must_use]
    pub fn connections(&self) -> Option<ConnectionCounts> {
        let connections = self.connections.as_ref()?;
        // In this order none is counted as closed that is not counted as accepted.
        let closed = by_word(Closed::ALL.map(Closed::as_str), &connections.closed);
        let accepted = connections.accepted.load(Ordering::Acquire);
        let open = accepted - closed.values().sum::<u64>();
        Some(ConnectionCounts { open, accepted, closed })
    }

    /// Datagrams that the kernel dropped because the socket's buffer was full: asked right now.
    pub fn kernel_drops(&self) -> u64 {
        self.kernel.lock().read()
    }

    /// Reads the kernel's count for the last time and lets go of the socket.
    pub fn close(&self) {
        let mut kernel = self.kernel.lock();
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

/// The counts above zero.
fn by_word<const N: usize>(
    words: [&'static str; N],
    counts: &[AtomicU64; N],
) -> BTreeMap<&'static str, u64> {
    let counts = counts.iter().map(|count| count.load(Ordering::Acquire));
    words.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
}
