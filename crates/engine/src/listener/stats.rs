//! The ledger of a listener: the outcome of every message received.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::net::sockopt;

use super::counts_by_word::by_word;
use super::mirror::MirrorStats;
use super::senders::SenderCounts;
use super::signature::stats::{KeyCounts, KeyStats};
use super::tls_stats::{TlsCounts, TlsStats};
use crate::protocol::RejectReason;
use crate::sys;

const REASONS: usize = RejectReason::ALL.len();

/// The counts of one listener. At any instant `received()` = `aggregated` + the sum of `rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerCounts {
    /// Datagrams read, including empty ones.
    pub datagrams: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Samples recorded.
    pub aggregated: u64,
    /// Samples recorded for which the client had sent a time, which has no effect. They are among the
    /// `aggregated` ones.
    pub timestamped: u64,
    /// Messages rejected, by [`RejectReason`].
    pub rejected: [u64; REASONS],
    /// Messages skipped because of their kind, which do not count as received: see
    /// [`statsd`](crate::protocol::statsd).
    pub skipped: u64,
}

impl ListenerCounts {
    /// Messages received, each of which was either recorded or rejected.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.aggregated + self.rejected.iter().sum::<u64>()
    }

    /// Messages rejected because of a mistake of their sender, and not by a rule.
    #[must_use]
    pub fn mistakes(&self) -> u64 {
        self.rejected.iter().sum::<u64>() - self.rejected[RejectReason::Rule as usize]
    }

    /// Counts a sample of a known series: recorded, or dropped by a rule.
    #[inline]
    pub fn count_recorded(&mut self, is_recorded: bool) {
        if is_recorded {
            self.aggregated += 1;
        } else {
            self.count_dropped();
        }
    }

    /// Counts a sample that a rule drops.
    #[inline]
    pub fn count_dropped(&mut self) {
        self.rejected[RejectReason::Rule as usize] += 1;
    }

    /// The rejections by reason, without reasons that did not occur.
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
        self.timestamped += other.timestamped;
        for (own, other) in self.rejected.iter_mut().zip(other.rejected) {
            *own += other;
        }
    }
}

/// The statistics of a listener, shared with everything that reports them.
///
/// The listener's thread adds its counts once per batch. One lock guards all of them, so that the
/// ledger's equation holds at any instant.
#[derive(Debug)]
pub struct ListenerStats {
    label: String,
    receive_buffer: Option<AtomicUsize>,
    is_merging: bool,
    counts: Mutex<ListenerCounts>,
    kernel: Mutex<KernelDrops>,
    refused: [AtomicU64; RefusalReason::ALL.len()],
    connections: Option<ConnectionStats>,
    /// Absent until the listener has TLS for the first time.
    tls: OnceLock<TlsStats>,
    senders: SenderCounts,
    mirrors: Mutex<Vec<Arc<MirrorStats>>>,
    keys: Mutex<Vec<KeyStats>>,
}

/// The reason why a datagram or a connection was refused before any of its bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Its sender is not in the listener's `allow`.
    NotAllowed,
    /// The system has no room to watch another connection.
    TooMany,
}

impl RefusalReason {
    /// All reasons, in the order of listings.
    pub const ALL: [Self; 2] = [Self::NotAllowed, Self::TooMany];

    /// The name in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::TooMany => "too_many",
        }
    }
}

/// The reason why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it.
    ByPeer,
    /// It completed no line for `idle_timeout`.
    Idle,
    /// It had completed no line for the longest time when another one needed its place.
    Evicted,
    /// It announced a packet that is too long: where the next one begins is unknown.
    BadPacket,
    /// The system reported an error, or the peer broke the rules of TLS after the handshake.
    Failed,
    /// Its TLS handshake failed.
    Handshake,
    /// The daemon stops.
    Stopped,
}

impl CloseReason {
    /// All reasons, in the order of listings.
    pub const ALL: [Self; 7] = [
        Self::ByPeer,
        Self::Idle,
        Self::Evicted,
        Self::BadPacket,
        Self::Failed,
        Self::Handshake,
        Self::Stopped,
    ];

    /// The name in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByPeer => "by_peer",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::BadPacket => "bad_packet",
            Self::Failed => "failed",
            Self::Handshake => "handshake",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Default)]
