//! Apache Kafka: one record per point.
//!
//! # Guarantees
//!
//! At least once: a point counts as delivered when the brokers have acknowledged its record, and
//! the idempotent producer of librdkafka keeps its own retries from writing a record twice. A
//! record is written twice only if its outcome cannot be known: no acknowledgement arrived before
//! the library gave up (`message.timeout.ms`) or failed as a whole. Readers that remove duplicates
//! find the headers [`INSTANCE_HEADER`], [`WINDOW_HEADER`] and [`KIND_HEADER`]. Together with the
//! key, they are the same in a duplicate and differ for all other records.
//!
//! # The path of a window
//!
//! ```text
//!  Waiting ──hand over──▶ Library ──report──▶ delivered, refused
//!    ▲                    │
//!    └──── gave up ───────┘
//! ```
//!
//! `in_flight` tracks the state of each payload. `send` hands over as many payloads as the
//! library's bounded queue takes, and notes reports as they arrive. When it is dropped half-way,
//! the library continues; the next `send` notes the reports since then and waits for the rest.
//! `bisect` finds the record because of which a batch is refused, `error_class` classifies errors,
//! `broker_log` keeps the library's messages about its brokers, and `diagnosis` asks the brokers about
//! the topic if they acknowledge nothing.

mod bisect;
mod broker_log;
mod config;
mod diagnosis;
mod error;
mod error_class;
mod in_flight;
mod key;
mod native;
mod producer;
mod properties;
mod section;
mod send;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaType;

pub use config::{Brokers, KafkaConfig, RecordFormat, RecordKey, Topic};
pub use error::SettingsError;
pub use properties::Properties;

use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::format::otlp::{self, RecordSyntax};
use crate::format::pystatsd::Envelope;
use crate::format::{influx, json};
use model::{MetricKind, Point, Series, Snapshot};

use broker_log::BrokerLog;
use in_flight::InFlight;
use producer::Producer;
use window::KafkaWindow;

/// Header with the id of the daemon's run that wrote the record.
pub const INSTANCE_HEADER: &str = "tallyd.instance";
/// Header with the end of the record's window, in Unix milliseconds.
pub const WINDOW_HEADER: &str = "tallyd.window";
/// Header with the kind of metric. Without it, a counter and a gauge with the same name and tags
/// would look like duplicates.
pub const KIND_HEADER: &str = "tallyd.kind";

/// How long the shutdown waits for the library's threads.
const FAREWELL: Duration = Duration::from_secs(1);
/// Sends each point as a record to a topic.
pub struct Kafka {
    brokers: String,
    topic: String,
    encoding: Encoding,
    instance: String,
    client: ClientConfig,
    /// How long one call of `send` waits for reports.
    patience: Duration,
    broker_log: Arc<BrokerLog>,
    /// `None` before the first window, and after a failure until the next attempt.
    producer: Option<Arc<Producer>>,
    in_flight: InFlight,
    window: KafkaWindow,
    rebuilds: u64,
}

/// The format and the key of records.
struct Encoding {
    format: RecordFormat,
    /// Whether JSON records have sketches.
    sketches: bool,
    key: RecordKey,
    envelope: Envelope,
    otlp: otlp::Records,
}

impl Kafka {
    /// Creates a destination that connects with its first window. `instance` identifies this run of
    /// the daemon.
    ///
    /// # Errors
    /// If librdkafka rejects the settings, such as two that conflict or a certificate that cannot
    /// be read. Unreachable brokers are not an error.
    pub fn new(config: KafkaConfig, instance: &str) -> Result<Self, SettingsError> {
        let mut client = config.librdkafka.client_config();
        // Before the brokers are set, so that the check connects to none.
        refuse_contradictions(&client)?;
        client.set("bootstrap.servers", config.kafka_broker.as_str());
        let name = config.name.unwrap_or_else(|| "kafka".to_owned());
        let timeout = config.delivery.timeout.get();
        Ok(Self {
            brokers: config.kafka_broker.as_str().to_owned(),
            topic: config.kafka_topic.as_str().to_owned(),
            encoding: Encoding {
                format: config.format,
                sketches: config.sketches,
                key: config.key,
                envelope: Envelope::new(config.kafka_apikey.reveal(), &config.kafka_tenant_id),
                otlp: otlp::Records::new(otlp::resource(&[])),
            },
            instance: instance.to_owned(),
            client,
            // Shorter than the delivery loop's limit, so that the attempt ends with the broker's
            // error and not with a plain timeout.
            patience: timeout - timeout / 10,
            broker_log: Arc::new(BrokerLog::new(name)),
            producer: None,
            in_flight: InFlight::default(),
            window: KafkaWindow::default(),
            rebuilds: 0,
        })
    }

