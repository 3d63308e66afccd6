//! Delivers windows one after the other: encodes them, attempts to send, pauses after a failure,
//! settles.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use basics::address::ListenAddresses;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::RetryConfig;
use crate::delivery::backlog::{Backlog, ReadRetry, WindowSource};
use crate::delivery::backoff::Backoff;
use crate::delivery::delivery_log::DeliveryLog;
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SavedState, SendError};
use crate::delivery::reason;
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::window_parts::{PART_POINTS, WindowParts};
use crate::spool::{FileName, Host, SpoolFileError, SpoolReadError, SpoolReader};
use model::Snapshot;

/// A window that is not delivered within this time is late and belongs on disk.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// The pause after the system returned an error for an attempt to read a window.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// How long a forwarder may take to close its sockets after it was replaced.
const RELEASE_TIME: Duration = Duration::from_secs(1);
/// The pause between attempts to start a forwarder within [`RELEASE_TIME`].
const RELEASE_PAUSE: Duration = Duration::from_millis(10);
/// The pause between further attempts to start a forwarder.
const START_PAUSE: Duration = Duration::from_millis(200);
/// Maximum time for [`Forwarder::stop`].
const LAST_REPORT_TIME: Duration = Duration::from_secs(1);

/// Delivers the windows of a backlog with a forwarder, one window at a time.
pub(crate) struct DeliveryLoop {
    forwarder: Box<dyn Forwarder>,
    attempt_max: Option<Duration>,
    /// Whether [`Forwarder::start`] has succeeded.
    is_started: bool,
    /// The forwarder that replaces the current one at the next [`DeliveryLoop::run`].
    next: Option<NextForwarder>,
    /// The state of a forwarder that is being replaced.
    handed_over: Option<SavedState>,
    /// Belongs to the destination, not to a window: while the destination is down, only the oldest
    /// window is attempted.
    backoff: Backoff,
    parts: WindowParts,
    /// The window in flight.
    window: WindowTally,
    /// The snapshot of that window without a spool, if it is small enough to be kept for the forwarder
    /// that replaces the current one.
    kept: Option<Arc<Snapshot>>,
    /// Whether the latest attempt failed.
    is_failing: bool,
    backlog: Arc<SharedBacklog>,
    /// `None` without a spool.
    reader: Option<SpoolReader>,
    host: Host,
    log: DeliveryLog,
}

/// Counts the settled points of a window.
#[derive(Clone, Copy, Debug, Default)]
struct WindowTally {
    delivered: u64,
    refused: u64,
    /// The length of the window.
    length: Duration,
}

/// The changes of a reload that concern a delivery loop.
pub(crate) struct DeliveryChange {
    pub(crate) retry: RetryConfig,
    /// `None` if the forwarder stays.
    pub(crate) next: Option<NextForwarder>,
}

/// A forwarder that replaces the current one.
pub(crate) struct NextForwarder {
    pub(crate) forwarder: Box<dyn Forwarder>,
    pub(crate) attempt_max: Option<Duration>,
    /// The time that the current forwarder has to finish its window. Used without a spool, which
    /// would keep the window.
    pub(crate) patience: Duration,
    /// Whether `start` has run. If not, the current forwarder still holds the socket.
    pub(crate) is_started: bool,
}

impl DeliveryLoop {
    /// A loop for a destination whose forwarder has been started.
    pub(crate) fn new(
        destination: Destination,
        reader: Option<SpoolReader>,
        backlog: Arc<SharedBacklog>,
        host: Host,
    ) -> Self {
        let Destination { common, forwarder, attempt_max, .. } = destination;
        Self {
            forwarder,
            attempt_max,
            is_started: true,
            next: None,
            handed_over: None,
            backoff: Backoff::new(&common.delivery.retry),
            parts: WindowParts::default(),
            window: WindowTally::default(),
            kept: None,
            is_failing: false,
            backlog,
            reader,
            host,
            log: DeliveryLog::new(common.name),
        }
    }

