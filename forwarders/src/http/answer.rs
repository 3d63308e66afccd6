//! The answer to a request: a reply, or a connection that broke.

use super::error::HttpError;
use super::outcome::RequestOutcome;
use super::reply::HttpReply;
use super::status_class::StatusClass;
use crate::delivery::forwarder::SendError;

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// A complete reply, and its outcome for the payloads of the request.
    Reply(HttpReply, RequestOutcome),
    /// The connection broke before the reply was complete.
    Broken(HttpError),
}

impl Answer {
    /// The outcome for the payloads of the request.
    pub(super) fn outcome(&self) -> RequestOutcome {
        match self {
            Self::Reply(_, outcome) => outcome.clone(),
            Self::Broken(_) => RequestOutcome::Transient,
        }
    }

    /// Whether the connection broke.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// Whether the server asks for patience, so that the request is not at fault.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Reply(reply, _) if reply.is_busy())
    }

    /// The text about the request for the log; empty if all of it was accepted.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Reply(_, RequestOutcome::Delivered) => String::new(),
            Self::Reply(reply, _) => reply.words(),
            Self::Broken(error) => error.to_string(),
        }
    }

    /// Converts an answer that neither accepts nor refuses the request into the error of the
    /// attempt.
    pub(super) fn into_error(self) -> SendError {
        match self {
            Self::Reply(reply, RequestOutcome::Transient) => {
                reply.into_error(StatusClass::Transient, rand::random())
            }
            Self::Reply(reply, _) => reply.into_error(StatusClass::Operator, 0.0),
            Self::Broken(error) => error.into(),
        }
    }
}
