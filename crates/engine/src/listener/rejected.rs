//! Keeps the latest rejected messages for the operator, and logs some of them.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use basics::escape::escaped;
use tracing::warn;

use super::diagnosis::signature::advice_on_signed;
use super::shown::shown_excerpt;
use super::{Protocol, diagnosis};
use crate::protocol::{RejectReason, Rejection};

/// Maximum number of messages that are kept.
const KEPT_MAX: usize = 100;
/// Maximum number of these that rules drop: intended, so they must not push out mistakes.
const KEPT_DROPS_MAX: usize = 10;
/// Maximum number of messages per reason and second that are kept; all are counted.
const KEPT_PER_SECOND: u32 = 20;
/// Bytes of a message before and after an error that are examined for advice.
const ADVICE_BYTES: usize = 4_096;
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
    /// The likely intention of the sender, and the correction.
    pub advice: Option<String>,
    /// The bytes around this position, with unprintable ones escaped; empty for a signed datagram.
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
    /// The labels of the running listeners, to name one that accepts a message.
    listeners: Vec<String>,
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
        let listeners = Vec::new();
        Self { state: Mutex::new(RejectedState { latest, listeners, reasons }) }
    }

    /// Replaces the labels of the running listeners.
    pub fn set_listeners(&self, labels: Vec<String>) {
        self.state.lock().listeners = labels;
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
        // A drop by a rule is intended: it is no mistake that an operator could correct.
        let is_mistake = rejection.reason != RejectReason::Rule;
        let unlogged: Option<u64> =
            (is_mistake && throttle.may_log(now)).then(|| std::mem::take(&mut throttle.unlogged));
        let message = RejectedMessage {
            time: SystemTime::now(),
            listener: listener.to_owned(),
            sender: sender.to_string(),
            reason: rejection.reason,
            offset: rejection.offset,
            expected: rejection.expected,
            advice: advice(rejection, datagram, listener, &state.listeners),
            excerpt: shown_excerpt(datagram, rejection.offset),
        };
        if let Some(count) = unlogged {
            warn!(
                reason = message.reason.as_str(),
                count,
                listener,
                sender = message.sender,
                offset = message.offset,
                expected = message.expected,
                advice = message.advice.as_deref(),
                // Escaped already: as a quoted string it would be escaped again.
                excerpt = %message.excerpt,
                "messages rejected; this is the latest one"
            );
        }
        state.push(message);
    }

    /// The latest rejected messages, newest first.
    #[must_use]
    pub fn latest(&self) -> Vec<RejectedMessage> {
        let state = self.state.lock();
        state.latest.iter().cloned().collect()
    }
}

impl RejectedState {
    /// Adds the latest message, and removes the oldest one if there are too many.
    fn push(&mut self, message: RejectedMessage) {
        let Self { latest, .. } = self;
        let is_drop = |kept: &RejectedMessage| kept.reason == RejectReason::Rule;
        let drops = latest.iter().filter(|kept| is_drop(kept)).count();
        let replaced = if is_drop(&message) && drops >= KEPT_DROPS_MAX {
            latest.iter().rposition(is_drop)
        } else {
            (latest.len() >= KEPT_MAX).then(|| latest.len() - 1)
        };
        if let Some(replaced) = replaced {
            latest.remove(replaced);
        }
        latest.push_front(message);
    }
}

/// The advice on a rejected message of a datagram to this listener.
fn advice(
    rejection: Rejection,
    datagram: &[u8],
    listener: &str,
    listeners: &[String],
) -> Option<String> {
    let protocol = Protocol::of_label(listener)?;
    if let Some(words) = advice_on_signed(datagram, rejection.reason) {
        return Some(words.to_owned());
    }
    let (message, offset) = message_at(protocol, datagram, rejection.offset)?;
    let rejection = Rejection { offset, ..rejection };
    let redirect = |other| way_to(other, listeners);
    let advice = diagnosis::advice(protocol, message, rejection, &redirect)?;
    Some(escaped(advice.words.as_bytes()))
}

/// The message with this offset, and the offset in it; `None` if the offset is too far behind the start
/// of a long message.
fn message_at(protocol: Protocol, datagram: &[u8], offset: usize) -> Option<(&[u8], usize)> {
    let (before, after) = datagram.split_at_checked(offset)?;
    let (mut start, mut end) = (0, datagram.len());
    if !protocol.is_array(datagram) {
        start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        end = memchr::memchr(b'\n', after).map_or(end, |at| offset + at);
    }
    // A sender can make messages that are expensive to examine.
    let is_near = offset - start <= ADVICE_BYTES;
    is_near.then(|| (&datagram[start..end.min(offset + ADVICE_BYTES)], offset - start))
}

