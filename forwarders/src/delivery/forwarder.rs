//! The interface that each kind of destination implements.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use basics::address::ListenAddresses;
use basics::tcp_listeners::{BindFailure, TcpListeners};
use tokio::sync::oneshot;

use crate::delivery::explained::ExplainedHistogram;
use crate::delivery::payload::Batch;
use model::Snapshot;

/// The longest pause that a destination can request.
const AFTER_MAX: Duration = Duration::from_secs(300);

/// Encodes snapshots as payloads and sends them to one destination.
///
/// A [`ForwarderTask`](crate::delivery::task::ForwarderTask) owns the forwarder and makes one call
/// at a time: `encode` for each snapshot or part of one, then `send` until the batch is settled.
/// The task is responsible for the queue, time limits, retries, counts and the shutdown.
///
/// `encode` pushes payloads in the order of the snapshot's points, each with its number of points.
/// If it groups points in another order, it passes their indexes to [`Batch::set_places`]. From the
/// pending payloads the task can therefore compute which points are not delivered yet, and keep
/// only these.
#[async_trait]
pub trait Forwarder: Send {
    /// Acquires the resources of this host that the forwarder needs, such as a socket to listen on.
    /// Called once, on the runtime, before the listeners are bound. `tallyd check` does not call
    /// it. Everything that it starts ends when the forwarder is dropped.
    ///
    /// Does not connect to other hosts: an unavailable destination must not keep the daemon from
    /// starting.
    ///
    /// # Errors
    /// When a resource is not available, so that the daemon does not start. The text says what to
    /// change.
    async fn start(&mut self) -> Result<(), SendError> {
        Ok(())
    }

    /// The addresses that a started forwarder listens on; `None` if it does not listen. Another
    /// forwarder can start on one of them only after this one is dropped.
    fn listen(&self) -> Option<&ListenAddresses> {
        None
    }

    /// Stops accepting connections and passes the sockets on to the forwarder that replaces this one
    /// at the same addresses. Requests that have begun are still answered. `None` if the forwarder
    /// does not listen.
    fn release_sockets(&mut self) -> Option<ReleasedSockets> {
        None
    }

    /// Takes the sockets of the forwarder that this one replaces. Called before `start`, which then
    /// binds none, so that clients find the address served at any moment.
    fn inherit_sockets(&mut self, _sockets: ReleasedSockets) {}

    /// Whether the forwarder also gets windows without points. A destination that shows a state
    /// over time needs them.
    fn wants_idle_windows(&self) -> bool {
        false
    }

    /// Whether `encode` needs this window as a whole, because it merges points of a window or
    /// counts windows. If not, it gets a large window in parts, which takes less memory.
    fn wants_whole_window(&self, _window: &Snapshot) -> bool {
        false
    }

