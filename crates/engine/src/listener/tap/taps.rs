//! The connected tap clients, shared by the listeners, the admin endpoint and the status for as
//! long as the process runs.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use api::status::TapStatus;
use bytes::Bytes;

use super::TapConfig;
use super::budget::RateLimiter;
use super::filter::{Filter, TapQuery};

/// Bounds of the number of events queued for a client.
const QUEUE_MIN: u64 = 64;
const QUEUE_MAX: u64 = 4_096;
/// Maximum number of bytes queued for a client.
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// All tap clients.
#[derive(Debug, Default)]
pub struct Taps {
    /// Incremented when a client connects or disconnects, and when the configuration changes.
    /// Without clients, a listener checks only this.
    version: AtomicU64,
    config: Mutex<TapConfig>,
    is_closing: AtomicBool,
    clients: Mutex<TapClients>,
}

#[derive(Debug, Default)]
struct TapClients {
    present: Vec<Arc<TapClient>>,
    /// Number of clients accepted.
    accepted: u64,
    /// Number of clients refused because there were too many.
    refused: u64,
    /// The counts of clients that have disconnected.
    disconnected: TapCounts,
}

/// A connected client, as seen by a listener.
#[derive(Debug)]
pub struct TapClient {
    pub(super) filter: Filter,
    pub(super) rate: RateLimiter,
    events: SyncSender<Bytes>,
    queued_bytes: AtomicUsize,
    counts: Mutex<TapCounts>,
}

/// A connected client, as seen by the admin endpoint. Dropping it disconnects the client.
pub struct Subscription {
    taps: Arc<Taps>,
    client: Arc<TapClient>,
    events: Receiver<Bytes>,
    /// Maximum number of samples per second.
    rate: u64,
}

/// The counts of a client: the messages that it could have seen, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounts {
    /// Messages that listeners received.
    pub received: u64,
    /// Messages that were not decoded for lack of time.
    pub unseen: u64,
    /// Samples and rejected messages that match the filter.
    pub matched: u64,
    /// Matches that were put into the queue.
    pub shown: u64,
    /// Matches for which the queue had no room.
    pub dropped: u64,
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapRefused {
    /// As many clients are connected as the configuration allows.
    TooMany(usize),
    /// The daemon stops.
    Stopping,
}

impl TapCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.unseen += other.unseen;
        self.matched += other.matched;
        self.shown += other.shown;
        self.dropped += other.dropped;
    }

    /// The difference to earlier counts.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received - before.received,
            unseen: self.unseen - before.unseen,
            matched: self.matched - before.matched,
            shown: self.shown - before.shown,
            dropped: self.dropped - before.dropped,
        }
    }
}

impl Taps {
    /// Creates taps without clients.
    #[must_use]
    pub fn new(config: TapConfig) -> Self {
        Self { config: Mutex::new(config), ..Self::default() }
    }

    /// Applies other limits: the rate to clients that connect from now on, all others at once.
    pub fn set_config(&self, config: TapConfig) {
        *self.config.lock() = config;
        self.version.fetch_add(1, Ordering::Release);
    }

    fn config(&self) -> TapConfig {
        *self.config.lock()
    }

    /// Connects a client.
    ///
    /// # Errors
    /// When there are too many, or the daemon stops.
    pub fn join(self: &Arc<Self>, query: TapQuery) -> Result<Subscription, TapRefused> {
        let TapConfig { max_rate, max_clients, .. } = self.config();
        let rate = query.rate.unwrap_or(u64::MAX).min(max_rate);
        let burst = rate.clamp(QUEUE_MIN, QUEUE_MAX);
        // Twice the burst, so that two bursts in quick succession fit.
        let (sender, events) = sync_channel(burst as usize * 2);
        let client = Arc::new(TapClient {
            filter: query.filter,
            rate: RateLimiter::new(rate, burst.min(rate)),
            events: sender,
            queued_bytes: AtomicUsize::new(0),
            counts: Mutex::default(),
        });
        let mut clients = self.clients.lock();
        // Under the lock that `close` takes after it has raised the flag, so that it misses no
        // client.
        if self.is_closing() {
            return Err(TapRefused::Stopping);
        }
        if clients.present.len() >= max_clients {
            clients.refused += 1;
            return Err(TapRefused::TooMany(max_clients));
        }
        clients.accepted += 1;
        clients.present.push(Arc::clone(&client));
        self.version.fetch_add(1, Ordering::Release);
        drop(clients);
        Ok(Subscription { taps: Arc::clone(self), client, events, rate })
    }

