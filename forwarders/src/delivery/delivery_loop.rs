//! Delivers windows one after the other: encodes, attempts, pauses, attempts again, accounts.
//!
//! A window of a million series is a hundred megabytes and more once it is encoded. So it is encoded
//! and delivered a part at a time, unless the destination needs to see it whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::advice::advice;
use crate::config::RetryConfig;
use crate::delivery::backlog::{Backlog, Taken};
use crate::delivery::backoff::Backoff;
use crate::delivery::forwarder::{ErrorClass, Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::replay::{Replay, Said};
use crate::delivery::stats::{ForwarderStats, reason};
use crate::spool::{Directory, FileError, FileName, ReadError};
use basics::log_throttle::LogThrottle;
use model::PointRanges;
use model::Snapshot;

/// How often a destination is tried that waits for its operator.
const OPERATOR_PAUSE: Duration = Duration::from_secs(60);
/// A window that is not delivered within this time is late: it should be on disk.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// Most points that are encoded at once; they take some megabyte.
pub(crate) const PART_POINTS: usize = 8_192;
/// Pause between attempts to have what a forwarder needs on this host.
const START_PAUSE: Duration = Duration::from_millis(200);
/// How long a forwarder has at a stop to say what it has delivered.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Times that a file is tried that the system refuses to read, and the pause in between: too many
/// open files pass, a bad sector does not.
const READ_TRIES: u32 = 3;
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Owns a forwarder, and what it is delivering.
pub(crate) struct DeliveryLoop {
    name: String,
    forwarder: Box<dyn Forwarder>,
    attempt_max: Option<Duration>,
    /// Of the destination, not of a window: while it is down, only the oldest window is tried.
    backoff: Backoff,
    batch: Batch,
    /// What of the backlog's current window is in the batch.
    part: Option<Part>,
    /// The window, as long as parts of it are not encoded, and where the next one begins.
    rest: Option<(Arc<Snapshot>, usize)>,
    /// What takes the forwarder's place.
    next: Option<NextForwarder>,
    /// Whether the forwarder has what it needs on this host.
    is_started: bool,
    backlog: Arc<Backlog>,
    stats: Arc<ForwarderStats>,
    /// Drops by reason: all are counted, and not all are logged.
    drops: BTreeMap<&'static str, LogThrottle>,
    replay: Replay,
}

/// A forwarder that takes another's place.
pub(crate) struct NextForwarder {
    pub(crate) forwarder: Box<dyn Forwarder>,
    pub(crate) attempt_max: Option<Duration>,
    /// How long the one before it may take to finish its window, where there is no spool to keep
    /// what is left.
    pub(crate) patience: Duration,
    /// Whether it has what it needs on this host. If not, the one before it has that.
    pub(crate) is_started: bool,
}

/// A part of a window.
#[derive(Clone, Debug)]
struct Part {
    points: Range<usize>,
    /// How many points the window has.
    of: usize,
}

impl Part {
    fn is_last(&self) -> bool {
        self.points.end == self.of
    }

    /// What is left of the window when of the part only these are, by their places in it.
    fn left_of_window(&self, left: PointRanges) -> PointRanges {
        let mut left = left.behind(self.points.start);
        left.add(self.points.end..self.of);
        left
    }
}

impl DeliveryLoop {
    /// Delivers a backlog.
    pub(crate) fn new(
        name: String,
        forwarder: Box<dyn Forwarder>,
        attempt_max: Option<Duration>,
        retry: &RetryConfig,
        backlog: Arc<Backlog>,
        stats: Arc<ForwarderStats>,
    ) -> Self {
        Self {
            name,
            forwarder,
            attempt_max,
            backoff: Backoff::new(retry),
            batch: Batch::default(),
            part: None,
            rest: None,
            next: None,
            is_started: true,
            backlog,
            stats,
            drops: BTreeMap::new(),
            replay: Replay::default(),
        }
    }

    /// Goes on with other pauses between attempts and, if there is one, with another forwarder, from
    /// the next [`DeliveryLoop::run`] on.
    pub(crate) fn change(&mut self, retry: &RetryConfig, next: Option<NextForwarder>) {
        self.backoff = Backoff::new(retry);
        self.next = next.or(self.next.take());
    }

    /// Delivers until the backlog says that nothing is left to deliver. May be dropped at any await,
    /// and called again.
    pub(crate) async fn run(&mut self) {
        self.change_over().await;
        if self.is_delivering() {
            self.deliver_window().await;
        } else if let Some(taken) = self.backlog.current_again() {
            self.begin(taken).await;
        }
        while let Some(taken) = self.backlog.next().await {
            self.begin(taken).await;
        }
    }

    fn is_delivering(&self) -> bool {
        self.part.is_some() || self.rest.is_some()
    }

    async fn begin(&mut self, taken: Taken) {
        if let Some(snapshot) = self.fetch(taken).await {
            self.rest = Some((snapshot, 0));
            self.deliver_window().await;
        }
    }

    /// Delivers what is left of a window, unless it is to be given up.
    async fn deliver_window(&mut self) {
        let late_at = Instant::now() + LATE_AFTER;
        loop {
            if self.part.is_none() {
                let Some((snapshot, start)) = self.rest.take() else {
                    return self.tell_of_the_spool();
                };
                self.encode_from(start, snapshot);
            }
            let is_wanted = self.deliver(late_at).await;
            self.part = None;
            if !is_wanted {
                self.rest = None;
                return;
            }
            // A destination that never waits would keep others from their turn.
            yield_now().await;
        }
    }

    /// Tells whoever looks on how far it is with what waited on disk.
    fn tell_of_the_spool(&mut self) {
        match self.replay.delivered(self.backlog.spooled()) {
            Some(Said::Left(points)) => {
                info!(forwarder = self.name, points, "working off the spool; these are left");
            }
            Some(Said::Done) => {
                info!(forwarder = self.name, "worked off the spool: all that waited is delivered");
            }
            None => {}
        }
    }

    /// Encodes a part of a window that begins with the point `start`.
    fn encode_from(&mut self, start: usize, snapshot: Arc<Snapshot>) {
        let of = snapshot.points.len();
        let whole = self.forwarder.wants_whole_windows();
        let end = if whole { of } else { of.min(start + PART_POINTS) };
        let points = snapshot.points.part(start..end);
        self.batch.clear();
        self.forwarder.encode(&Snapshot { points, ..(*snapshot).clone() }, &mut self.batch);
        debug_assert_eq!(
            self.batch.points(),
            (end - start) as u64,
            "every point is in a payload, in order"
        );
        let part = Part { points: start..end, of };
        // What is encoded need not be held twice.
        self.rest = (!part.is_last()).then_some((snapshot, end));
        self.part = Some(part);
    }

    /// Puts the next forwarder into the place of the one that is there, if there is one.
    async fn change_over(&mut self) {
        if let Some(next) = &self.next {
            let patience = next.patience;
            self.end_window(patience).await;
        }
        if let Some(next) = self.next.take() {
            self.forwarder = next.forwarder;
            self.attempt_max = next.attempt_max;
            self.is_started = next.is_started;
            info!(forwarder = self.name, "goes on with its new settings");
        }
        while !self.is_started {
            match self.forwarder.start().await {
                Ok(()) => self.is_started = true,
                // What the one before it had may not be free at once.
                Err(error) => {
                    self.report(&error);
                    sleep(START_PAUSE).await;
                }
            }
        }
    }

    /// What is encoded is of no use to another forwarder. What is left of the window is kept for it;
    /// where that cannot be, the one that encoded it has a while to deliver it.
    async fn end_window(&mut self, patience: Duration) {
        if !self.backlog.has_spool() {
            let _too_slow = timeout(patience, self.deliver_window()).await;
        }
        self.stop().await;
        if !self.backlog.has_spool() && self.is_delivering() {
            let points = self.backlog.give_up(reason::REPLACED);
            error!(
                forwarder = self.name,
                points, "points could not be delivered before the destination was changed"
            );
        }
        (self.part, self.rest) = (None, None);
        self.batch.clear();
    }

    /// Notes what became of the current window since its last attempt was dropped.
    pub(crate) async fn stop(&mut self) {
        if self.part.is_some() && self.batch.points_pending() > 0 {
            let _too_slow = timeout(LAST_WORDS, self.forwarder.stop(&mut self.batch)).await;
        }
        self.account();
    }

    /// The window itself; `None` if its file is of no use.
    async fn fetch(&mut self, taken: Taken) -> Option<Arc<Snapshot>> {
        let (directory, name) = match taken {
            Taken::Window(snapshot) => return Some(snapshot),
            Taken::File(directory, name) => (directory, name),
        };
        let (error, reason, suffix) = match read(directory, name).await {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                self.backlog.has_read(&snapshot);
                return Some(snapshot);
            }
            Err(error @ ReadError::Gone) => (error, reason::REMOVED, None),
            Err(error @ ReadError::Content(FileError::Newer(_))) => {
                (error, reason::SPOOL_NEWER, Some("newer"))
            }
            Err(error) => (error, reason::SPOOL_CORRUPT, Some("corrupt")),
        };
        warn!(
            forwarder = self.name,
            file = %name,
            points = name.points,
            %error,
            "a window in the spool is of no use and was dropped"
        );
        self.backlog.cannot_read(reason, suffix);
        None
    }

    /// Sends the batch until all of it is settled; returns false if it is no longer wanted.
    async fn deliver(&mut self, late_at: Instant) -> bool {
        loop {
            let outcome = self.attempt_until(late_at).await;
            self.account();
            match outcome {
                Ok(()) => {
                    self.backoff.reset();
                    if self.stats.succeeded() {
                        info!(forwarder = self.name, "delivers again");
                    }
                }
                Err(error) => {
                    self.report(&error);
                    if !self.batch.is_settled() {
                        self.backlog.late();
                        sleep(pause(&error, &mut self.backoff, rand::random())).await;
                    }
                }
            }
            if self.batch.is_settled() {
                return true;
            }
            if self.backlog.is_revoked() {
                self.batch.clear();
                return false;
            }
        }
    }

    /// Makes an attempt, and tells when it takes long.
    async fn attempt_until(&mut self, late_at: Instant) -> Result<(), SendError> {
        let backlog = Arc::clone(&self.backlog);
        let attempt = self.attempt();
        tokio::pin!(attempt);
        tokio::select! {
            biased;
            outcome = &mut attempt => return outcome,
            () = sleep_until(late_at) => backlog.late(),
        }
        attempt.await
    }

    async fn attempt(&mut self) -> Result<(), SendError> {
        let send = self.forwarder.send(&mut self.batch);
        let outcome = match self.attempt_max {
            Some(max) => timeout(max, send).await.unwrap_or_else(|_| {
                Err(SendError::transient(format!("no answer within {max:?} (delivery.timeout)")))
            }),
            None => send.await,
        };
        if outcome.is_ok() && !self.batch.is_settled() {
            debug_assert!(false, "a forwarder said Ok and left payloads pending");
            return Err(SendError::transient("the forwarder left payloads unsent"));
        }
        outcome
    }

    /// Moves what was settled to where it belongs.
    pub(crate) fn account(&mut self) {
        let Some(part) = &self.part else { return };
        let mut settled = self.batch.take_settled();
        for places in settled.places.values_mut() {
            *places = std::mem::take(places).behind(part.points.start);
        }
        for (reason, words) in &settled.words {
            let points = settled.refused.get(reason).copied().unwrap_or_default();
            if let Some(points) = self.drops.entry(reason).or_default().count(points) {
                error!(forwarder = self.name, points, reason, words, "{}", what_happened(reason));
            }
        }
        let left = part.left_of_window(self.batch.points_left());
        let is_done = part.is_last() && self.batch.is_settled();
        self.backlog.settle(settled, left, is_done);
    }

    /// Logs the first of a row of failures; the rest is counted and shown in the status.
    fn report(&self, error: &SendError) {
        let words = error.to_string();
        let advice = advice(&words);
        if self.stats.failed(words) {
            warn!(
                forwarder = self.name,
                error = %error,
                advice,
                "cannot deliver; trying again until it works, the data is kept"
            );
        }
    }
}

