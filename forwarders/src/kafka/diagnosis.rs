//! Asks the brokers about the topic if they acknowledge nothing.
//!
//! The library keeps records for a topic that does not exist, because it may just be being created,
//! and reports them half a minute later as timed out. Only a question about the topic shows the
//! reason.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use tracing::debug;

use super::Kafka;
use super::error;
use super::producer::{Producer, code_of};

/// Pause before a second question about a topic that may just be being created.
pub(super) const TOPIC_PAUSE: Duration = Duration::from_millis(500);
/// Longest time in an attempt without a report after which the brokers are asked about the topic.
const ASK_AFTER_MAX: Duration = Duration::from_secs(2);

/// The time in an attempt without a report after which the brokers are asked about the topic.
pub(super) fn ask_after(patience: Duration) -> Duration {
    (patience / 2).min(ASK_AFTER_MAX)
}

/// Asks the brokers for the error of a topic. Asks again if the topic may just be being created,
/// which the question itself can cause. Blocks.
pub(super) fn topic_error(
    producer: &Producer,
    topic: &str,
    timeout: Duration,
) -> Result<Option<Code>, Code> {
    let ask = || producer.topic_error(topic, timeout).map_err(|error| code_of(&error));
    let answer = ask()?;
    if may_be_created(answer) {
        thread::sleep(TOPIC_PAUSE);
        return ask();
    }
    Ok(answer)
}

/// Whether a topic with this answer may just be being created, which the question itself can cause.
pub(super) fn may_be_created(answer: Option<Code>) -> bool {
    matches!(answer, Some(Code::UnknownTopicOrPartition | Code::LeaderNotAvailable))
}

impl Kafka {
    /// Asks the brokers about the topic on a separate thread, because the question blocks. The log
    /// of the brokers gets the answer, and the error of the attempt names it.
    pub(super) fn ask_about_topic(&self, producer: &Arc<Producer>) {
        let (producer, broker_log) = (Arc::clone(producer), Arc::clone(&self.broker_log));
        let (topic, timeout) = (self.topics.first().to_owned(), self.patience / 4);
        let ask = move || match topic_error(&producer, &topic, timeout) {
            Ok(None) => broker_log.topic_is_usable(),
            Ok(Some(code)) => broker_log.topic(code, &error::topic_words(code, &topic)),
            Err(code) => {
                // The library reports separately why it cannot reach a broker.
                debug!(forwarder = broker_log.forwarder(), %code, "no answer about the topic");
            }
        };
        if thread::Builder::new().name("kafka-ask".into()).spawn(ask).is_err() {
            debug!("no thread to ask about the topic");
        }
    }
}