    /// Maximum share of a listener's time, in percent.
    #[must_use]
    pub fn max_cpu(&self) -> u64 {
        self.config().max_cpu
    }

    /// The counts for the status.
    #[must_use]
    pub fn status(&self) -> TapStatus {
        let clients = self.clients.lock();
        let mut counts = clients.disconnected;
        clients.present.iter().for_each(|client| counts.add(&client.counts()));
        TapStatus {
            open: clients.present.len() as u64,
            accepted: clients.accepted,
            refused: clients.refused,
            shown: counts.shown,
            dropped: counts.dropped,
        }
    }

    /// Whether the daemon stops.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Announces the stop to all tap clients: each of them gets the queued events, and then the end.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// A number that changes when a client connects or disconnects, or the configuration changes.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The clients, and the version of this list.
    pub(super) fn clients(&self) -> (u64, Vec<Arc<TapClient>>) {
        let clients = self.clients.lock();
        (self.version(), clients.present.clone())
    }

    fn leave(&self, client: &Arc<TapClient>) {
        let mut clients = self.clients.lock();
        clients.present.retain(|other| !Arc::ptr_eq(other, client));
        // The counts move, so that the totals in the status never decrease.
        clients.disconnected.add(&client.counts());
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl TapClient {
    /// Puts an event into the queue. Returns whether there was room.
    pub(super) fn push(&self, event: Bytes) -> bool {
        let bytes = event.len();
        // Check and update are not atomic: each listener may exceed the limit by one event.
        if self.queued_bytes.load(Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX {
            return false;
        }
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_taken = self.events.try_send(event).is_ok();
        if !is_taken {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_taken
    }

    /// Adds the counts of a batch.
    pub(super) fn count(&self, batch: &TapCounts) {
        self.counts.lock().add(batch);
    }

    fn counts(&self) -> TapCounts {
        *self.counts.lock()
    }
}

impl Subscription {
    /// Takes the next event, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Bytes> {
        let event = self.events.try_recv().ok()?;
        self.client.queued_bytes.fetch_sub(event.len(), Ordering::Relaxed);
        Some(event)
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> TapCounts {
        self.client.counts()
    }

    /// Maximum number of samples per second that the client receives.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Whether the daemon stops.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.taps.is_closing()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.taps.leave(&self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(max_clients: usize) -> Arc<Taps> {
        Arc::new(Taps::new(TapConfig { max_clients, ..TapConfig::default() }))
    }

    #[test]
    fn a_client_beyond_the_limit_is_refused_until_another_disconnects() {
        let taps = taps(1);
        let first = taps.join(TapQuery::default()).unwrap();
        let version = taps.version();
        assert_eq!(taps.join(TapQuery::default()).unwrap_err(), TapRefused::TooMany(1));
        assert_eq!(taps.version(), version, "listeners need not look");
        drop(first);
        assert_ne!(taps.version(), version);
        assert!(taps.clients().1.is_empty());
        drop(taps.join(TapQuery::default()).unwrap());
        let status = taps.status();
        assert_eq!((status.open, status.accepted, status.refused), (0, 2, 1));
    }

    #[test]
    fn the_queue_of_a_client_is_bounded_in_events_and_in_bytes() {
        let taps = taps(1);
        let subscription = taps.join(TapQuery::default()).unwrap();
        let client = &taps.clients().1[0];
        let taken = (0..10_000).filter(|_| client.push(Bytes::from_static(b"x"))).count();
        assert_eq!(taken, 2_000);
        while subscription.next().is_some() {}
        let large = Bytes::from(vec![b'x'; 100_000]);
        let taken = (0..10_000).filter(|_| client.push(large.clone())).count();
        assert_eq!(taken, QUEUE_BYTES_MAX / 100_000);
        while subscription.next().is_some() {}
        assert!(client.push(large), "there is room again");
    }
}
