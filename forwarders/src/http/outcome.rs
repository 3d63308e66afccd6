//! The meaning of a reply for the payloads of its request.

use super::reply::HttpReply;
use super::status_class::StatusClass;

/// The meaning of a reply for the payloads of its request. Places count from 0 in the order of the
/// payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The server has all payloads.
    Delivered,
    /// The server has all payloads except some that it will never accept.
    Partial {
        /// How many the server refused, at least 1.
        refused: usize,
        /// The places of the payloads that the reply names, in order.
        named: Vec<usize>,
    },
    /// The server refuses the payloads at these places, and may have refused the others because of
    /// them.
    Named(Vec<usize>),
    /// The server refuses the request because of payloads that the reply does not name.
    Unnamed,
    /// The request is too large.
    TooLarge,
    /// Nothing is known about the payloads; the same request may pass later.
    Transient,
    /// Nothing is known about the payloads; an operator has to change something first.
    Operator,
}

impl RequestOutcome {
    /// The outcome by the status alone.
    #[must_use]
    pub fn of(reply: &HttpReply) -> Self {
        Self::from(reply.class())
    }

    /// The outcome without places that the request does not have. An outcome that names none of the
    /// payloads says no more than [`RequestOutcome::Unnamed`].
    pub(super) fn within(self, payloads: usize) -> Self {
        let known = |mut places: Vec<usize>| {
            places.retain(|place| *place < payloads);
            places
        };
        match self {
            Self::Named(places) => match known(places) {
                places if places.is_empty() => Self::Unnamed,
                places => Self::Named(places),
            },
            Self::Partial { refused, named } => Self::Partial { refused, named: known(named) },
            other => other,
        }
    }
}

impl From<StatusClass> for RequestOutcome {
    fn from(class: StatusClass) -> Self {
        match class {
            StatusClass::Success => Self::Delivered,
            StatusClass::InvalidData => Self::Unnamed,
            StatusClass::TooLarge => Self::TooLarge,
            StatusClass::Transient => Self::Transient,
            StatusClass::Operator => Self::Operator,
        }
    }
}
