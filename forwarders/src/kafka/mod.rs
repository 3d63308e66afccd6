//! Apache Kafka: one record a point.
//!
//! # What is promised
//!
//! At least once: a point counts as delivered when the brokers have acknowledged its record, and
//! the idempotent producer of librdkafka keeps its own retries from writing one twice. A record is
//! written twice only where nobody can know whether the first one arrived: its acknowledgement
//! never came, and the library gave it up (`message.timeout.ms`) or failed as a whole. Readers
//! that remove repeats find the headers [`INSTANCE_HEADER`], [`WINDOW_HEADER`] and [`KIND_HEADER`],
//! which together with the key are the same in a repeat and in no other record.
//!
//! # What happens to a window
//!
//! ```text
//!  Here ──hand over──▶ Library ──report──▶ delivered, refused
//!    ▲                    │
//!    └──── gave up ───────┘
//! ```
//!
//! `custody` remembers where each payload is. `send` hands over what is here, as much as the
//! library's bounded queue takes, and notes reports as they come. When it is dropped half-way, the
//! library goes on; the next `send` notes what was reported meanwhile and waits for the rest.
//! `sieve` finds the record for which a batch is refused, `verdict` says what an error means,
//! `journal` remembers what the library said of its brokers.

mod bisect;
mod broker_log;
mod config;
mod error;
mod error_class;
mod in_flight;
mod key;
mod producer;
mod properties;
mod section;
mod send;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::types::RDKafkaType;

pub use config::{Brokers, KafkaConfig, RecordFormat, RecordKey, Topic};
pub use error::SettingsError;
pub use properties::Properties;

use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::format::pystatsd::Envelope;
use crate::format::{influx, json};
use model::{MetricKind, Point, Snapshot};

use broker_log::BrokerLog;
use in_flight::Custody;
use producer::{Producer, code_of};

/// Header with the run of the daemon that wrote the record.
pub const INSTANCE_HEADER: &str = "tallyd.instance";
/// Header with the end of the record's window, in Unix milliseconds.
pub const WINDOW_HEADER: &str = "tallyd.window";
/// Header with the kind of metric, without which a counter and a gauge of one name and tags would
/// look like repeats of each other.
pub const KIND_HEADER: &str = "tallyd.kind";

/// How long the end of the daemon waits for the library's threads.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pause before a topic is asked for again that is perhaps just being created.
const TOPIC_PAUSE: Duration = Duration::from_millis(500);

/// Sends each point as a record to a topic.
pub struct Kafka {
    brokers: String,
    topic: String,
    encoding: Encoding,
    instance: String,
    client: ClientConfig,
    /// How long one `send` waits for reports.
    patience: Duration,
    journal: Arc<BrokerLog>,
    /// `None` until the first window, and between a failed producer and the next attempt.
    producer: Option<Arc<Producer>>,
    custody: Custody,
    window: Window,
    rebuilds: u64,
}

/// How a point becomes a record.
struct Encoding {
    format: RecordFormat,
    key: RecordKey,
    envelope: Envelope,
}

/// What the records of a window share.
#[derive(Default)]
struct Window {
    end_ms: u64,
    /// The kind of each payload.
    kinds: Vec<MetricKind>,
    headers: BTreeMap<MetricKind, OwnedHeaders>,
}

impl Kafka {
    /// A destination that connects with its first window; `instance` tells this run of the daemon
    /// from others.
    ///
    /// # Errors
    /// When librdkafka refuses the settings, such as two that exclude each other or a certificate
    /// that cannot be read. Brokers that are away are no error.
    pub fn new(config: KafkaConfig, instance: &str) -> Result<Self, SettingsError> {
        let mut client = config.librdkafka.client_config();
        refuse_contradictions(&client)?;
        client.set("bootstrap.servers", config.kafka_broker.as_str());
        let name = config.name.unwrap_or_else(|| "kafka".to_owned());
        let timeout = config.delivery.timeout.get();
        Ok(Self {
            brokers: config.kafka_broker.as_str().to_owned(),
            topic: config.kafka_topic.as_str().to_owned(),
            encoding: Encoding {
                format: config.format,
                key: config.key,
                envelope: Envelope::new(config.kafka_apikey.reveal(), &config.kafka_tenant_id),
            },
            instance: instance.to_owned(),
            client,
            // Less than the task's limit, so that the reason is this side's and not just the time.
            patience: timeout - timeout / 10,
            journal: Arc::new(BrokerLog::new(name)),
            producer: None,
            custody: Custody::default(),
            window: Window::default(),
            rebuilds: 0,
        })
    }
}

