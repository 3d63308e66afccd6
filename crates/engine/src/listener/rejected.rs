//! Keeps the latest rejected messages for the operator, and logs some of them.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use basics::escape::excerpt;
use tracing::warn;

use crate::protocol::{RejectReason, Rejection};

/// Maximum number of messages that are kept.
const KEPT_MAX: usize = 100;
/// Maximum number of messages per reason and second that are kept; all are counted.
const KEPT_PER_SECOND: u32 = 20;
/// Minimum time between two log messages for the same reason.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// A rejected message, as shown to the operator.
#[derive(Clone, Debug)]
pub struct RejectedMessage {
    /// Time of arrival.
    pub time: SystemTime,
    /// The listener that received it.
    pub listener: String,
    /// The sender.
    pub sender: String,
    /// The reason for the rejection.
    pub reason: RejectReason,
    /// Position of the error in the datagram, in bytes.
    pub offset: usize,
    /// The input expected at this position.
    pub expected: &'static str,
    /// The bytes around this position, with unprintable ones escaped.
    pub excerpt: String,
}

/// Keeps and logs rejected messages. A flood of them takes almost no time here.
#[derive(Debug)]
pub struct RejectedLog {
    state: Mutex<RejectedState>,
}

#[derive(Debug)]
struct RejectedState {
    latest: VecDeque<RejectedMessage>,
    reasons: [ReasonThrottle; RejectReason::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct ReasonThrottle {
    second: Option<Instant>,
    kept: u32,
    logged: Option<Instant>,
    unlogged: u64,
}

impl RejectedLog {
    /// Creates an empty log.
    #[must_use]
    pub fn new() -> Self {
        let latest = VecDeque::with_capacity(KEPT_MAX);
        let reasons = [ReasonThrottle::default(); RejectReason::ALL.len()];
        Self { state: Mutex::new(RejectedState { latest, reasons }) }
    }

    /// Adds a rejection. Its offset refers to `datagram`.
    pub fn add(&self, rejection: Rejection, datagram: &[u8], sender: impl Display, listener: &str) {
        self.add_at(Instant::now(), rejection, datagram, sender, listener);
    }

    fn add_at(
        &self,
        now: Instant,
        rejection: Rejection,
        datagram: &[u8],
        sender: impl Display,
        listener: &str,
    ) {
        let mut state = self.state.lock();
        let throttle = &mut state.reasons[rejection.reason as usize];
        // Before the throttle, because the next line of the log reports them all.
        throttle.unlogged += 1;
        // Before any text is built: a sender may cause millions of rejections.
        if !throttle.may_keep(now) {
            return;
        }
        let unlogged = throttle.may_log(now).then(|| std::mem::take(&mut throttle.unlogged));
        let message = RejectedMessage {
            time: SystemTime::now(),
            listener: listener.to_owned(),
            sender: sender.to_string(),
            reason: rejection.reason,
            offset: rejection.offset,
            expected: rejection.expected,
            excerpt: excerpt(datagram, rejection.offset),
        };
        if let Some(count) = unlogged {
            warn!(
                reason = message.reason.as_str(),
                count,
                listener,
                sender = message.sender,
                offset = message.offset,
                expected = message.expected,
                // Escaped already: as a quoted string it would be escaped again.
                excerpt = %message.excerpt,
                "messages rejected; this is the latest one"
            );
        }
        if state.latest.len() == KEPT_MAX {
            state.latest.pop_back();
        }
        state.latest.push_front(message);
    }

    /// The latest rejected messages, newest first.
    #[must_use]
    pub fn latest(&self) -> Vec<RejectedMessage> {
        let state = self.state.lock();
        state.latest.iter().cloned().collect()
    }
}

impl Default for RejectedLog {
    fn default() -> Self {
        Self::new()
    }
}

impl ReasonThrottle {
    fn may_keep(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.kept) = (Some(now), 0);
        }
        self.kept += 1;
        self.kept <= KEPT_PER_SECOND
    }

    fn may_log(&mut self, now: Instant) -> bool {
        let may = self.logged.is_none_or(|logged| now.duration_since(logged) >= LOG_PAUSE);
        if may {
            self.logged = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(offset: usize) -> Rejection {
        Rejection { reason: RejectReason::BadJson, offset, expected: "a value" }
    }

    #[test]
    fn only_the_latest_are_kept_and_a_flood_is_sampled() {
        let log = RejectedLog::new();
        let start = Instant::now();
        for second in 0..10 {
            for number in 0..1000 {
                let now = start + Duration::from_secs(second) + Duration::from_micros(number);
                log.add_at(now, rejection(0), format!("{second}").as_bytes(), "sender", "listener");
            }
        }
        let latest = log.latest();
        assert_eq!(latest.len(), KEPT_MAX);
        assert_eq!(latest[0].excerpt, "9");
        assert_eq!(latest[99].excerpt, "5");
    }

    #[test]
    fn a_reason_is_logged_once_a_minute() {
        let mut throttle = ReasonThrottle::default();
        let start = Instant::now();
        let logged = (0..180).filter(|s| throttle.may_log(start + Duration::from_secs(*s))).count();
        assert_eq!(logged, 3);
    }
}
