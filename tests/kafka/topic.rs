//! Reads a topic of a real broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use serde_json::Value;

use common::PATIENCE;

/// Reads a topic from its beginning until `enough` returns true for the keys and values so far.
pub(crate) fn read_back(
    broker: &str,
    topic: &str,
    enough: impl FnMut(&[(String, Value)]) -> bool,
) -> Vec<(String, Value)> {
    read_within(PATIENCE, broker, topic, enough)
}

/// Like [`read_back`], but fails after this time.
pub(crate) fn read_within(
    patience: Duration,
    broker: &str,
    topic: &str,
    mut enough: impl FnMut(&[(String, Value)]) -> bool,
) -> Vec<(String, Value)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", format!("test-{topic}"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let deadline = Instant::now() + patience;
    let mut records = Vec::new();
    while !enough(&records) {
        assert!(Instant::now() < deadline, "only {} records came", records.len());
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
            let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
            let value = serde_json::from_slice(record.payload().unwrap()).unwrap();
            records.push((key, value));
        }
    }
    records
}