#[async_trait]
impl Forwarder for Kafka {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        if self.custody.in_library() > 0 {
            // Only after a batch that was given up. Its reports would be taken for this one's.
            self.producer = None;
        }
        self.custody.reset(snapshot.points.len());
        self.window.start(snapshot, &self.instance);
        for point in &snapshot.points {
            self.encoding.push(snapshot, point, batch);
        }
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        self.deliver(batch).await
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    async fn stop(&mut self, batch: &mut Batch) {
        self.collect(batch).await;
    }

    async fn probe(&mut self) -> Result<(), SendError> {
        let producer = self.producer()?;
        let (topic, patience) = (self.topic.clone(), self.patience);
        let asked = tokio::task::spawn_blocking(move || ask_for(&producer, &topic, patience));
        match asked.await.map_err(SendError::transient)? {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(error::topic(code, &self.topic)),
            Err(code) => Err(error::no_answer(code, &self.brokers, self.journal.cause())),
        }
    }
}

impl Drop for Kafka {
    /// Gives the library's threads a moment to end, so that they do not run into the end of the
    /// process.
    fn drop(&mut self) {
        if let Some(mut producer) = self.producer.take().and_then(Arc::into_inner) {
            let _too_slow = producer.let_go().recv_timeout(FAREWELL);
        }
    }
}

impl Encoding {
    /// Appends a point's record.
    fn push(&self, snapshot: &Snapshot, point: &Point, batch: &mut Batch) {
        let key = |out: &mut Vec<u8>| self.key.write(out, &point.series);
        let body = |out: &mut Vec<u8>| match self.format {
            RecordFormat::Pystatsd => self.envelope.write_point(out, snapshot, point),
            RecordFormat::Json => json::write_point(out, snapshot, point),
            RecordFormat::Influx => influx::write_point(out, snapshot, point),
        };
        batch.push(1, key, body);
    }
}

impl Window {
    fn start(&mut self, snapshot: &Snapshot, instance: &str) {
        self.end_ms = snapshot.window.end_ms;
        self.kinds.clear();
        self.kinds.extend(snapshot.points.iter().map(|point| point.series.kind()));
        let end_ms = self.end_ms.to_string();
        let instance = snapshot.instance.as_deref().unwrap_or(instance);
        let headers = |kind: MetricKind| {
            OwnedHeaders::new_with_capacity(3)
                .insert(Header { key: INSTANCE_HEADER, value: Some(instance) })
                .insert(Header { key: WINDOW_HEADER, value: Some(&end_ms) })
                .insert(Header { key: KIND_HEADER, value: Some(kind.as_str()) })
        };
        self.headers = MetricKind::ALL.into_iter().map(|kind| (kind, headers(kind))).collect();
    }
}

/// Has librdkafka judge the settings as a whole. Without brokers, so that nothing is connected.
fn refuse_contradictions(settings: &ClientConfig) -> Result<(), SettingsError> {
    let words = |error| match error {
        KafkaError::ClientConfig(_, words, ..) | KafkaError::ClientCreation(words) => words,
        other => other.to_string(),
    };
    let native = settings.create_native_config().map_err(words).map_err(SettingsError)?;
    let kind = RDKafkaType::RD_KAFKA_PRODUCER;
    match Client::new(settings, native, kind, DefaultClientContext) {
        Ok(_) => Ok(()),
        Err(error) => Err(SettingsError(words(error))),
    }
}

/// Asks the brokers what is wrong with a topic; once more where it is perhaps just being created,
/// as the question itself may cause.
fn ask_for(producer: &Producer, topic: &str, timeout: Duration) -> Result<Option<Code>, Code> {
    let ask = || producer.topic_error(topic, timeout).map_err(|error| code_of(&error));
    match ask()? {
        Some(Code::UnknownTopicOrPartition | Code::LeaderNotAvailable) => {
            std::thread::sleep(TOPIC_PAUSE);
            ask()
        }
        answer => Ok(answer),
    }
}
