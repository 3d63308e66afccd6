//! What the client library says besides delivery reports: its log and its errors.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode as Code;
use tracing::{debug, info, warn};

/// Most different complaints that are told apart until the brokers answer again.
const COMPLAINTS_MAX: usize = 64;

/// Logs each complaint once and remembers the latest cause of trouble.
///
/// A record that could not be delivered is reported as timed out and no more; that its broker has
/// no address or refuses the certificate is said here.
#[derive(Debug)]
pub(super) struct BrokerLog {
    forwarder: String,
    state: Mutex<BrokerLogState>,
}

#[derive(Debug, Default)]
struct BrokerLogState {
    cause: Option<Cause>,
    /// How often each complaint came since the brokers last took something.
    complaints: BTreeMap<String, u64>,
}

/// Why the brokers cannot be used.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    /// What kind of trouble it is.
    pub(super) code: Code,
    words: String,
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

    /// The name that the log knows the destination by.
    pub(super) fn forwarder(&self) -> &str {
        &self.forwarder
    }

    /// The latest error since the brokers last took something.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.lock().cause.clone()
    }

    /// An error that is not about one record.
    pub(super) fn error(&self, code: Code, words: &str) {
        let words = essence(words);
        let mut state = self.lock();
        // That all brokers are down is the sum of what was said of each, and says less.
        if code != Code::AllBrokersDown || state.cause.is_none() {
            state.cause = Some(Cause { code, words: words.to_owned() });
        }
        self.complain(&mut state, words, 0);
    }

    /// A line of the library's log.
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

    /// The brokers took something: what was wrong is over, and worth a line when it comes back.
    pub(super) fn recovered(&self) {
        let BrokerLogState { complaints, .. } = std::mem::take(&mut *self.lock());
        let times: u64 = complaints.values().sum();
        if times > 0 {
            info!(forwarder = self.forwarder, complaints = times, "librdkafka delivers again");
        }
    }

    /// Counts `times` of a complaint; the same may come by log and by error, which is one.
    fn complain(&self, state: &mut BrokerLogState, words: &str, times: u64) {
        if let Some(count) = state.complaints.get_mut(words) {
            *count += times;
        } else if state.complaints.len() < COMPLAINTS_MAX {
            state.complaints.insert(words.to_owned(), times);
            warn!(forwarder = self.forwarder, "librdkafka: {words}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BrokerLogState> {
        // Every update leaves the state whole.
        self.state.lock()
    }
}

/// A complaint without what differs each time: the thread in front, the duration at the end.
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
        let journal = BrokerLog::new("kafka".into());
        for after in 0..5 {
            let words = format!("{REFUSED} (after {after}ms in state CONNECT)");
            let line = format!("[thrd:b:1/bootstrap]: {words}");
            journal.line(RDKafkaLogLevel::Error, "FAIL", &line);
            journal.error(Code::BrokerTransportFailure, &words);
        }
        assert_eq!(journal.lock().complaints, BTreeMap::from([(REFUSED.to_owned(), 5)]));
        journal.recovered();
        assert!(journal.lock().complaints.is_empty() && journal.cause().is_none());
    }

    #[test]
    fn the_cause_is_the_latest_error_that_tells_something() {
        let journal = BrokerLog::new("kafka".into());
        journal.error(Code::BrokerTransportFailure, REFUSED);
        journal.error(Code::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(journal.cause().unwrap().to_string(), REFUSED);
        journal.error(Code::Resolve, "b:1: Failed to resolve 'b:1': Name or service not known");
        assert_eq!(journal.cause().unwrap().code, Code::Resolve);
    }

    #[test]
    fn complaints_take_no_more_than_their_bound() {
        let journal = BrokerLog::new("kafka".into());
        for number in 0..1000 {
            journal.line(RDKafkaLogLevel::Warning, "X", &format!("complaint {number}"));
        }
        assert_eq!(journal.lock().complaints.len(), COMPLAINTS_MAX);
    }
}
