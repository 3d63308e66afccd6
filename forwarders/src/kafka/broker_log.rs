//! The messages of the client library apart from delivery reports: its log and its errors.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode as Code;
use tracing::{debug, info, warn};

use super::error_class::DeliveryErrorClass;

/// Maximum number of different complaints that are counted before the brokers answer again.
const COMPLAINTS_MAX: usize = 64;

/// Logs each complaint once and remembers the latest cause of failures.
///
/// The delivery report of a failed record says only that it timed out. Only these messages say that
/// a broker's name has no address or that its certificate is rejected.
#[derive(Debug)]
pub(super) struct BrokerLog {
    forwarder: String,
    state: Mutex<BrokerLogState>,
}

#[derive(Debug, Default)]
struct BrokerLogState {
    cause: Option<Cause>,
    /// Number of occurrences of each complaint since the brokers last acknowledged a record.
    complaints: BTreeMap<String, u64>,
}

/// The reason why the brokers cannot be used.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    /// The library's error code.
    pub(super) code: Code,
    words: String,
    /// Whether it is an answer about the topic.
    is_about_topic: bool,
}

impl Cause {
    /// Whether an operator has to change something before the brokers accept records.
    pub(super) fn is_for_operator(&self) -> bool {
        DeliveryErrorClass::of(self.code) == DeliveryErrorClass::Operator
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.words)
    }
}

impl BrokerLog {
    pub(super) fn new(forwarder: String) -> Self {
        Self { forwarder, state: Mutex::default() }
    }

    /// Returns the name of the destination in the log.
    pub(super) fn forwarder(&self) -> &str {
        &self.forwarder
    }

    /// Returns the latest error since the brokers last acknowledged a record.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.lock().cause.clone()
    }

    /// Notes an error that does not concern a single record.
    pub(super) fn error(&self, code: Code, words: &str) {
        let words = essence(words);
        let mut state = self.lock();
        // `AllBrokersDown` follows the errors of the single brokers and does not say why they
        // failed.
        if code != Code::AllBrokersDown || state.cause.is_none() {
            let words = words.to_owned();
            state.cause = Some(Cause { code, words, is_about_topic: false });
        }
        if code == Code::AllBrokersDown {
            debug!(forwarder = self.forwarder, "librdkafka: {words}");
        } else {
            // Counted as 0: the same complaint may also arrive as a log line, which is counted.
            self.complain(&mut state, words, 0);
        }
    }

    /// Notes that the brokers reject the topic.
    pub(super) fn topic(&self, code: Code, words: &str) {
        let mut state = self.lock();
        state.cause = Some(Cause { code, words: words.to_owned(), is_about_topic: true });
        self.complain(&mut state, words, 1);
    }

    /// Notes that the brokers know the topic and accept records for it.
    pub(super) fn topic_is_usable(&self) {
        self.lock().cause.take_if(|cause| cause.is_about_topic);
    }

    /// Notes a line of the library's log.
    pub(super) fn line(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => self.complain(&mut self.lock(), essence(words), 1),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                debug!(forwarder = self.forwarder, facility, "librdkafka: {words}");
            }
        }
    }

    /// Forgets all complaints after an acknowledgement, so that one that returns is logged again.
    pub(super) fn recovered(&self) {
        let BrokerLogState { complaints, .. } = std::mem::take(&mut *self.lock());
        let times: u64 = complaints.values().sum();
        if times > 0 {
            info!(forwarder = self.forwarder, complaints = times, "librdkafka delivers again");
        }
    }

    /// Adds `times` to a complaint. The library reports some both in its log and as an error: the
    /// first of the two logs it.
    fn complain(&self, state: &mut BrokerLogState, words: &str, times: u64) {
        if let Some(count) = state.complaints.get_mut(words) {
            *count += times;
        } else if state.complaints.len() < COMPLAINTS_MAX {
            // Bounded, because the text comes from the library and from brokers.
            state.complaints.insert(words.to_owned(), times);
            warn!(forwarder = self.forwarder, "librdkafka: {words}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BrokerLogState> {
        self.state.lock()
    }
}

/// Returns the part of a complaint that stays the same: without the thread at its start and the
/// duration at its end.
fn essence(words: &str) -> &str {
    let words = match words.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")) {
        Some((_, words)) => words,
        None => words,
    };
    words.split_once(" (after ").map_or(words, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "b:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed: Connection refused";

    #[test]
    fn a_complaint_that_comes_again_is_counted_and_not_another_one() {
        let broker_log = BrokerLog::new("kafka".into());
        for after in 0..5 {
            let words = format!("{REFUSED} (after {after}ms in state CONNECT)");
            let line = format!("[thrd:b:1/bootstrap]: {words}");
            broker_log.line(RDKafkaLogLevel::Error, "FAIL", &line);
            broker_log.error(Code::BrokerTransportFailure, &words);
        }
        assert_eq!(broker_log.lock().complaints, BTreeMap::from([(REFUSED.to_owned(), 5)]));
        broker_log.recovered();
        assert!(broker_log.lock().complaints.is_empty() && broker_log.cause().is_none());
    }

    #[test]
    fn the_cause_is_the_latest_error_that_tells_something() {
        let broker_log = BrokerLog::new("kafka".into());
        broker_log.error(Code::BrokerTransportFailure, REFUSED);
        broker_log.error(Code::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(broker_log.cause().unwrap().to_string(), REFUSED);
        broker_log.error(Code::Resolve, "b:1: Failed to resolve 'b:1': Name or service not known");
        assert_eq!(broker_log.cause().unwrap().code, Code::Resolve);
    }

    #[test]
    fn an_answer_about_the_topic_is_the_cause_until_it_is_outdated() {
        let broker_log = BrokerLog::new("kafka".into());
        broker_log.error(Code::AllBrokersDown, "1/1 brokers are down");
        broker_log.topic(Code::UnknownTopicOrPartition, "the topic `m` does not exist");
        broker_log.error(Code::AllBrokersDown, "0/1 brokers are down");
        let cause = broker_log.cause().unwrap();
        assert_eq!(cause.to_string(), "the topic `m` does not exist");
        assert!(cause.is_for_operator());
        broker_log.topic_is_usable();
        assert!(broker_log.cause().is_none());
        broker_log.error(Code::BrokerTransportFailure, REFUSED);
        broker_log.topic_is_usable();
        assert_eq!(broker_log.cause().unwrap().to_string(), REFUSED);
    }

    #[test]
    fn complaints_take_no_more_than_their_bound() {
        let broker_log = BrokerLog::new("kafka".into());
        for number in 0..1000 {
            broker_log.line(RDKafkaLogLevel::Warning, "X", &format!("complaint {number}"));
        }
        assert_eq!(broker_log.lock().complaints.len(), COMPLAINTS_MAX);
    }
}