    /// Records a change, which takes effect with the next [`DeliveryLoop::run`].
    pub(crate) fn change(&mut self, change: DeliveryChange) {
        self.backoff = Backoff::new(&change.retry);
        // A second reload may change only the pauses, before the forwarder of the first one is in
        // place.
        self.next = change.next.or(self.next.take());
    }

    /// Delivers until the backlog has no window left to deliver. The future may be dropped at any
    /// await; the next call resumes the window in flight.
    pub(crate) async fn run(&mut self) {
        self.replace_forwarder().await;
        if self.parts.is_in_progress() {
            // The batch knows which payloads are settled, so only the others are sent.
            self.deliver_window().await;
        } else if let Some(source) = self.backlog.apply(Backlog::restart_in_flight) {
            // In flight without an encoded part: the forwarder was replaced, or the previous call
            // was dropped while the file was being read.
            self.begin(source).await;
        }
        while let Some(source) = self.backlog.next_window().await {
            self.begin(source).await;
        }
    }

    async fn begin(&mut self, source: WindowSource) {
        if let Some(snapshot) = self.fetch(source).await {
            self.window = WindowTally { length: snapshot.window.length, ..WindowTally::default() };
            let is_kept = self.reader.is_none() && snapshot.points.len() <= PART_POINTS;
            self.kept = is_kept.then(|| Arc::clone(&snapshot));
            self.parts.begin(snapshot);
            self.deliver_window().await;
        }
    }

    /// Delivers the remaining parts of a window, unless the window is revoked.
    async fn deliver_window(&mut self) {
        // For the whole window: a destination that takes each part slowly falls behind too.
        let late_at = Instant::now() + LATE_AFTER;
        while self.parts.encode_next(&mut *self.forwarder, self.backlog.output().is_watched()) {
            if !self.deliver_part(late_at).await {
                return self.parts.discard();
            }
            self.parts.finish_part();
            // A forwarder that never waits, such as one that writes a file, would otherwise block
            // the other tasks of this thread.
            yield_now().await;
        }
        self.kept = None;
        let (left, replayed) = self.backlog.apply(Backlog::take_progress);
        self.log.window_settled(left, replayed);
        self.pause_if_refused().await;
    }

    /// Pauses between two windows of a backlog if the destination refused every point of the first
    /// one, which can have taken many requests. Half the length of a window: the backlog still becomes
    /// shorter.
    async fn pause_if_refused(&mut self) {
        let WindowTally { delivered, refused, length } = self.window;
        if delivered == 0 && refused > 0 && self.backlog.read(Backlog::has_waiting) {
            let pause = (length / 2).min(self.backoff.max());
            // A stop does not wait for the pause.
            let _closed = timeout(pause, self.backlog.closed()).await;
        }
    }

    /// Attempts to send a part until all of it is settled. Returns false if the window is revoked.
    async fn deliver_part(&mut self, late_at: Instant) -> bool {
        loop {
            let outcome = self.attempt_until(late_at).await;
            // Also after an error: a failed attempt may have delivered some payloads.
            self.settle();
            match outcome {
                Ok(()) => self.succeeded(),
                Err(error) => {
                    self.failed(&error);
                    // An error can come with the last refusal. Then nothing is left to retry.
                    if !self.parts.batch().is_settled() {
                        // Before the pause, in which the spool loop can write the window.
                        self.backlog.apply(Backlog::mark_late);
                        sleep(self.backoff.pause_after(&error, self.host.random_unit())).await;
                        self.show_newer_window().await;
                    }
                }
            }
            if self.parts.batch().is_settled() {
                return true;
            }
            // Not during an attempt: payloads that it has delivered would be counted as dropped.
            if self.backlog.apply(Backlog::take_revoked) {
                return false;
            }
        }
    }

    /// Shows the newest window to a forwarder that needs it to find out whether the current window
    /// is at fault.
    async fn show_newer_window(&mut self) {
        if !self.forwarder.wants_newer_window() {
            return;
        }
        let newest = match (self.backlog.read(Backlog::newest_waiting), &self.reader) {
            (Some(WindowSource::Memory(newest)), _) => newest,
            // An unusable file is reported when its turn comes.
            (Some(WindowSource::File(name)), Some(reader)) => match reader.read(name).await {
                Ok(newest) => Arc::new(newest),
                Err(_) => return,
            },
            _ => return,
        };
        self.forwarder.show_newer_window(&newest);
    }

