//! Delivers windows one after the other: encodes, attempts, pauses, attempts again, settles.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::RetryConfig;
use crate::delivery::backlog::{Backlog, WindowSource};
use crate::delivery::backoff::Backoff;
use crate::delivery::delivery_log::DeliveryLog;
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::reason;
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::window_parts::WindowParts;
use crate::spool::{FileName, SpoolFileError, SpoolReadError, SpoolReader};
use model::Snapshot;

/// A window that is not delivered within this time is late: it belongs on disk.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// The pause between attempts to start a forwarder.
const START_PAUSE: Duration = Duration::from_millis(200);
/// The time that a forwarder has at a stop to report delivered payloads.
const LAST_REPORT_TIME: Duration = Duration::from_secs(1);

/// Delivers the windows of a backlog with a forwarder, one window at a time.
pub(crate) struct DeliveryLoop {
    forwarder: Box<dyn Forwarder>,
    attempt_max: Option<Duration>,
    /// Whether [`Forwarder::start`] has succeeded.
    is_started: bool,
    /// Replaces the forwarder.
    next: Option<NextForwarder>,
    /// Of the destination, not of a window: while it is down, only the oldest window is tried.
    backoff: Backoff,
    parts: WindowParts,
    backlog: Arc<SharedBacklog>,
    /// `None` without a spool.
    reader: Option<SpoolReader>,
    log: DeliveryLog,
}

/// A change by a reload.
pub(crate) struct DeliveryChange {
    pub(crate) retry: RetryConfig,
    /// `None` if the forwarder stays.
    pub(crate) next: Option<NextForwarder>,
}

/// A forwarder that replaces the current one.
pub(crate) struct NextForwarder {
    pub(crate) forwarder: Box<dyn Forwarder>,
    pub(crate) attempt_max: Option<Duration>,
    /// The time that the current forwarder has to finish its window if there is no spool to keep
    /// it.
    pub(crate) patience: Duration,
    /// Whether `start` has run. If not, the current forwarder still holds the socket.
    pub(crate) is_started: bool,
}

impl DeliveryLoop {
    /// Delivers to a destination whose forwarder was started.
    pub(crate) fn new(
        destination: Destination,
        reader: Option<SpoolReader>,
        backlog: Arc<SharedBacklog>,
    ) -> Self {
        let Destination { common, forwarder, attempt_max, .. } = destination;
        Self {
            forwarder,
            attempt_max,
            is_started: true,
            next: None,
            backoff: Backoff::new(&common.delivery.retry),
            parts: WindowParts::default(),
            backlog,
            reader,
            log: DeliveryLog::new(common.name),
        }
    }

    /// Applies a change from the next [`DeliveryLoop::run`] on.
    pub(crate) fn change(&mut self, change: DeliveryChange) {
        self.backoff = Backoff::new(&change.retry);
        // Of two changes in a row, the second may be to pauses only.
        self.next = change.next.or(self.next.take());
    }

    /// Delivers until the backlog has no window left to deliver. May be dropped at any await, and
    /// called again.
    pub(crate) async fn run(&mut self) {
        self.replace_forwarder().await;
        if self.parts.is_in_progress() {
            self.deliver_window().await;
        } else if let Some(source) = self.backlog.apply(Backlog::restart_in_flight) {
            self.begin(source).await;
        }
        while let Some(source) = self.backlog.next_window().await {
            self.begin(source).await;
        }
    }

    async fn begin(&mut self, source: WindowSource) {
        if let Some(snapshot) = self.fetch(source).await {
            self.parts.begin(snapshot);
            self.deliver_window().await;
        }
    }

    /// Delivers the parts of a window that are left, unless the window is given up.
    async fn deliver_window(&mut self) {
        let late_at = Instant::now() + LATE_AFTER;
        while self.parts.encode_next(&mut *self.forwarder) {
            if !self.deliver_part(late_at).await {
                return self.parts.discard();
            }
            self.parts.finish_part();
            // A destination that never waits would keep other tasks from their turn.
            yield_now().await;
        }
        self.log.window_delivered(self.backlog.read(|backlog| backlog.ledger().spooled));
    }

    /// Sends a part until all of it is settled. Returns false if the window is given up.
    async fn deliver_part(&mut self, late_at: Instant) -> bool {
        loop {
            let outcome = self.attempt_until(late_at).await;
            self.settle();
            match outcome {
                Ok(()) => self.succeeded(),
                Err(error) => {
                    self.failed(&error);
                    if !self.parts.batch().is_settled() {
                        self.backlog.apply(Backlog::mark_late);
                        sleep(self.backoff.pause_after(&error, rand::random())).await;
                    }
                }
            }
            if self.parts.batch().is_settled() {
                return true;
            }
            if self.backlog.apply(Backlog::take_revoked) {
                return false;
            }
        }
    }

