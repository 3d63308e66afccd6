//! A client of the admin endpoint of a running daemon.

use std::io;

use api::path::AdminPath;
use api::rejected::{RejectedEntry, RejectedList};
use api::reload::ReloadForecast;
use api::status::Status;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::http::{AnswerError, HttpConnector};

/// Why the admin endpoint gives no reply.
#[derive(Debug, Error)]
pub(crate) enum LedgerError {
    /// The URL is invalid.
    #[error("`{0}` is not the address of an admin endpoint: use http://HOST:PORT, without TLS")]
    Url(String),
    /// The request failed.
    #[error("cannot get status from {url}: {source}; start a daemon with `tallyd run`")]
    Request {
        url: String,
        #[source]
        source: AnswerError,
    },
    /// The reply cannot be read.
    #[error("{url} is not a compatible tallyd: {source}")]
    Answer {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    /// The system refuses a client.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A client of the admin endpoint of one daemon.
#[derive(Debug)]
pub(crate) struct AdminClient {
    http: HttpConnector,
    url: String,
}

impl AdminClient {
    /// A client of `http://host:port`, or just `host:port`.
    ///
    /// # Errors
    /// When the URL is invalid.
    pub(crate) fn new(url: &str) -> Result<Self, LedgerError> {
        let place = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        if place.is_empty() || place.contains("://") {
            return Err(LedgerError::Url(url.to_owned()));
        }
        Ok(Self { http: HttpConnector::new()?, url: format!("http://{place}") })
    }

    /// The URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The connection to it.
    pub(super) fn http(&self) -> &HttpConnector {
        &self.http
    }

    /// The current status.
    ///
    /// # Errors
    /// When there is no reply, or none of a compatible daemon.
    pub(crate) fn status(&self) -> Result<Status, LedgerError> {
        self.get(AdminPath::Status.as_str())
    }

    /// The latest rejected messages, newest first.
    ///
    /// # Errors
    /// As for the status.
    pub(crate) fn rejected(&self) -> Result<Vec<RejectedEntry<'static>>, LedgerError> {
        self.get(AdminPath::Rejected.as_str()).map(|list: RejectedList| list.rejected)
    }

    /// The changes that a reload would make now.
    ///
    /// # Errors
    /// As for the status.
    pub(crate) fn forecast(&self) -> Result<ReloadForecast, LedgerError> {
        self.get(AdminPath::Reload.as_str())
    }

    /// The reply of a path.
    ///
    /// # Errors
    /// As for the status.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, LedgerError> {
        match self.http.get(&format!("{}{path}", self.url)) {
            Ok(body) => serde_json::from_slice(&body)
                .map_err(|source| LedgerError::Answer { url: self.url.clone(), source }),
            Err(source) => Err(LedgerError::Request { url: self.url.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_a_url_or_an_address() {
        for url in ["http://127.0.0.1:9495", "http://127.0.0.1:9495/", "127.0.0.1:9495"] {
            assert_eq!(AdminClient::new(url).unwrap().url(), "http://127.0.0.1:9495");
        }
        for wrong in ["", "https://127.0.0.1:9495", "udp://127.0.0.1:5090"] {
            assert!(AdminClient::new(wrong).is_err(), "{wrong}");
        }
    }
}
