//! Classifies HTTP statuses by their meaning for the data of the request.

use httpclient::reqwest::StatusCode;

/// The meaning of a status for the data that was sent. Data is dropped only for a status that is
/// final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// The server accepted the data.
    Success,
    /// The server permanently refuses the data because of its content.
    InvalidData,
    /// The request is too large; the server may accept smaller ones.
    TooLarge,
    /// The server is unavailable or busy; it may accept the same request later.
    Transient,
    /// An operator has to change something first, here or on the server.
    Operator,
}

impl StatusClass {
    /// Classifies a status.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Success,
            400 | 422 => Self::InvalidData,
            413 => Self::TooLarge,
            408 | 425 | 429 => Self::Transient,
            // The server does not support POST or HTTP/1.1: the URL points to the wrong server.
            501 | 505 => Self::Operator,
            500..=599 => Self::Transient,
            // Redirects, credentials, a wrong path: the cause is in a configuration, here or on the
            // server, and not in the data, which is therefore kept.
            _ => Self::Operator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_class() {
        for (statuses, class) in [
            (&[200, 202, 204][..], StatusClass::Success),
            (&[400, 422], StatusClass::InvalidData),
            (&[413], StatusClass::TooLarge),
            (&[408, 425, 429, 500, 502, 503, 504, 507, 599], StatusClass::Transient),
            (
                &[301, 302, 307, 308, 401, 403, 404, 405, 407, 410, 411, 415, 431, 501, 505],
                StatusClass::Operator,
            ),
        ] {
            for status in statuses {
                let of = StatusClass::of(StatusCode::from_u16(*status).unwrap());
                assert_eq!(of, class, "{status}");
            }
        }
    }
}