struct ConnectionStats {
    accepted: AtomicU64,
    accept_errors: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
}

/// The counts of connections: `accepted` = `open` + the sum of `closed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Open connections.
    pub open: u64,
    /// Accepted connections.
    pub accepted: u64,
    /// Failed attempts to accept a connection, such as for lack of descriptors.
    pub accept_errors: u64,
    /// Closed connections, by reason.
    pub closed: BTreeMap<&'static str, u64>,
}

/// The kernel's count of dropped datagrams, extended to 64 bits.
#[derive(Debug, Default)]
struct KernelDrops {
    /// `None` for sockets that drop nothing, and once the listener has ended, when the count is
    /// final.
    socket: Option<OwnedFd>,
    last: u32,
    total: u64,
}

impl ListenerStats {
    /// Creates the statistics of a datagram listener. `socket` is a duplicate of its descriptor,
    /// and `receive_buffer` the size that the kernel granted. Datagrams dropped before this run do
    /// not count.
    #[must_use]
    pub fn of_datagrams(
        label: String,
        socket: OwnedFd,
        receive_buffer: usize,
        dropped_before: u32,
    ) -> Self {
        // A socket that the service manager has kept open may have dropped datagrams before this
        // run.
        let kernel = KernelDrops { socket: Some(socket), last: dropped_before, total: 0 };
        let kernel = Mutex::new(kernel);
        let receive_buffer = Some(AtomicUsize::new(receive_buffer));
        Self { receive_buffer, kernel, ..Self::without_drops(label) }
    }

    /// Notes whether the kernel merges datagrams into packets, each of which counts once if it is
    /// dropped.
    #[must_use]
    pub fn with_merging(self, is_merging: bool) -> Self {
        Self { is_merging, ..self }
    }

    /// Creates the statistics of a listener whose socket never drops data, but makes senders wait.
    #[must_use]
    pub fn without_drops(label: String) -> Self {
        Self {
            label,
            receive_buffer: None,
            is_merging: false,
            counts: Mutex::default(),
            kernel: Mutex::default(),
            refused: Default::default(),
            connections: None,
            tls: OnceLock::new(),
            senders: SenderCounts::default(),
            mirrors: Mutex::default(),
            keys: Mutex::default(),
        }
    }

    /// Creates the statistics of a listener that accepts connections.
    #[must_use]
    pub fn of_connections(label: String) -> Self {
        Self { connections: Some(ConnectionStats::default()), ..Self::without_drops(label) }
    }