    /// Appends the payloads of a window, or of a part of one, to an empty batch. Pure: it uses no
    /// clock and no socket, and the same snapshot gives the same bytes.
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch);

    /// The page that the forwarder serves after the latest `encode`; `None` if it sends payloads
    /// instead. For `tallyd explain`.
    fn served(&self) -> Option<Vec<u8>> {
        None
    }

    /// The content of a payload in a binary format, as lines of text; `None` if the payload is text.
    /// For `tallyd explain`.
    fn readable(&self, _payload: &[u8]) -> Option<String> {
        None
    }

    /// The payload without the secrets that it contains, for `tallyd tap`.
    fn without_secrets<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(payload)
    }

    /// The histograms that count timers of this window, the latest that was encoded; empty if the
    /// destination has none. For `tallyd explain`.
    fn histograms(&self, _window: &Snapshot) -> Vec<ExplainedHistogram> {
        vec![]
    }

    /// Sends the pending payloads and records the outcome of each in the batch.
    ///
    /// The future may be dropped at any await, when its time is up. Payloads without a recorded
    /// outcome count as not delivered and are sent again.
    ///
    /// # Errors
    /// When payloads stay pending. The class says how the task continues.
    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError>;

    /// Checks that the destination would accept data, for `tallyd check --connect`.
    ///
    /// # Errors
    /// When the destination would not accept data. The text says how to fix the cause.
    async fn probe(&mut self) -> Result<(), SendError> {
        Ok(())
    }

    /// Whether windows that are minutes or hours old are still useful to the destination, so that
    /// they may wait on disk. A destination that treats everything it receives as current returns
    /// false.
    fn wants_old_data(&self) -> bool {
        false
    }

    /// Whether a newer window would help: the destination neither accepts nor refuses the current
    /// window, and only other data can show which of the two is at fault. Asked after a failed
    /// attempt.
    fn wants_newer_window(&self) -> bool {
        false
    }

    /// Shows a window that waits, after [`Forwarder::wants_newer_window`]. The forwarder may send
    /// some of its points with its next `send`, before their turn. They are not counted, and are
    /// encoded and sent again in their turn.
    fn show_newer_window(&mut self, _newer: &Snapshot) {}

    /// The number of connections that the forwarder closed for new ones because it had too many;
    /// `None` if it accepts no connections.
    fn refused_connections(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// The number of failed attempts to accept a connection; `None` if the forwarder accepts no
    /// connections.
    fn accept_errors(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// The number of requests without valid credentials and of failed TLS handshakes; `None` if the
    /// forwarder accepts no connections.
    fn refused_access(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// The number of pages of other programs that the forwarder could not fetch or use; `None` if
    /// it fetches none.
    fn failed_fetches(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// Whether the destination keeps the last write of each series and timestamp. Then a window that
    /// a restart divided is written as a whole each time; otherwise only the increment.
    fn keeps_last_write(&self) -> bool {
        false
    }

    /// Returns the state from which a successor continues, such as totals, in at most `max` bytes;
    /// `None` if the forwarder has none. The pending payloads of `batch` are not part of it: the
    /// successor encodes their points again.
    fn save_state(&self, _batch: &Batch, _max: u64) -> Option<SavedState> {
        None
    }

    /// Continues where a forwarder ended that saved this state, `away` ago. Called before the first
    /// `encode`, and before or after `start`.
    ///
    /// # Errors
    /// When the bytes are not such a state. Nothing has changed then.
    fn restore_state(&mut self, _state: &[u8], _away: Duration) -> Result<(), InvalidState> {
        Ok(())
    }

    /// The number of live series whose total stays constant because of negative increments; `None` if
    /// the forwarder keeps no totals.
    fn held_totals(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// How often a native histogram has lost resolution because of a limit; `None` if the forwarder
    /// sends none.
    fn reduced_histograms(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// The number of records that went to the fallback topic because theirs could not be used; `None`
    /// if the forwarder has one topic.
    fn fallback_records(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// The number of targets that did not answer a probe; `None` if the forwarder probes none.
    fn failed_probes(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// The number of refused requests for a probe; `None` if the forwarder probes no targets.
    fn refused_probes(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// Records outcomes that arrived after the last `send` of this batch was dropped, so that
    /// delivered payloads are not sent again. Called before the daemon stops or the forwarder is
    /// replaced. The future may be dropped at any await; it gets one second.
    async fn stop(&mut self, _batch: &mut Batch) {}

    /// Whether every payload that may have left is settled after [`Forwarder::stop`], so that another
    /// forwarder may send the pending payloads.
    fn settles_what_left(&self) -> bool {
        false
    }
}

/// The sockets of a forwarder, once it has stopped accepting connections.
pub type ReleasedSockets = oneshot::Receiver<TcpListeners>;

/// The state of a forwarder, for its successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// The state, in the forwarder's own format.
    pub bytes: Vec<u8>,
    /// Entries that had no room.
    pub left_out: u64,
}

/// The bytes are not the state of a forwarder of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidState;

/// Why payloads could not be delivered in this attempt.
#[derive(Debug)]
pub struct SendError {
    class: ErrorClass,
    source: Box<dyn Error + Send + Sync>,
}

/// How delivery continues after an error. The data is kept in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The destination is unavailable or busy: retry after growing pauses.
    Transient {
        /// The shortest pause, if the destination requested one.
        after: Option<Duration>,
    },
    /// An operator has to change something first, such as credentials or a missing topic: retry
    /// about once a minute.
    Operator,
}

impl SendError {
    /// The destination is unavailable or busy.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: ErrorClass::Transient { after: None }, source: source.into() }
    }

    /// The destination is unavailable or busy, and may have requested a pause (`Retry-After`): the
    /// next attempt comes no earlier than `after`, limited to five minutes.
    pub fn transient_after(
        source: impl Into<Box<dyn Error + Send + Sync>>,
        after: Option<Duration>,
    ) -> Self {
        // A mistake in one reply must not stop delivery for a day.
        let after = after.map(|after| after.min(AFTER_MAX));
        Self { class: ErrorClass::Transient { after }, source: source.into() }
    }

    /// An operator has to change something before delivery can succeed.
    pub fn operator(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: ErrorClass::Operator, source: source.into() }
    }

    /// How delivery continues.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// Whether the cause is an address of this host at which the destination would listen.
    #[must_use]
    pub fn is_of_own_address(&self) -> bool {
        self.source.is::<BindFailure>()
    }
}

impl fmt::Display for SendError {
    /// Writes the whole chain of causes, because the innermost is usually the informative one.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for SendError {}
