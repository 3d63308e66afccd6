//! The errors of the HTTP client.

use std::io;
use std::time::Duration;

use httpclient::reqwest;
use thiserror::Error;

use super::tls::TlsError;
use crate::delivery::forwarder::SendError;

/// Why a client cannot be set up.
#[derive(Debug, Error)]
pub enum HttpSetupError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credentials cannot be sent.
    #[error("the credentials hold a character that cannot be in an HTTP header")]
    Authorization,
    /// The HTTP or TLS library rejects its settings.
    #[error("the HTTP client cannot be set up: {0}")]
    Library(#[from] io::Error),
}

/// Why no complete reply arrived.
#[derive(Debug, Error)]
pub enum HttpError {
    /// No connection: nothing listens, the name is unknown, or the certificate is not trusted.
    #[error("cannot connect to {to}: {reason}")]
    Connect {
        /// Scheme, host and port.
        to: String,
        /// The error of the system or the TLS library.
        reason: String,
    },
    /// The connection broke before the reply was complete.
    #[error("no complete reply from {to}: {reason}")]
    Broken {
        /// Scheme, host and port.
        to: String,
        /// The error of the connection.
        reason: String,
    },
    /// The reply took too long.
    #[error("no reply from {to} within {limit:?} ({key})")]
    TimedOut {
        /// Scheme, host and port.
        to: String,
        /// The time limit.
        limit: Duration,
        /// The configuration key that sets the limit.
        key: &'static str,
    },
}

impl HttpError {
    /// Converts an error of the library. Its URL is left out, because parameters may contain
    /// secrets.
    pub(super) fn of(to: String, error: &reqwest::Error) -> Self {
        let reason = httpclient::reason(error);
        if error.is_connect() { Self::Connect { to, reason } } else { Self::Broken { to, reason } }
    }
}

impl From<HttpError> for SendError {
    /// Every cause of a missing reply may be gone at the next attempt, so the error is transient.
    fn from(error: HttpError) -> Self {
        Self::transient(error)
    }
}
