//! The contract between a destination and the rest.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;

use crate::delivery::payload::Batch;
use model::Snapshot;

/// The longest pause that a destination can ask for.
const AFTER_MAX: Duration = Duration::from_secs(300);

/// A destination: turns snapshots into payloads and sends them.
///
/// A [`ForwarderTask`](crate::delivery::task::ForwarderTask) owns it and calls it from one task, never
/// twice at a time: `encode` for each snapshot or part of one, then `send` until the batch is settled.
/// Payloads are pushed in the order of the snapshot's points, each with how many of them it holds; or
/// the batch is told where these are. So what is pending names the points that are not delivered yet,
/// and only these are kept.
/// Queue, time limits, retries, counting and shutdown are the task's business.
#[async_trait]
pub trait Forwarder: Send {
    /// Takes what has to be had before the first message is: a socket to listen on. Called once, on
    /// the runtime and before the listeners are bound; not by `tallyd check`. Whatever it starts
    /// ends when the forwarder is dropped.
    ///
    /// What depends on others does not belong here: a destination that is away must not keep the
    /// daemon from starting.
    ///
    /// # Errors
    /// When the daemon is not to start: why, and what to change.
    async fn start(&mut self) -> Result<(), SendError> {
        Ok(())
    }

    /// Where it listens, once it was started. One that takes its place there can be started only
    /// when it is gone.
    fn listen(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether it gets windows in which it has no point as well, as what shows a state over time
    /// has to.
    fn wants_idle_windows(&self) -> bool {
        false
    }

    /// Whether `encode` has to see all of a window, because points of it can end as one, or because
    /// it counts windows. If not, it gets a large window in parts, which takes less memory.
    fn wants_whole_windows(&self) -> bool {
        false
    }

    /// Appends the payloads of a window, or of a part of one, to an empty batch. Pure: no clock, no
    /// socket, and the same snapshot gives the same bytes.
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch);

    /// What it shows to whoever asks, as of the latest `encode`, where it does that in place of
    /// sending payloads. For `tallyd explain`.
    fn served(&self) -> Option<Vec<u8>> {
        None
    }

    /// Sends what is pending and notes in the batch what became of each payload.
    ///
    /// May be dropped at any await when its time is up; what is not noted by then counts as not
    /// delivered and is sent again.
    ///
    /// # Errors
    /// When payloads stay pending: why, and how the task should go on.
    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError>;

    /// Asks the destination whether it would take data, as `tallyd check --connect` does.
    ///
    /// # Errors
    /// What is wrong, in words that an operator can act on.
    async fn probe(&mut self) -> Result<(), SendError> {
        Ok(())
    }

    /// Whether windows that are minutes or hours old are still of use to it: then they may wait on
    /// disk. A destination that takes what it gets for now has none.
    fn wants_old_data(&self) -> bool {
        false
    }

    /// Counts connections to it that it closed because it had too many; `None` where nobody connects
    /// to it.
    fn refused_connections(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// Counts pages of other programs that it could not fetch or not use; `None` where it fetches none.
    fn failed_fetches(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// The daemon stops, and the last `send` of this batch was dropped: notes what became of
    /// payloads meanwhile, so that what has arrived is not kept and sent again after a restart. May
    /// be dropped at any await; it has about a second.
    async fn stop(&mut self, _batch: &mut Batch) {}
}

/// Why payloads could not be delivered for now.
#[derive(Debug)]
pub struct SendError {
    class: ErrorClass,
    source: Box<dyn Error + Send + Sync>,
}

/// How to go on after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The destination is away or busy: try again with growing pauses.
    Transient {
        /// The least pause, where the destination named one.
        after: Option<Duration>,
    },
    /// Somebody has to change something first (credentials, a missing topic): keep the data and
    /// look again at long intervals.
    Operator,
}

impl SendError {
    /// The destination is away or busy.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: ErrorClass::Transient { after: None }, source: source.into() }
    }

    /// The destination is away or busy. It may have said when to come back (`Retry-After`): no
    /// earlier than `after`, of which at most five minutes are believed, so that a slip in a reply
    /// cannot silence this side for a day.
    pub fn transient_after(
        source: impl Into<Box<dyn Error + Send + Sync>>,
        after: Option<Duration>,
    ) -> Self {
        let after = after.map(|after| after.min(AFTER_MAX));
        Self { class: ErrorClass::Transient { after }, source: source.into() }
    }

    /// An operator has to act before it can work.
    pub fn operator(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: ErrorClass::Operator, source: source.into() }
    }

    /// How to go on.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}

impl fmt::Display for SendError {
    /// The whole chain of causes: the innermost is the one that tells.
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