    /// Makes an attempt, and marks the window as late if it is not over at `late_at`.
    async fn attempt_until(&mut self, late_at: Instant) -> Result<(), SendError> {
        let backlog = Arc::clone(&self.backlog);
        let attempt = self.attempt();
        tokio::pin!(attempt);
        tokio::select! {
            biased;
            outcome = &mut attempt => return outcome,
            () = sleep_until(late_at) => backlog.apply(Backlog::mark_late),
        }
        attempt.await
    }

    async fn attempt(&mut self) -> Result<(), SendError> {
        let send = self.forwarder.send(self.parts.batch());
        let outcome = match self.attempt_max {
            Some(max) => timeout(max, send).await.unwrap_or_else(|_| {
                Err(SendError::transient(format!("no answer within {max:?} (delivery.timeout)")))
            }),
            None => send.await,
        };
        if outcome.is_ok() && !self.parts.batch().is_settled() {
            debug_assert!(false, "a forwarder returned Ok and left payloads pending");
            return Err(SendError::transient("the forwarder left payloads unsent"));
        }
        outcome
    }

    /// Moves settled points to where they belong in the ledger.
    fn settle(&mut self) {
        if let Some(outcome) = self.parts.take_outcome() {
            self.log.settled(&outcome.settled);
            self.backlog.settle(outcome.settled, outcome.left, outcome.is_done);
        }
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        if self.backlog.apply(Backlog::attempt_succeeded) {
            self.log.recovered();
        }
    }

    fn failed(&self, error: &SendError) {
        let words = error.to_string();
        if self.backlog.attempt_failed(words.clone()) {
            self.log.attempt_failed(&words);
        }
    }

    /// Replaces the forwarder if a change said so, and starts it.
    async fn replace_forwarder(&mut self) {
        if let Some(next) = &self.next {
            let patience = next.patience;
            self.finish_window(patience).await;
        }
        if let Some(next) = self.next.take() {
            self.forwarder = next.forwarder;
            self.attempt_max = next.attempt_max;
            self.is_started = next.is_started;
            self.log.reconfigured();
        }
        while !self.is_started {
            match self.forwarder.start().await {
                Ok(()) => self.is_started = true,
                // The socket of the earlier forwarder may not be free at once.
                Err(error) => {
                    self.failed(&error);
                    sleep(START_PAUSE).await;
                }
            }
        }
    }

    /// Encoded payloads are of no use to another forwarder. With a spool, the snapshot was kept and
    /// the points that are left go to the next forwarder. Without one, the current forwarder has
    /// some time to deliver them.
    async fn finish_window(&mut self, patience: Duration) {
        if self.reader.is_none() {
            let _too_slow = timeout(patience, self.deliver_window()).await;
        }
        self.collect_reports().await;
        if self.reader.is_none() && self.parts.is_in_progress() {
            let lost = self.backlog.apply(|backlog| backlog.give_up_in_flight(reason::REPLACED));
            self.log.lost_in_reload(lost);
        }
        self.parts.discard();
    }

    /// Settles the points that were delivered since the last attempt was dropped.
    pub(crate) async fn finish(&mut self) {
        if self.reader.is_some() {
            // Points that arrived must not be spooled and sent again after a restart.
            self.collect_reports().await;
        } else {
            self.settle();
        }
    }

    async fn collect_reports(&mut self) {
        if self.parts.has_pending() {
            let stop = self.forwarder.stop(self.parts.batch());
            let _too_slow = timeout(LAST_REPORT_TIME, stop).await;
        }
        self.settle();
    }

    /// Gets a window; `None` if its file cannot be used.
    async fn fetch(&mut self, source: WindowSource) -> Option<Arc<Snapshot>> {
        match (source, &self.reader) {
            (WindowSource::Memory(snapshot), _) => Some(snapshot),
            (WindowSource::File(name), Some(reader)) => {
                let outcome = reader.read(name).await;
                self.window_read(name, outcome)
            }
            (WindowSource::File(_), None) => None,
        }
    }

    fn window_read(
        &self,
        name: FileName,
        outcome: Result<Snapshot, SpoolReadError>,
    ) -> Option<Arc<Snapshot>> {
        let (error, reason, suffix) = match outcome {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                self.backlog.apply(|backlog| backlog.window_read(&snapshot));
                return Some(snapshot);
            }
            Err(error @ SpoolReadError::Gone) => (error, reason::REMOVED, None),
            Err(error @ SpoolReadError::Content(SpoolFileError::Newer(_))) => {
                (error, reason::SPOOL_NEWER, Some("newer"))
            }
            Err(error) => (error, reason::SPOOL_CORRUPT, Some("corrupt")),
        };
        self.log.unreadable(name, &error);
        self.backlog.apply(|backlog| backlog.window_unreadable(reason, suffix));
        None
    }
}
