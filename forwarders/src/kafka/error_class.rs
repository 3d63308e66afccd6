//! Classifies Kafka's error codes by their consequence for a record.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::delivery::stats::reason;

/// The consequence of an error code for a record that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeliveryErrorClass {
    /// The brokers refuse a batch because of the content of one of its records. The word is the
    /// ledger's reason for that record.
    Content(&'static str),
    /// The brokers are unavailable or busy.
    Transient,
    /// The operator must change something on the brokers or in the configuration.
    Operator,
    /// This producer will never deliver a record again.
    Fatal,
}

impl DeliveryErrorClass {
    /// Classifies an error code; every code that is not known to be final is transient.
    pub(super) fn of(code: Code) -> Self {
        match code {
            // Only this class can end with a refused point, so a code belongs here only if no retry
            // can succeed.
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
                Self::Content(reason::TOO_LARGE)
            }
            Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidMessageSize
            | Code::UnsupportedForMessageFormat => Self::Content(reason::REFUSED),
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled
            | Code::UnacceptableCredential
            | Code::InvalidRequiredAcks
            | Code::UnsupportedCompressionType
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidConfig
            | Code::PolicyViolation => Self::Operator,
            // Every retry through the same producer fails: its id or its sequence numbers are no
            // longer valid.
            Code::Fatal
            | Code::OutOfOrderSequenceNumber
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::ProducerFenced
            | Code::Fenced
            | Code::GaplessGuarantee => Self::Fatal,
            _ => Self::Transient,
        }
    }
}
