//! Who looks on. Lives as long as the process; listeners, admin endpoint and status share it.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use api::status::TapStatus;
use bytes::Bytes;

use super::TapConfig;
use super::budget::Rate;
use super::filter::{Filter, TapQuery};

/// Bounds of the events that may wait for a client.
const QUEUE_MIN: u64 = 64;
const QUEUE_MAX: u64 = 4_096;
/// Most bytes of them.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How long a stop waits for clients to hear of it.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// Pause between two looks whether they have.
const FAREWELL_LOOK: Duration = Duration::from_millis(5);

/// All clients.
#[derive(Debug, Default)]
pub struct Taps {
    /// Another number whenever a client comes or goes: all that a listener looks at while there is
    /// none.
    version: AtomicU64,
    config: Mutex<TapConfig>,
    is_closing: AtomicBool,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    present: Vec<Arc<Client>>,
    /// Those that came.
    accepted: u64,
    /// Those turned away because there were too many.
    refused: u64,
    /// What became of the samples for clients that are gone.
    gone: TapCounts,
}

/// One that looks on, as a listener sees it.
#[derive(Debug)]
pub struct Client {
    pub(super) filter: Filter,
    pub(super) rate: Rate,
    events: SyncSender<Bytes>,
    queued_bytes: AtomicUsize,
    counts: Mutex<TapCounts>,
}

/// The same as the endpoint sees it. The client is gone when this is dropped.
pub struct Subscription {
    taps: Arc<Taps>,
    client: Arc<Client>,
    events: Receiver<Bytes>,
    /// Most samples a second.
    rate: u64,
}

/// What became of what a client could have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounts {
    /// Messages that listeners received.
    pub received: u64,
    /// Those that there was no time to look at.
    pub unseen: u64,
    /// Samples and rejected messages that the client wants.
    pub matched: u64,
    /// Those that were put into its queue.
    pub shown: u64,
    /// Those that had no room there.
    pub dropped: u64,
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapRefused {
    /// So many clients are connected, the most that the configuration allows.
    TooMany(usize),
    /// The daemon stops.
    Stopping,
}

impl TapCounts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.unseen += other.unseen;
        self.matched += other.matched;
        self.shown += other.shown;
        self.dropped += other.dropped;
    }

    /// What has come since an earlier look.
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
    /// Nobody looks on yet.
    #[must_use]
    pub fn new(config: TapConfig) -> Self {
        Self { config: Mutex::new(config), ..Self::default() }
    }

    /// Goes by other bounds: the rate for those who come from now on, all else at once.
    pub fn set_config(&self, config: TapConfig) {
        *self.config.lock() = config;
        self.version.fetch_add(1, Ordering::Release);
    }

    fn config(&self) -> TapConfig {
        *self.config.lock()
    }

    /// Lets somebody look on.
    ///
    /// # Errors
    /// When there are too many, or the daemon stops.
    pub fn join(self: &Arc<Self>, query: TapQuery) -> Result<Subscription, TapRefused> {
        let TapConfig { max_rate, max_clients, .. } = self.config();
        let rate = query.rate.unwrap_or(u64::MAX).min(max_rate);
        let burst = rate.clamp(QUEUE_MIN, QUEUE_MAX);
        // Twice the burst, so that one just after another finds room.
        let (sender, events) = sync_channel(burst as usize * 2);
        let client = Arc::new(Client {
            filter: query.filter,
            rate: Rate::new(rate, burst.min(rate)),
            events: sender,
            queued_bytes: AtomicUsize::new(0),
            counts: Mutex::default(),
        });
        let mut clients = self.clients.lock();
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

    /// Most of a listener's time that they may take, in percent.
    #[must_use]
    pub fn max_cpu(&self) -> u64 {
        self.config().max_cpu
    }

    /// What the status tells.
    #[must_use]
    pub fn status(&self) -> TapStatus {
        let clients = self.clients.lock();
        let mut counts = clients.gone;
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

    /// Tells all clients that it was all, and waits until they have heard, but not for those that do
    /// not listen.
    pub async fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        let gone = async {
            while !self.clients.lock().present.is_empty() {
                tokio::time::sleep(FAREWELL_LOOK).await;
            }
        };
        let _some_do_not_listen = tokio::time::timeout(FAREWELL_MAX, gone).await;
    }

    /// Another number than before when somebody came or went.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The clients, and the number that goes with them.
    pub(super) fn clients(&self) -> (u64, Vec<Arc<Client>>) {
        let clients = self.clients.lock();
        (self.version(), clients.present.clone())
    }

    fn leave(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        clients.present.retain(|other| !Arc::ptr_eq(other, client));
        clients.gone.add(&client.counts());
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl Client {
    /// Puts an event into the queue; whether there was room.
    pub(super) fn push(&self, event: Bytes) -> bool {
        let bytes = event.len();
        // Several listeners may go over the bound together, by an event each.
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

    /// Adds what a batch brought.
    pub(super) fn count(&self, batch: &TapCounts) {
        self.counts.lock().add(batch);
    }

    fn counts(&self) -> TapCounts {
        *self.counts.lock()
    }
}

impl Subscription {
    /// The next event, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Bytes> {
        let event = self.events.try_recv().ok()?;
        self.client.queued_bytes.fetch_sub(event.len(), Ordering::Relaxed);
        Some(event)
    }

    /// What became of everything so far.
    #[must_use]
    pub fn counts(&self) -> TapCounts {
        self.client.counts()
    }

    /// Most samples a second that it gets.
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
    fn so_many_may_look_on_and_the_next_when_one_has_gone() {
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
    fn what_waits_for_a_client_is_bounded_in_number_and_in_bytes() {
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
