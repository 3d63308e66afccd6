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
//! the topic if they acknowledge nothing. `topics` selects the topic of each record, and
//! `running_totals` keeps totals for consumers of pystatsd's.

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
mod question;
mod running_totals;
mod section;
mod send;
#[cfg(test)]
mod tests;
mod topic;
mod topics;
mod window;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaType;

pub use config::{Brokers, KafkaConfig, RecordFormat, RecordKey};
pub use error::SettingsError;
pub use properties::Properties;
pub use topic::{Topic, TopicTemplate};

use crate::delivery::forwarder::{Forwarder, InvalidState, SavedState, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::format::influx::{self, LineNaming};
use crate::format::json;
use crate::format::otlp::{self, RecordSyntax};
use crate::format::pystatsd::{self, Envelope};
use model::{Point, Series, Snapshot};

use broker_log::BrokerLog;
use in_flight::InFlight;
use producer::Producer;
use question::TopicQuestion;
pub(crate) use running_totals::RunningTotalLimits;
use running_totals::{NoRoom, RunningTotals};
use topics::Topics;
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
/// The explanation for points that are dropped as `totals_full`.
const FULL_WORDS: &str = "there is no room for more totals (max_series)";

/// Sends each point as a record to a topic.
pub struct Kafka {
    brokers: String,
    topics: Topics,
    encoding: Encoding,
    /// `None` without `running_totals`.
    totals: Option<RunningTotals>,
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
    question: TopicQuestion,
}

/// The format and the key of records.
struct Encoding {
    format: RecordFormat,
    /// The names in line protocol.
    naming: LineNaming,
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
        let fallback = config.fallback_topic.as_ref().map(Topic::as_str);
        Ok(Self {
            brokers: config.kafka_broker.as_str().to_owned(),
            topics: Topics::new(&name, &config.kafka_topic, fallback, config.max_topics),
            totals: None,
            encoding: Encoding {
                format: config.format,
                naming: LineNaming::new(config.naming, &config.telegraf),
                sketches: config.sketches,
                key: config.key,
                envelope: Envelope::new(config.kafka_apikey.reveal(), &config.kafka_tenant_id)
                    .with_type(config.with_type),
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
            question: TopicQuestion::default(),
        })
    }

    /// Writes running totals instead of the counts of windows.
    pub(crate) fn with_running_totals(mut self, limits: RunningTotalLimits) -> Self {
        self.totals = Some(RunningTotals::new(limits));
        self
    }

    /// Refuses the payloads of points for whose total there is no room.
    fn refuse_without_total(&mut self, totals: &[Result<Option<f64>, NoRoom>], batch: &mut Batch) {
        for (id, _) in totals.iter().enumerate().filter(|(_, total)| total.is_err()) {
            self.in_flight.settled(id);
            batch.refused(id, reason::TOTALS_FULL, FULL_WORDS);
        }
    }

    /// Adds the attributes of this host to the resource in records of OTLP.
    pub(crate) fn with_resource(mut self, host: &[(String, String)]) -> Self {
        self.encoding.otlp = otlp::Records::new(otlp::resource(host));
        self
    }
}

#[async_trait]
impl Forwarder for Kafka {
    fn without_secrets<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        pystatsd::without_apikey(payload)
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        if self.in_flight.in_library() > 0 {
            // Happens only after a batch was abandoned. Its late reports would be taken for this
            // batch's.
            self.producer = None;
        }
        self.window.start(snapshot, &self.instance);
        let totals = self.totals.as_mut().map(|totals| totals.add(snapshot));
        let (window, topics) = (&mut self.window, &mut self.topics);
        match &totals {
            Some(totals) => self.encoding.encode_totals(snapshot, totals, batch, window, topics),
            None => self.encoding.encode(snapshot, batch, window, topics),
        }
        self.in_flight.reset(self.window.payloads());
        self.refuse_without_total(totals.as_deref().unwrap_or_default(), batch);
    }

    /// A request of `otlp_proto` as JSON.
    fn readable(&self, payload: &[u8]) -> Option<String> {
        (self.encoding.format == RecordFormat::OtlpProto).then(|| otlp::json(payload))?
    }

    /// Running totals count windows.
    fn wants_whole_window(&self, window: &Snapshot) -> bool {
        let Encoding { format, naming, .. } = &self.encoding;
        let merges = *format == RecordFormat::Influx && influx::may_merge(window, naming);
        merges || self.totals.is_some()
    }

    fn wants_idle_windows(&self) -> bool {
        self.totals.is_some()
    }

    fn save_state(&self, batch: &Batch, max: u64) -> Option<SavedState> {
        Some(self.totals.as_ref()?.save(batch, max))
    }

    fn restore_state(&mut self, state: &[u8], away: Duration) -> Result<(), InvalidState> {
        match &mut self.totals {
            Some(totals) => totals.restore(state, away),
            // `running_totals` was removed, so no total continues.
            None => Ok(()),
        }
    }

    fn fallback_records(&self) -> Option<Arc<AtomicU64>> {
        self.topics.fallback_records()
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
        let (topic, patience) = (self.topics.first().to_owned(), self.patience);
        let asked = tokio::task::spawn_blocking(move || {
            diagnosis::topic_error(&producer, &topic, patience)
        });
        match asked.await.map_err(SendError::transient)? {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(error::topic(code, self.topics.first())),
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
    /// Adds each record as a payload, and its kind and its topic to `window`.
    fn encode(
        &self,
        snapshot: &Snapshot,
        batch: &mut Batch,
        window: &mut KafkaWindow,
        topics: &mut Topics,
    ) {
        let mut push = |batch: &mut Batch, series: &Series, points, body: &dyn Fn(&mut Vec<u8>)| {
            window.push(series.kind(), topics.assign(series));
            batch.push(points, |out| self.key.write(out, series), body);
        };
        if self.format == RecordFormat::Influx {
            return influx::encode(snapshot, &self.naming, batch, |batch, line| {
                push(batch, line.series, line.points, &|out| line.write(out, snapshot));
            });
        }
        for point in &snapshot.points {
            push(batch, &point.series, 1, &|out| self.write_point(out, snapshot, point));
        }
    }

    /// As [`Encoding::encode`], with a total as the value of each point that has one.
    fn encode_totals(
        &self,
        snapshot: &Snapshot,
        totals: &[Result<Option<f64>, NoRoom>],
        batch: &mut Batch,
        window: &mut KafkaWindow,
        topics: &mut Topics,
    ) {
        for (point, total) in snapshot.points.iter().zip(totals) {
            let series = &point.series;
            window.push(series.kind(), topics.assign(series));
            let key = |out: &mut Vec<u8>| self.key.write(out, series);
            batch.push(1, key, |out| match total {
                Ok(Some(total)) => self.envelope.write_total(out, snapshot, series, *total),
                Ok(None) => self.envelope.write_point(out, snapshot, point),
                Err(NoRoom) => {}
            });
        }
    }

    fn write_point(&self, out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
        match self.format {
            RecordFormat::Pystatsd => self.envelope.write_point(out, snapshot, point),
            RecordFormat::Json if self.sketches => {
                json::write_point_with_sketch(out, snapshot, point);
            }
            RecordFormat::Json => json::write_point(out, snapshot, point),
            RecordFormat::Influx => influx::write_point(out, snapshot, point, &self.naming),
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