    /// The name of the listener in logs and in the status.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The granted size of the kernel buffer, in bytes of the kernel's accounting, if it can
    /// overflow.
    #[must_use]
    pub fn receive_buffer(&self) -> Option<usize> {
        self.receive_buffer.as_ref().map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// Whether a dropped packet may hold several datagrams.
    #[must_use]
    pub fn is_merging(&self) -> bool {
        self.is_merging
    }

    /// Sets the size of the kernel buffer after a change.
    pub fn set_receive_buffer(&self, bytes: usize) {
        if let Some(known) = &self.receive_buffer {
            known.store(bytes, Ordering::Relaxed);
        }
    }

    /// Allows another socket to bind the same address, or forbids it again: for the moment in which
    /// one socket takes over from the other. Has no effect on sockets that never drop data.
    ///
    /// # Errors
    /// The error of `setsockopt(2)`.
    pub fn share_address(&self, shares: bool) -> std::io::Result<()> {
        match &self.kernel.lock().socket {
            Some(socket) => Ok(sockopt::set_socket_reuseaddr(socket, shares)?),
            None => Ok(()),
        }
    }

    /// Adds the counts of another listener, which has ended.
    pub fn absorb(&self, gone: &Self) {
        self.add(&gone.counts());
        // The socket of the other listener is closed, so this number no longer changes and is added
        // only once.
        self.kernel.lock().total += gone.kernel_drops();
        for (own, gone) in self.refused.iter().zip(&gone.refused) {
            own.fetch_add(gone.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The traffic by sender.
    #[must_use]
    pub fn senders(&self) -> &SenderCounts {
        &self.senders
    }

    /// The counts of its mirror targets, in the order of the configuration.
    #[must_use]
    pub fn mirrors(&self) -> Vec<Arc<MirrorStats>> {
        self.mirrors.lock().clone()
    }

    /// Replaces the mirror targets.
    pub(super) fn set_mirrors(&self, mirrors: Vec<Arc<MirrorStats>>) {
        *self.mirrors.lock() = mirrors;
    }

    /// The secrets of its datagrams and their counts, in the order of the configuration.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyStats> {
        self.keys.lock().clone()
    }

    /// Replaces the secrets.
    pub(super) fn set_keys(&self, keys: Vec<KeyStats>) {
        *self.keys.lock() = keys;
    }

    /// Replaces the counts of the secrets, which are in the same order.
    pub(super) fn set_key_counts(&self, counts: impl IntoIterator<Item = KeyCounts>) {
        for (key, counts) in self.keys.lock().iter_mut().zip(counts) {
            key.counts = counts;
        }
    }

    /// The counts at one instant.
    #[must_use]
    pub fn counts(&self) -> ListenerCounts {
        *self.counts.lock()
    }

    /// Adds the counts of a batch.
    pub fn add(&self, batch: &ListenerCounts) {
        self.counts.lock().add(batch);
    }

    /// Counts a datagram or a connection that was refused.
    pub fn refuse(&self, why: RefusalReason) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The refusals by reason, without reasons that did not occur.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        by_word(RefusalReason::ALL.map(RefusalReason::as_str), &self.refused)
    }

    /// Counts an accepted connection.
    pub fn connection_accepted(&self) {
        if let Some(connections) = &self.connections {
            // With the acquiring loads of `connections`: a thread that sees the connection closed
            // has seen it accepted, so `open` never falls below 0.
            connections.accepted.fetch_add(1, Ordering::Release);
        }
    }

    /// Counts a failed attempt to accept a connection.
    pub fn accept_failed(&self) {
        if let Some(connections) = &self.connections {
            connections.accept_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a closed connection.
    pub fn connection_closed(&self, why: CloseReason) {
        if let Some(connections) = &self.connections {
            connections.closed[why as usize].fetch_add(1, Ordering::Release);
        }
    }

    /// The counts of connections, for listeners that accept them.
    #[must_use]
    pub fn connections(&self) -> Option<ConnectionCounts> {
        let connections = self.connections.as_ref()?;
        // In this order, every connection counted as closed is also counted as accepted.
        let closed = by_word(CloseReason::ALL.map(CloseReason::as_str), &connections.closed);
        let accepted = connections.accepted.load(Ordering::Acquire);
        let open = accepted - closed.values().sum::<u64>();
        let accept_errors = connections.accept_errors.load(Ordering::Relaxed);
        Some(ConnectionCounts { open, accepted, accept_errors, closed })
    }

    /// The statistics of TLS, from the first use of TLS on.
    pub(super) fn tls_stats(&self) -> &TlsStats {
        self.tls.get_or_init(TlsStats::default)
    }

    /// The counts of TLS handshakes, for listeners that have or had TLS.
    #[must_use]
    pub fn tls(&self) -> Option<TlsCounts> {
        self.tls.get().map(TlsStats::counts)
    }

    /// Asks the kernel how many datagrams it dropped because the socket's buffer was full. If the
    /// kernel merges datagrams, a packet counts once.
    pub fn kernel_drops(&self) -> u64 {
        self.kernel.lock().read()
    }

    /// Reads the kernel's count for the last time, and closes the duplicate of the socket.
    pub fn close(&self) {
        let mut kernel = self.kernel.lock();
        // Before the duplicate is closed: the kernel forgets the number together with the socket.
        kernel.read();
        kernel.socket = None;
    }
}

impl KernelDrops {
    fn read(&mut self) -> u64 {
        // After an error, the total stays as it is: the next reading includes the missing drops.
        if let Some(socket) = &self.socket
            && let Ok(now) = sys::socket_drops(socket.as_fd())
        {
            // The kernel counts in 32 bits. A difference is right even if the counter has passed
            // its end since the last reading.
            self.total += u64::from(now.wrapping_sub(self.last));
            self.last = now;
        }
        self.total
    }
}