    /// Adds the attributes of this host to the resource in records of OTLP.
    pub(crate) fn with_resource(mut self, host: &[(String, String)]) -> Self {
        self.encoding.otlp = otlp::Records::new(otlp::resource(host));
        self
    }
}

#[async_trait]
impl Forwarder for Kafka {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        if self.in_flight.in_library() > 0 {
            // Happens only after a batch was abandoned. Its late reports would be taken for this
            // batch's.
            self.producer = None;
        }
        self.window.start(snapshot, &self.instance);
        self.encoding.encode(snapshot, batch, self.window.kinds_mut());
        self.in_flight.reset(self.window.payloads());
    }

    /// A request of `otlp_proto` as JSON.
    fn readable(&self, payload: &[u8]) -> Option<String> {
        (self.encoding.format == RecordFormat::OtlpProto).then(|| otlp::json(payload))?
    }

    fn wants_whole_window(&self, window: &Snapshot) -> bool {
        self.encoding.format == RecordFormat::Influx && influx::may_merge(window)
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
        let asked = tokio::task::spawn_blocking(move || {
            diagnosis::topic_error(&producer, &topic, patience)
        });
        match asked.await.map_err(SendError::transient)? {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(error::topic(code, &self.topic)),
            Err(code) => Err(error::no_answer(code, &self.brokers, self.broker_log.cause())),
        }
    }
}

impl Drop for Kafka {
    /// Waits briefly for the library's threads, so that they do not outlive the process's data.
    fn drop(&mut self) {
        // Another owner of the producer (a probe) ends it when it is dropped.
        if let Some(mut producer) = self.producer.take().and_then(Arc::into_inner) {
            let _too_slow = producer.let_go().recv_timeout(FAREWELL);
        }
    }
}

impl Encoding {
    /// Adds each record as a payload, and its kind to `kinds`.
    fn encode(&self, snapshot: &Snapshot, batch: &mut Batch, kinds: &mut Vec<MetricKind>) {
        let mut push = |batch: &mut Batch, series: &Series, points, body: &dyn Fn(&mut Vec<u8>)| {
            kinds.push(series.kind());
            batch.push(points, |out| self.key.write(out, series), body);
        };
        if self.format == RecordFormat::Influx {
            return influx::encode(snapshot, batch, |batch, line| {
                push(batch, line.series, line.points, &|out| line.write(out, snapshot));
            });
        }
        for point in &snapshot.points {
            push(batch, &point.series, 1, &|out| self.write_point(out, snapshot, point));
        }
    }

    fn write_point(&self, out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
        match self.format {
            RecordFormat::Pystatsd => self.envelope.write_point(out, snapshot, point),
            RecordFormat::Json if self.sketches => {
                json::write_point_with_sketch(out, snapshot, point);
            }
            RecordFormat::Json => json::write_point(out, snapshot, point),
            RecordFormat::Influx => influx::write_point(out, snapshot, point),
            RecordFormat::OtlpProto => self.otlp.write(out, RecordSyntax::Proto, snapshot, point),
            RecordFormat::OtlpJson => self.otlp.write(out, RecordSyntax::Json, snapshot, point),
        }
    }
}

/// Lets librdkafka check the settings as a whole. Without brokers, so that nothing connects.
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
