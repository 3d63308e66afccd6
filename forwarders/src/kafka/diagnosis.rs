//! Asks the brokers about the topic if they acknowledge nothing, and about each topic of a template
//! before its first record.
//!
//! The library keeps records for a topic that does not exist, because it may just be being created,
//! and reports them half a minute later as timed out. Only a question about the topic shows the
//! reason.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::Instant;
use tracing::debug;

use super::Kafka;
use super::error;
use super::producer::{Producer, code_of};
use super::topics::TopicId;
use crate::delivery::forwarder::SendError;

/// Pause before a second question about a topic that may just be being created.
const TOPIC_PAUSE: Duration = Duration::from_millis(500);
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
    match ask()? {
        Some(Code::UnknownTopicOrPartition | Code::LeaderNotAvailable) => {
            thread::sleep(TOPIC_PAUSE);
            ask()
        }
        answer => Ok(answer),
    }
}

/// Asks the brokers about several topics, until one request is not answered. Returns the answers.
/// Blocks.
fn topic_errors(
    producer: &Producer,
    topics: &[(TopicId, String)],
    timeout: Duration,
) -> Vec<(TopicId, Option<Code>)> {
    let ask =
        |(id, name): &(TopicId, String)| Some((*id, producer.topic_error(name, timeout).ok()?));
    let mut answers: Vec<_> = topics.iter().map_while(ask).collect();
    let may_be_created = |answer: &(TopicId, Option<Code>)| {
        matches!(answer.1, Some(Code::UnknownTopicOrPartition | Code::LeaderNotAvailable))
    };
    // One pause for all topics that the first requests may have created.
    if answers.iter().any(may_be_created) {
        thread::sleep(TOPIC_PAUSE);
        for (answer, topic) in answers.iter_mut().zip(topics) {
            if may_be_created(answer) {
                *answer = ask(topic).unwrap_or(*answer);
            }
        }
    }
    answers
}

impl Kafka {
    /// Asks the brokers about the topics that they have not accepted yet. Topics without an answer
    /// are asked about again with the next attempt; until then, the library keeps their records.
    pub(super) async fn ask_about_new_topics(&mut self) -> Result<(), SendError> {
        let topics = self.topics.to_ask(Instant::now());
        if topics.is_empty() {
            return Ok(());
        }
        let (producer, timeout) = (self.producer()?, self.patience / 4);
        let asked = tokio::task::spawn_blocking(move || topic_errors(&producer, &topics, timeout));
        for (id, error) in asked.await.map_err(SendError::transient)? {
            match error {
                None => self.topics.usable(id),
                Some(code) => {
                    self.topics.rejected(id, code, Instant::now());
                }
            }
        }
        Ok(())
    }

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