    /// Makes an attempt. Marks the window as late if the attempt has not ended at `late_at`, and
    /// then waits for its end.
    async fn attempt_until(&mut self, late_at: Instant) -> Result<(), SendError> {
        let backlog = Arc::clone(&self.backlog);
        let attempt = self.attempt();
        tokio::pin!(attempt);
        tokio::select! {
            // If both are ready, the attempt counts, which spares a write to disk.
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
        // A bug in a forwarder. As an error, it leads to a pause instead of a busy loop.
        if outcome.is_ok() && !self.parts.batch().is_settled() {
            debug_assert!(false, "a forwarder returned Ok and left payloads pending");
            return Err(SendError::transient("the forwarder left payloads unsent"));
        }
        outcome
    }

    /// Moves settled points to their columns in the ledger.
    fn settle(&mut self) {
        // Before the outcome is taken, which has the reasons of refusals.
        self.parts.show(self.backlog.output(), self.log.name(), &*self.forwarder);
        if let Some(outcome) = self.parts.take_outcome() {
            self.log.settled(&outcome.settled);
            self.window.delivered += outcome.settled.delivered;
            self.window.refused += outcome.settled.refused.values().sum::<u64>();
            self.backlog.settle(outcome.settled, outcome.left, outcome.is_done);
        }
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.is_failing = false;
        if self.backlog.apply(Backlog::attempt_succeeded) {
            self.log.recovered();
        }
    }

    fn failed(&mut self, error: &SendError) {
        self.is_failing = true;
        let words = error.to_string();
        let is_first = self.backlog.attempt_failed(words.clone());
        self.log.attempt_failed(&words, is_first);
    }

    /// Replaces the forwarder if a reload changed it, and starts the new one.
    async fn replace_forwarder(&mut self) {
        if let Some(next) = &self.next {
            let patience = next.patience;
            self.finish_window(patience).await;
        }
        // Taken only after the await above: if the future is dropped there, the change is not lost.
        if let Some(mut next) = self.next.take() {
            if !next.is_started {
                self.hand_sockets_over(&mut *next.forwarder);
            }
            self.forwarder = next.forwarder;
            if let Some(state) = self.handed_over.take() {
                let restored = self.forwarder.restore_state(&state.bytes, Duration::ZERO);
                debug_assert!(restored.is_ok(), "the state was saved by another kind of forwarder");
            }
            self.attempt_max = next.attempt_max;
            self.is_started = next.is_started;
            self.log.reconfigured();
        }
        self.start_forwarder().await;
    }

    /// Passes the sockets on if both forwarders listen on the same addresses. Otherwise closes them,
    /// because the next forwarder may need one of the addresses.
    fn hand_sockets_over(&mut self, next: &mut dyn Forwarder) {
        let is_same = self.forwarder.listen().map(ListenAddresses::all)
            == next.listen().map(ListenAddresses::all);
        if let Some(sockets) = self.forwarder.release_sockets()
            && is_same
        {
            next.inherit_sockets(sockets);
        }
    }

    /// Starts a forwarder that needs the address of its predecessor.
    async fn start_forwarder(&mut self) {
        let deadline = Instant::now() + RELEASE_TIME;
        while !self.is_started {
            match self.forwarder.start().await {
                Ok(()) => self.is_started = true,
                // The previous forwarder closes its sockets in another task.
                Err(_) if Instant::now() < deadline => sleep(RELEASE_PAUSE).await,
                Err(error) => {
                    self.failed(&error);
                    sleep(START_PAUSE).await;
                }
            }
        }
    }

    /// Ends the window in flight before the forwarder is replaced, which cannot use its encoded
    /// payloads.
    ///
    /// With a spool, the backlog has kept the snapshot, and the remaining points go to the next
    /// forwarder. Without a spool, the current forwarder has `patience` to deliver them; points
    /// that are left then are dropped. If the destination fails and no point of the window can have
    /// reached it, the window goes to the next forwarder at once.
    async fn finish_window(&mut self, patience: Duration) {
        let is_movable = self.is_failing && self.forwarder.settles_what_left();
        if self.reader.is_none() && !is_movable {
            let _too_slow = timeout(patience, self.deliver_window()).await;
        }
        // Points that have arrived must neither count as lost nor be sent by the next forwarder.
        self.collect_reports(LAST_REPORT_TIME).await;
        let kept = self.kept.take().filter(|_| is_movable).filter(|kept| {
            // A part of a window cannot be encoded again without the rest.
            self.parts.batch().points_pending() == kept.points.len() as u64
        });
        if self.reader.is_none() && kept.is_none() && self.parts.is_in_progress() {
            let lost = self.backlog.apply(|backlog| backlog.give_up_in_flight(reason::REPLACED));
            self.log.lost_in_reload(lost);
        }
        // Before the batch is discarded: its pending payloads do not count.
        self.handed_over = self.forwarder.save_state(self.parts.batch(), u64::MAX);
        self.parts.discard();
        if let Some(kept) = kept {
            self.parts.begin(kept);
        }
    }

    /// The forwarder and the window that it was delivering, after the end.
    pub(super) fn into_forwarder(self) -> (Box<dyn Forwarder>, WindowParts) {
        (self.forwarder, self.parts)
    }

    /// Settles points whose outcome is known since the last attempt was dropped. Called at the end,
    /// with the time that is left for reports.
    pub(crate) async fn finish(&mut self, time: Duration) {
        if self.reader.is_some() {
            // Points that arrived must not be spooled and sent again after a restart.
            self.collect_reports(time.min(LAST_REPORT_TIME)).await;
        } else {
            // Nothing is sent again after a restart, so late reports are not worth the time.
            self.settle();
        }
    }

    /// Gives the forwarder some time to report payloads that arrived, and settles them.
    async fn collect_reports(&mut self, time: Duration) {
        if self.parts.has_pending() {
            let stop = self.forwarder.stop(self.parts.batch());
            let _too_slow = timeout(time, stop).await;
        }
        self.settle();
    }

    /// Gets the snapshot of a window from memory or from its file; `None` if the file is unusable
    /// or cannot be read now.
    async fn fetch(&mut self, source: WindowSource) -> Option<Arc<Snapshot>> {
        let name = match source {
            WindowSource::Memory(snapshot) => return Some(snapshot),
            WindowSource::File(name) => name,
        };
        loop {
            match self.reader.as_ref()?.read(name).await {
                Ok(snapshot) => return Some(self.window_read(snapshot)),
                Err(SpoolReadError::System(error)) => {
                    let retry = self.read_failed(name, &error);
                    sleep(READ_PAUSE).await;
                    if retry == ReadRetry::Later {
                        return None;
                    }
                }
                Err(error) => {
                    self.window_unreadable(name, &error);
                    return None;
                }
            }
        }
    }

    fn window_read(&mut self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.backlog.apply(|backlog| backlog.window_read(&snapshot));
        self.log.read_recovered();
        snapshot
    }

    /// Records an error of the system, such as a lack of file descriptors. The window stays.
    fn read_failed(&mut self, name: FileName, error: &io::Error) -> ReadRetry {
        self.log.read_failed(name, error);
        self.backlog.spool_failed(format!("cannot read {name}: {error}"), Backlog::read_failed)
    }

    fn window_unreadable(&mut self, name: FileName, error: &SpoolReadError) {
        let (reason, suffix) = match error {
            // No suffix: there is no file to move to the quarantine.
            SpoolReadError::Gone => (reason::REMOVED, None),
            SpoolReadError::Content(SpoolFileError::Newer(_)) => {
                (reason::SPOOL_NEWER, Some("newer"))
            }
            _ => (reason::SPOOL_CORRUPT, Some("corrupt")),
        };
        self.log.unreadable(name, error, reason);
        self.backlog.apply(|backlog| backlog.window_unreadable(reason, suffix));
    }
}
