//! A mock cluster, a forwarder that writes to it and a consumer that reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant as Clock;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(super) use std::time::Duration;

pub(super) use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
pub(super) use tokio::time::Instant;

pub(super) use crate::delivery::forwarder::ErrorClass;
pub(super) use crate::delivery::payload::Settled;
pub(super) use crate::delivery::stats::Counts;

use crate::config::{Common, DeliveryConfig};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::Forwarder;
use crate::delivery::handle::{DestinationHandle, QueueHandle};
use crate::delivery::payload::Batch;
use crate::delivery::settings::ForwarderSettings;
use crate::kafka::{Kafka, KafkaConfig};
use crate::select::SelectConfig;
use model::{IdleLimits, Snapshot};

pub(super) type Cluster = MockCluster<'static, DefaultProducerContext>;

pub(super) const TOPIC: &str = "metrics";
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Settings of a destination whose attempts take at most half a second.
pub(super) const SHORT: &str = r#""delivery": {"timeout": "500ms"}"#;

/// Time limit of every wait, reached only if the test hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a mock cluster with one broker and the topic.
pub(super) fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster
}

/// Parses a section with additional settings.
pub(super) fn config(brokers: &str, settings: &str) -> KafkaConfig {
    let comma = if settings.is_empty() { "" } else { "," };
    let json =
        format!(r#"{{"kafka_broker": "{brokers}", "kafka_topic": "{TOPIC}"{comma}{settings}}}"#);
    serde_json::from_str(&json).unwrap()
}

/// Creates a forwarder that writes to the cluster.
pub(super) fn kafka(cluster: &Cluster, settings: &str) -> Kafka {
    Kafka::new(config(&cluster.bootstrap_servers(), settings), "run-1").unwrap()
}

/// Encodes a snapshot and sends it until it is settled, like the delivery loop but without pauses.
pub(super) async fn deliver(kafka: &mut Kafka, snapshot: &Snapshot) -> Settled {
    let mut batch = Batch::default();
    kafka.encode(snapshot, &mut batch);
    let sending = async { while kafka.send(&mut batch).await.is_err() {} };
    tokio::time::timeout(PATIENCE, sending).await.unwrap();
    assert!(batch.is_settled());
    batch.take_settled()
}

/// A forwarder that runs in its task.
pub(super) struct Running {
    queue: QueueHandle,
    known: DestinationHandle,
    deadline: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

/// Starts a forwarder with short pauses and a time limit per attempt.
pub(super) fn start(kafka: Kafka, attempt_max: Duration) -> Running {
    let delivery: DeliveryConfig =
        serde_json::from_str(r#"{"retry": {"initial": "10ms", "max": "50ms"}}"#).unwrap();
    let common = Common {
        name: "kafka".into(),
        select: SelectConfig::default(),
        idle: IdleLimits::default(),
        delivery,
    };
    let forwarder = Box::new(kafka);
    let destination = Destination {
        kind: "kafka",
        index: 0,
        common,
        settings: ForwarderSettings::new(0_u32),
        forwarder,
        attempt_max: Some(attempt_max),
    };
    let (queue, known, task) = destination.split();
    let (deadline, watched) = watch::channel(None);
    Running {
        queue,
        known,
        deadline,
        task: tokio::spawn(async move { drop(task.run(watched).await) }),
    }
}

impl Running {
    pub(super) fn push(&self, snapshot: Snapshot) {
        self.queue.push(&std::sync::Arc::new(snapshot));
    }

    /// Returns the destination's ledger.
    pub(super) fn counts(&self) -> Counts {
        self.known.stats().counts()
    }

    /// Waits until the ledger satisfies a condition.
    pub(super) async fn until(&self, shown: impl Fn(&Counts) -> bool) {
        let start = Clock::now();
        while !shown(&self.counts()) {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.counts());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the input, waits for the task and returns its ledger.
    pub(super) async fn finish(self) -> Counts {
        let stats = std::sync::Arc::clone(self.known.stats());
        drop(self.queue);
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        drop(self.deadline);
        stats.counts()
    }
}

/// A record as a reader of the topic sees it.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) partition: i32,
    pub(super) key: Option<String>,
    pub(super) body: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) timestamp: Option<i64>,
}

/// Reads all records of the topic.
pub(super) fn read(cluster: &Cluster) -> Vec<Read> {
    read_topic(&cluster.bootstrap_servers(), TOPIC)
}

/// Reads all records of a topic in any cluster.
pub(super) fn read_topic(brokers: &str, topic: &str) -> Vec<Read> {
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut unread: BTreeSet<i32> =
        metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    let mut assigned = TopicPartitionList::new();
    for partition in &unread {
        assigned.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assigned).unwrap();
    let mut records = Vec::new();
    while !unread.is_empty() {
        match consumer.poll(PATIENCE).expect("an answer") {
            Ok(message) => records.push(record(&message)),
            Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => {
                unread.remove(&partition);
            }
            Err(error) => panic!("{error}"),
        }
    }
    records
}

fn record(message: &BorrowedMessage<'_>) -> Read {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Read {
        partition: message.partition(),
        key: message.key().map(text),
        body: message.payload().map(text).unwrap(),
        headers: headers.map(|header| (header.key.into(), text(header.value.unwrap()))).collect(),
        timestamp: message.timestamp().to_millis(),
    }
}

/// Asserts that there are `expected` records, each with a different key.
pub(super) fn assert_each_key_once(records: &[Read], expected: usize) {
    let keys: BTreeSet<_> = records.iter().map(|record| record.key.as_deref().unwrap()).collect();
    assert_eq!((records.len(), keys.len()), (expected, expected), "records, different keys");
}
