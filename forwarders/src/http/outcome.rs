//! The outcome of a request for each of its payloads.

use super::status_class::StatusClass;

/// The outcome of a request for its payloads. A place is the index of a payload in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The server accepted all payloads.
    Delivered,
    /// The server accepted all payloads except some that it permanently refuses.
    Partial {
        /// The number of payloads that the server refused, at least 1.
        refused: usize,
        /// The places of the refused payloads that the reply names, in order.
        named: Vec<usize>,
    },
    /// The server permanently refuses the payloads at these places. It may have refused the others
    /// only because of them.
    Named(Vec<usize>),
    /// The server refuses the request because of payloads that the reply does not name.
    Unnamed,
    /// The request is too large.
    TooLarge,
    /// It is unknown which payloads the server accepted. It may accept the same request later.
    Transient,
    /// It is unknown which payloads the server accepted. An operator has to change something first.
    Operator,
}

impl RequestOutcome {
    /// Removes places that do not exist in a request of `payloads` payloads. An outcome that then
    /// names no payload becomes [`RequestOutcome::Unnamed`].
    pub(super) fn within(self, payloads: usize) -> Self {
        // Places come from the text of a server, which can be wrong.
        let known = |mut places: Vec<usize>| {
            places.retain(|place| *place < payloads);
            places
        };
        match self {
            Self::Named(places) => match known(places) {
                // Would settle nothing: the same request would be sent again and again.
                places if places.is_empty() => Self::Unnamed,
                places => Self::Named(places),
            },
            Self::Partial { refused, named } => Self::Partial { refused, named: known(named) },
            other => other,
        }
    }
}

/// The outcome according to the class of the reply alone.
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
