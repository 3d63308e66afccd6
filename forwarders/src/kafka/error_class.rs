//! What an error code of Kafka means for a record.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::delivery::stats::reason;

/// How to go on with a record that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeliveryErrorClass {
    /// The brokers refuse the batch that it was in because of some record's content; the word is
    /// the ledger's for the record that it was.
    Content(&'static str),
    /// The brokers are away or busy.
    Transient,
    /// Somebody has to change something on the brokers or in the configuration.
    Operator,
    /// This producer will never deliver anything again.
    Fatal,
}

impl DeliveryErrorClass {
    /// Judges an error code, by exclusion: what is not known to be final is tried again.
    pub(super) fn of(code: Code) -> Self {
        match code {
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