/// Reads a window, more than once where the system refuses.
async fn read(directory: Arc<Directory>, name: FileName) -> Result<Snapshot, ReadError> {
    let mut tries = 1;
    loop {
        let directory = Arc::clone(&directory);
        let read = tokio::task::spawn_blocking(move || directory.read(name)).await;
        match read.unwrap_or_else(|error| Err(ReadError::System(error.into()))) {
            Err(ReadError::System(_)) if tries < READ_TRIES => sleep(READ_PAUSE).await,
            outcome => return outcome,
        }
        tries += 1;
    }
}

/// What the log says of points that were dropped.
fn what_happened(reason: &str) -> &'static str {
    match reason {
        reason::REFUSED => "points were refused for good",
        reason::TOO_LARGE => "points were too large and were dropped",
        reason::PAGE_FULL => "points of new series had no room and were dropped",
        reason::LOST => "points may be lost and are not sent again",
        _ => "points were dropped",
    }
}

/// How long to wait after an error; `unit` is a random number from 0 to 1. What a destination asks
/// for is the least, and a random part on top keeps a fleet from coming back at once.
fn pause(error: &SendError, backoff: &mut Backoff, unit: f64) -> Duration {
    let pause = backoff.next_pause(unit);
    match error.class() {
        ErrorClass::Transient { after } => after.unwrap_or_default() + pause,
        ErrorClass::Operator => OPERATOR_PAUSE.min(backoff.max() * 2) + pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(error: &SendError, unit: f64) -> Vec<f64> {
        let mut backoff = Backoff::new(&RetryConfig::default());
        (0..10).map(|_| pause(error, &mut backoff, unit).as_secs_f64()).collect()
    }

    #[test]
    fn what_a_destination_asks_for_is_the_least_and_is_bounded() {
        let busy = SendError::transient_after("busy", Some(Duration::from_secs(2)));
        assert_eq!(pauses(&busy, 0.0), [2.05; 10]);
        assert_eq!(pauses(&busy, 1.0)[..3], [2.25, 2.5, 3.0]);
        let absurd = SendError::transient_after("busy", Some(Duration::from_secs(86_400)));
        assert_eq!(pauses(&absurd, 0.0)[0], 300.05);
        let at_once = SendError::transient_after("busy", Some(Duration::ZERO));
        assert_eq!(pauses(&at_once, 0.0)[0], 0.05);
    }

    #[test]
    fn what_waits_for_an_operator_is_tried_about_once_a_minute_and_not_in_step() {
        let wrong = SendError::operator("unknown topic");
        assert!(pauses(&wrong, 0.0).iter().all(|pause| (60.0..61.0).contains(pause)));
        assert!(pauses(&wrong, 1.0).iter().all(|pause| (60.0..=90.0).contains(pause)));
        assert!(pauses(&wrong, 1.0)[9] - pauses(&wrong, 0.0)[9] > 25.0);
    }
}
