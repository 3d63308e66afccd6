//! The data that the records of a window share.

use std::collections::BTreeMap;

use model::{MetricKind, Snapshot};

use super::native::RecordHeaders;
use super::topics::PayloadTopic;
use super::{INSTANCE_HEADER, KIND_HEADER, WINDOW_HEADER};

/// Maximum number of spare headers of a kind: a part of a window has no more records.
const SPARE_HEADERS_MAX: usize = 8_192;

/// The window that is being delivered.
#[derive(Default)]
pub(super) struct KafkaWindow {
    end_ms: u64,
    instance: String,
    /// The kind of each payload of the batch, by id.
    kinds: Vec<MetricKind>,
    /// The topic of each payload, by id; empty if there is only one topic.
    topics: Vec<PayloadTopic>,
    headers: BTreeMap<MetricKind, KindHeaders>,
}

/// The headers of all records of one kind.
struct KindHeaders {
    original: RecordHeaders,
    /// Copies that came back with a report. librdkafka needs separate headers for each record, which
    /// take five allocations.
    spare: Vec<RecordHeaders>,
}

impl KafkaWindow {
    /// Starts a batch of a window, which may be a further part of the same window. `instance` is this
    /// run of the daemon.
    pub(super) fn start(&mut self, snapshot: &Snapshot, instance: &str) {
        self.kinds.clear();
        self.topics.clear();
        // A window from the spool keeps the run that flushed it, so that a duplicate has the same
        // header.
        let instance = snapshot.instance.as_deref().unwrap_or(instance);
        let is_next_part = self.end_ms == snapshot.window.end_ms && self.instance == instance;
        if is_next_part && !self.headers.is_empty() {
            return;
        }
        self.end_ms = snapshot.window.end_ms;
        instance.clone_into(&mut self.instance);
        let end_ms = self.end_ms.to_string();
        let headers = |kind: MetricKind| {
            let original = RecordHeaders::new(&[
                (INSTANCE_HEADER, instance),
                (WINDOW_HEADER, &end_ms),
                (KIND_HEADER, kind.as_str()),
            ]);
            (kind, KindHeaders { original, spare: Vec::new() })
        };
        self.headers = MetricKind::ALL.into_iter().map(headers).collect();
    }

    /// Returns the end of the window in Unix milliseconds.
    pub(super) fn end_ms(&self) -> u64 {
        self.end_ms
    }

    /// Adds a payload with its kind and, unless there is only one topic, its topic.
    pub(super) fn push(&mut self, kind: MetricKind, topic: Option<PayloadTopic>) {
        self.kinds.push(kind);
        self.topics.extend(topic);
    }

    /// Returns the topic of a payload.
    pub(super) fn topic(&self, id: usize) -> PayloadTopic {
        self.topics.get(id).copied().unwrap_or_default()
    }

    /// Changes the topic of a payload.
    pub(super) fn set_topic(&mut self, id: usize, topic: PayloadTopic) {
        if let Some(current) = self.topics.get_mut(id) {
            *current = topic;
        }
    }

    /// Returns the number of payloads.
    pub(super) fn payloads(&self) -> usize {
        self.kinds.len()
    }

    /// Returns headers for the record of a payload.
    pub(super) fn headers(&mut self, id: usize) -> RecordHeaders {
        let KindHeaders { original, spare } = self.of_payload(id);
        spare.pop().unwrap_or_else(|| original.clone())
    }

    /// Takes the headers of a reported record, for another record of the window.
    pub(super) fn take_back(&mut self, id: usize, headers: RecordHeaders) {
        let KindHeaders { spare, .. } = self.of_payload(id);
        if spare.len() < SPARE_HEADERS_MAX {
            spare.push(headers);
        }
    }

    fn of_payload(&mut self, id: usize) -> &mut KindHeaders {
        self.headers.get_mut(&self.kinds[id]).expect("every kind has headers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::testing::snapshot_of;

    #[test]
    fn headers_of_a_reported_record_serve_another_one_of_its_kind_until_the_window_ends() {
        let mut window = KafkaWindow::default();
        let mut snapshot = snapshot_of(vec![]);
        window.start(&snapshot, "run-1");
        window.push(MetricKind::Counter, None);
        window.push(MetricKind::Gauge, None);
        let first = window.headers(0);
        let address = format!("{first:?}");
        window.take_back(0, first);
        assert_ne!(format!("{:?}", window.headers(1)), address, "a gauge");
        // The next part.
        window.start(&snapshot, "run-1");
        window.push(MetricKind::Gauge, None);
        window.push(MetricKind::Counter, None);
        let second = window.headers(1);
        assert_eq!(format!("{second:?}"), address);
        window.take_back(1, second);
        for (end_ms, instance) in [(1, "run-1"), (1, "run-2")] {
            snapshot.window.end_ms = end_ms;
            window.start(&snapshot, instance);
            window.push(MetricKind::Counter, None);
            assert!(window.headers.values().all(|headers| headers.spare.is_empty()), "{instance}");
            let headers = window.headers(0);
            window.take_back(0, headers);
        }
    }
}
