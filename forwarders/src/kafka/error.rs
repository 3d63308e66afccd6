//! The errors of delivery, with the cause that the operator should look at.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use thiserror::Error;

use super::broker_log::Cause;
use super::error_class::DeliveryErrorClass;
use super::topic::TopicId;
use crate::delivery::forwarder::SendError;

/// The error for settings that librdkafka rejects as a whole.
#[derive(Debug, Error)]
#[error("librdkafka does not take the settings in `librdkafka` together: {0}")]
pub struct SettingsError(pub(super) String);

/// The worst failure in one call of `send`, and the number of failed records.
#[derive(Clone, Copy, Debug)]
pub(super) struct KafkaProblem {
    pub(super) class: DeliveryErrorClass,
    pub(super) code: Code,
    /// The topic of a record that failed in this way.
    pub(super) topic: TopicId,
    pub(super) records: usize,
}

impl KafkaProblem {
    /// Adds the failure of a record.
    pub(super) fn add(
        known: &mut Option<Self>,
        class: DeliveryErrorClass,
        code: Code,
        topic: TopicId,
    ) {
        let records = known.map_or(0, |problem| problem.records) + 1;
        match known {
            Some(problem) if problem.class >= class => problem.records = records,
            _ => *known = Some(Self { class, code, topic, records }),
        }
    }

    /// Returns the error for the delivery loop, with the latest error of the brokers.
    pub(super) fn into_error(self, topic: &str, cause: Option<Cause>) -> SendError {
        let Self { class, code, records, .. } = self;
        let words = format!("topic `{topic}`: {code} ({records} records)");
        match class {
            DeliveryErrorClass::Operator => SendError::operator(with_cause(words, cause)),
            _ => of_class(cause, words),
        }
    }
}

/// Returns the error for records that are not acknowledged in time: by the end of an attempt, or when
/// the library gives them up.
pub(super) fn late(records: usize, waited: Duration, cause: Option<Cause>) -> SendError {
    of_class(cause, format!("{records} records are not acknowledged after {waited:?}"))
}

/// Returns the error for a request about the topic that the brokers did not answer.
pub(super) fn no_answer(code: Code, brokers: &str, cause: Option<Cause>) -> SendError {
    of_class(cause, format!("the brokers at {brokers} cannot be reached: {code}"))
}

/// Returns the error for an answer of the brokers about the topic.
pub(super) fn topic(code: Code, topic: &str) -> SendError {
    let words = topic_words(code, topic);
    match DeliveryErrorClass::of(code) {
        DeliveryErrorClass::Operator => SendError::operator(words),
        _ => SendError::transient(words),
    }
}

/// Describes an answer of the brokers about the topic.
pub(super) fn topic_words(code: Code, topic: &str) -> String {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic => {
            format!("the topic `{topic}` does not exist on the brokers: {code}")
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            format!("tallyd may not write to the topic `{topic}`: {code}")
        }
        code if DeliveryErrorClass::of(code) == DeliveryErrorClass::Operator => {
            format!("the topic `{topic}` cannot be used: {code}")
        }
        code => format!("the topic `{topic}` cannot be used now: {code}"),
    }
}

/// Returns the error for a producer that failed for good; its class depends on the reason.
pub(super) fn fatal(code: Code, words: &str) -> SendError {
    let words = format!("the producer failed and is replaced: {words}");
    match DeliveryErrorClass::of(code) {
        DeliveryErrorClass::Operator => SendError::operator(words),
        _ => SendError::transient(words),
    }
}

/// Takes the class from the cause: with wrong credentials, the records only time out.
fn of_class(cause: Option<Cause>, words: String) -> SendError {
    let by_operator = cause.as_ref().is_some_and(Cause::is_for_operator);
    let words = with_cause(words, cause);
    if by_operator { SendError::operator(words) } else { SendError::transient(words) }
}

fn with_cause(words: String, cause: Option<Cause>) -> String {
    match cause {
        Some(cause) => format!("{words}: {cause}"),
        None => words,
    }
}
