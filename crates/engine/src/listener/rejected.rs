//! The latest rejected messages, for whoever wants to know why; and a line in the log now and then.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use basics::escape::excerpt;
use tracing::warn;

use crate::protocol::{RejectReason, Rejection};

/// Messages that are remembered.
const REMEMBERED_MAX: usize = 100;
/// Of each reason, at most so many a second are looked at more closely; all are counted.
const LOOKED_AT_PER_SECOND: u32 = 20;
/// A reason is logged at most this often.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// A rejected message as an operator sees it.
#[derive(Clone, Debug)]
pub struct RejectedMessage {
    /// When it came.
    pub time: SystemTime,
    /// Through which listener.
    pub listener: String,
    /// Who sent it.
    pub sender: String,
    /// Why it was rejected.
    pub reason: RejectReason,
    /// Where in the datagram the trouble starts, in bytes.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
    /// The bytes around it, with everything unprintable escaped.
    pub excerpt: String,
}

/// Remembers and logs; a flood of bad messages costs it almost nothing.
#[derive(Debug)]
pub struct RejectedLog {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    latest: VecDeque<RejectedMessage>,
    reasons: [Budget; RejectReason::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    second: Option<Instant>,
    looked_at: u32,
    logged: Option<Instant>,
    unlogged: u64,
}

impl RejectedLog {
    /// Nothing rejected yet.
    #[must_use]
    pub fn new() -> Self {
        let latest = VecDeque::with_capacity(REMEMBERED_MAX);
        let reasons = [Budget::default(); RejectReason::ALL.len()];
        Self { inner: Mutex::new(Inner { latest, reasons }) }
    }

    /// Notes a rejection; `datagram` is the one that it occurred in.
    pub fn note(
        &self,
        rejection: Rejection,
        datagram: &[u8],
        sender: impl Display,
        listener: &str,
    ) {
        self.note_at(Instant::now(), rejection, datagram, sender, listener);
    }

    fn note_at(
        &self,
        now: Instant,
        rejection: Rejection,
        datagram: &[u8],
        sender: impl Display,
        listener: &str,
    ) {
        let mut inner = self.inner.lock();
        let budget = &mut inner.reasons[rejection.reason as usize];
        budget.unlogged += 1;
        if !budget.may_look(now) {
            return;
        }
        let unlogged = budget.may_log(now).then(|| std::mem::take(&mut budget.unlogged));
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
                excerpt = message.excerpt,
                "messages rejected; this is the latest of them"
            );
        }
        if inner.latest.len() == REMEMBERED_MAX {
            inner.latest.pop_back();
        }
        inner.latest.push_front(message);
    }

    /// The latest rejected messages, newest first.
    #[must_use]
    pub fn latest(&self) -> Vec<RejectedMessage> {
        let inner = self.inner.lock();
        inner.latest.iter().cloned().collect()
    }
}

impl Default for RejectedLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget {
    fn may_look(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.looked_at) = (Some(now), 0);
        }
        self.looked_at += 1;
        self.looked_at <= LOOKED_AT_PER_SECOND
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
    fn only_the_latest_are_remembered_and_a_flood_is_sampled() {
        let log = RejectedLog::new();
        let start = Instant::now();
        for second in 0..10 {
            for number in 0..1000 {
                let now = start + Duration::from_secs(second) + Duration::from_micros(number);
                log.note_at(
                    now,
                    rejection(0),
                    format!("{second}").as_bytes(),
                    "sender",
                    "listener",
                );
            }
        }
        let latest = log.latest();
        assert_eq!(latest.len(), REMEMBERED_MAX);
        assert_eq!(latest[0].excerpt, "9");
        assert_eq!(latest[99].excerpt, "5");
    }

    #[test]
    fn a_reason_is_logged_once_a_minute() {
        let mut budget = Budget::default();
        let start = Instant::now();
        let logged = (0..180).filter(|s| budget.may_log(start + Duration::from_secs(*s))).count();
        assert_eq!(logged, 3);
    }
}
