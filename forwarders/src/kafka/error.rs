//! Why records were not delivered, in words that tell what to look at.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use thiserror::Error;

use super::broker_log::Cause;
use super::error_class::DeliveryErrorClass;
use crate::delivery::forwarder::SendError;

/// Why the settings cannot be used.
#[derive(Debug, Error)]
#[error("librdkafka does not take the settings in `librdkafka` together: {0}")]
pub struct SettingsError(pub(super) String);

/// What went wrong in one `send`: the worst of it, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct KafkaProblem {
    pub(super) verdict: DeliveryErrorClass,
    pub(super) code: Code,
    pub(super) records: usize,
}

impl KafkaProblem {
    /// Adds the failure of a record to what is known.
    pub(super) fn add(known: &mut Option<Self>, verdict: DeliveryErrorClass, code: Code) {
        let records = known.map_or(0, |trouble| trouble.records) + 1;
        match known {
            Some(trouble) if trouble.verdict >= verdict => trouble.records = records,
            _ => *known = Some(Self { verdict, code, records }),
        }
    }

    /// The error for the task, with what the library said last of its brokers.
    pub(super) fn into_error(self, topic: &str, cause: Option<Cause>) -> SendError {
        let Self { verdict, code, records } = self;
        let words = format!("topic `{topic}`: {code} ({records} records)");
        match verdict {
            DeliveryErrorClass::Operator => SendError::operator(with_cause(words, cause)),
            _ => of_class(cause, words),
        }
    }
}

/// Reports are still owed when the time for one attempt is up.
pub(super) fn late(records: usize, waited: Duration, cause: Option<Cause>) -> SendError {
    of_class(cause, format!("{records} records are not acknowledged after {waited:?}"))
}

/// The brokers did not answer a question about the topic.
pub(super) fn no_answer(code: Code, brokers: &str, cause: Option<Cause>) -> SendError {
    of_class(cause, format!("the brokers at {brokers} cannot be reached: {code}"))
}

/// What the brokers said about the topic.
pub(super) fn topic(code: Code, topic: &str) -> SendError {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic => SendError::operator(format!(
            "the topic `{topic}` does not exist on the brokers: {code}"
        )),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            SendError::operator(format!("tallyd may not write to the topic `{topic}`: {code}"))
        }
        code if DeliveryErrorClass::of(code) == DeliveryErrorClass::Operator => {
            SendError::operator(format!("the topic `{topic}` cannot be used: {code}"))
        }
        code => SendError::transient(format!("the topic `{topic}` cannot be used now: {code}")),
    }
}

/// The producer failed for good; what to do depends on why.
pub(super) fn fatal(code: Code, words: &str) -> SendError {
    let words = format!("the producer failed and is replaced: {words}");
    match DeliveryErrorClass::of(code) {
        DeliveryErrorClass::Operator => SendError::operator(words),
        _ => SendError::transient(words),
    }
}

/// Wrong credentials show only in the cause: for the records it is all time-outs.
fn of_class(cause: Option<Cause>, words: String) -> SendError {
    let by_operator = cause
        .as_ref()
        .is_some_and(|cause| DeliveryErrorClass::of(cause.code) == DeliveryErrorClass::Operator);
    let words = with_cause(words, cause);
    if by_operator { SendError::operator(words) } else { SendError::transient(words) }
}

fn with_cause(words: String, cause: Option<Cause>) -> String {
    match cause {
        Some(cause) => format!("{words}: {cause}"),
        None => words,
    }
}
