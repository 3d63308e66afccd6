//! Reads the latest records of a Kafka topic.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::listen::now_ms;
use super::recording::RecordedOutput;

/// Maximum time to wait for a broker.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads all records of the topic that are not older than `age`.
///
/// # Errors
/// A sentence, when the brokers do not answer or the topic does not exist.
pub(super) fn read(brokers: &str, topic: &str, age: Duration) -> Result<RecordedOutput, String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        // Required by the library. Nothing is committed, so that no other consumer is affected.
        .set("group.id", "tallyd-compare")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .create()
        .map_err(|error| format!("cannot read from Kafka: {error}"))?;
    let failed = |error| format!("{brokers}: cannot read the topic {topic}: {error}");
    let mut ends = ends(&consumer, topic, age).map_err(failed)?;
    let mut recording = RecordedOutput::default();
    let mut deadline = Instant::now() + PATIENCE;
    while ends.iter().any(|(_, next, end)| next < end) {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                deadline = Instant::now() + PATIENCE;
                let at = ends.iter_mut().find(|(partition, ..)| *partition == message.partition());
                let Some((_, next, end)) = at else { continue };
                *next = message.offset() + 1;
                let received = message.timestamp().to_millis().unwrap_or_else(now_ms);
                if let (Some(bytes), true) = (message.payload(), message.offset() < *end) {
                    recording.add_line(bytes, received);
                }
            }
            Some(Err(error)) => return Err(failed(error)),
            None if Instant::now() > deadline => {
                return Err(format!("{brokers}: no record of {topic} within {PATIENCE:?}"));
            }
            None => {}
        }
    }
    Ok(recording)
}

/// Assigns the partitions from the first record of this age. Returns the number, the first and the
/// end offset of each.
fn ends(
    consumer: &BaseConsumer,
    topic: &str,
    age: Duration,
) -> Result<Vec<(i32, i64, i64)>, rdkafka::error::KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().iter().find(|one| one.name() == topic);
    let partitions = found.map(rdkafka::metadata::MetadataTopic::partitions).unwrap_or_default();
    if partitions.is_empty() {
        let code = rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition;
        return Err(rdkafka::error::KafkaError::MetadataFetch(code));
    }
    let from_ms = now_ms() - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let mut times = TopicPartitionList::new();
    for partition in partitions {
        times.add_partition_offset(topic, partition.id(), Offset::Offset(from_ms.max(0)))?;
    }
    let starts = consumer.offsets_for_times(times, PATIENCE)?;
    let (mut assigned, mut ends) = (TopicPartitionList::new(), Vec::new());
    for start in starts.elements() {
        let (_, end) = consumer.fetch_watermarks(topic, start.partition(), PATIENCE)?;
        let first = match start.offset() {
            Offset::Offset(first) => first,
            // No record is that young.
            _ => end,
        };
        assigned.add_partition_offset(topic, start.partition(), Offset::Offset(first))?;
        ends.push((start.partition(), first, end));
    }
    consumer.assign(&assigned)?;
    Ok(ends)
}