/// How to send a message of a protocol to this daemon.
fn way_to(protocol: Protocol, listeners: &[String]) -> String {
    match listeners.iter().find(|label| Protocol::of_label(label) == Some(protocol)) {
        Some(label) => format!("send it to the listener {label}"),
        None => format!(
            "no listener accepts it; add one with `protocol: {}` to `listeners`",
            protocol.as_str()
        ),
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
    use crate::protocol::MessageLimits;

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
    fn samples_that_rules_drop_do_not_push_out_mistakes() {
        let log = RejectedLog::new();
        let start = Instant::now();
        let dropped = |offset| Rejection { reason: RejectReason::Rule, ..rejection(offset) };
        log.add_at(start, rejection(1), b"x", "sender", "listener");
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            for offset in 0..20 {
                log.add_at(now, dropped(offset), b"x", "sender", "listener");
            }
        }
        let latest = log.latest();
        assert_eq!(latest.len(), KEPT_DROPS_MAX + 1);
        assert_eq!((latest[0].offset, latest[9].offset), (19, 10), "the latest ones");
        assert_eq!(latest[10].reason, RejectReason::BadJson);
        for second in 0..5 {
            for offset in 0..20 {
                let now = start + Duration::from_secs(200 + second);
                log.add_at(now, rejection(offset), b"x", "sender", "listener");
            }
        }
        let latest = log.latest();
        assert_eq!(latest.len(), KEPT_MAX);
        assert!(latest.iter().all(|kept| kept.reason == RejectReason::BadJson), "the newest ones");
    }

    /// The advice on the only rejection in a datagram to a listener with this label.
    fn advice_on(datagram: &str, label: &str, listeners: &[&str]) -> Option<String> {
        let protocol = Protocol::of_label(label).unwrap();
        let log = RejectedLog::new();
        log.set_listeners(listeners.iter().map(|label| (*label).to_owned()).collect());
        protocol.decode(datagram.as_bytes(), &MessageLimits::default(), &mut |message| {
            if let Err(rejection) = message {
                log.add(rejection, datagram.as_bytes(), "sender", label);
            }
        });
        let latest = log.latest();
        assert_eq!(latest.len(), 1);
        latest[0].advice.clone()
    }

    #[test]
    fn a_message_of_another_protocol_is_sent_to_its_listener() {
        let (json, statsd) = ("json/udp 127.0.0.1:5090", "statsd/udp 127.0.0.1:8125");
        let message = r#"{"metric_name": "m", "metric_type": "trace"}"#;
        let two_lines = format!("{message}\npage.views:1|c\n{message}");
        for (datagram, label, listeners, words) in [
            (
                "page.views:1|c",
                json,
                &[json, statsd][..],
                "this is a statsd line: send it to the listener statsd/udp 127.0.0.1:8125",
            ),
            (
                two_lines.as_str(),
                json,
                &[json],
                "this is a statsd line: no listener accepts it; add one with `protocol: statsd` to \
                 `listeners`",
            ),
            (
                message,
                statsd,
                &[statsd, json],
                "this is a JSON message: send it to the listener json/udp 127.0.0.1:5090",
            ),
            (
                r#"{"metric": "m", "metric_type": "trace"}"#,
                json,
                &[],
                "did you mean `metric_name` instead of `metric`?",
            ),
            (
                r#"[{"name": "m", "metric_type": "trace"}]"#,
                json,
                &[],
                "did you mean `metric_name` instead of `name`?",
            ),
        ] {
            assert_eq!(advice_on(datagram, label, listeners).as_deref(), Some(words), "{datagram}");
        }
        assert_eq!(advice_on("{\"a\u{1b}b\": x}", json, &[]), None);
    }

    #[test]
    fn only_a_part_of_a_long_message_is_examined() {
        let long = "x".repeat(100_000);
        let text = format!("{{\"metric\": \"m\"}}\n{long}");
        let found = message_at(Protocol::Json, text.as_bytes(), 16 + 10);
        assert_eq!(found.map(|(message, at)| (message.len(), at)), Some((10 + ADVICE_BYTES, 10)));
        assert_eq!(message_at(Protocol::Json, text.as_bytes(), 50_000), None);
        assert_eq!(message_at(Protocol::Json, b"x", 2), None);
    }

    #[test]
    fn a_reason_is_logged_once_a_minute() {
        let mut throttle = ReasonThrottle::default();
        let start = Instant::now();
        let logged = (0..180).filter(|s| throttle.may_log(start + Duration::from_secs(*s))).count();
        assert_eq!(logged, 3);
    }
}
