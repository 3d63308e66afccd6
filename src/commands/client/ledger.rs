//! A client of the admin endpoint of a running daemon.

use std::io;
use std::path::Path;
use std::time::Duration;

use api::path::AdminPath;
use api::rejected::{RejectedEntry, RejectedList};
use api::reload::{LastReload, ReloadForecast};
use api::series::SeriesRemoved;
use api::status::Status;
use basics::escape::escaped;
use httpclient::reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::access::AccessArgsError;
use super::configured::AdminEndpoint;
use super::http::{AnswerError, HttpConnector, HttpPlace};

/// Why the admin endpoint gives no reply.
#[derive(Debug, Error)]
pub(crate) enum LedgerError {
    /// The URL is invalid.
    #[error(
        "`{0}` is not the address of an admin endpoint: use http://HOST:PORT, https://HOST:PORT or \
         unix:PATH"
    )]
    Url(String),
    /// The options for access cannot be used.
    #[error(transparent)]
    Access(#[from] AccessArgsError),
    /// The request failed.
    #[error("cannot get status from {url}: {source}; start a daemon with `tallyd run`")]
    Request {
        url: String,
        #[source]
        source: AnswerError,
    },
    /// The daemon refuses the request.
    #[error("{url} refuses the request: {source}")]
    Refused {
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

impl LedgerError {
    /// Whether the daemon refuses the credentials of the request, or their absence.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { source: AnswerError::Status { status, .. }, .. }
            if *status == StatusCode::UNAUTHORIZED)
    }
}

/// A client of the admin endpoint of one daemon.
#[derive(Debug)]
pub(crate) struct AdminClient {
    http: HttpConnector,
    /// As an operator writes it.
    url: String,
    /// What the paths of requests follow.
    base: String,
    /// Whether the daemon knows who the client is, so that it accepts changes.
    may_change: bool,
}

impl AdminClient {
    /// A client of `http://host:port`, `https://host:port`, just `host:port`, or `unix:/path`.
    ///
    /// # Errors
    /// When the URL is invalid, or a certificate of the client cannot be used.
    pub(crate) fn new(endpoint: &AdminEndpoint) -> Result<Self, LedgerError> {
        let AdminEndpoint { url, access } = endpoint;
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(LedgerError::Url(url.to_owned()));
            }
            let http = HttpConnector::new(HttpPlace::Socket(Path::new(path)), access)?;
            let (url, base) = (format!("unix:{path}"), "http://localhost".to_owned());
            return Ok(Self { http, url, base, may_change: true });
        }
        let (scheme, place) = match url.strip_prefix("https://") {
            Some(rest) => (HttpPlace::Tls, rest),
            None => (HttpPlace::Plain, url.strip_prefix("http://").unwrap_or(url)),
        };
        let place = place.trim_end_matches('/');
        if place.is_empty() || place.contains("://") {
            return Err(LedgerError::Url(url.clone()));
        }
        let http = HttpConnector::new(scheme, access)?;
        let prefix = if matches!(scheme, HttpPlace::Tls) { "https" } else { "http" };
        let url = format!("{prefix}://{place}");
        Ok(Self { http, base: url.clone(), url, may_change: access.has_identity() })
    }

    /// The URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a path, for [`AdminClient::http`].
    pub(super) fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.base)
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

    /// Whether the daemon can know who the client is, so that it may accept changes: through its Unix
    /// socket, or with credentials.
    pub(crate) fn may_change(&self) -> bool {
        self.may_change
    }

    /// Whether it is a Unix socket.
    pub(crate) fn is_socket(&self) -> bool {
        self.url.starts_with("unix:")
    }

    /// Reloads the daemon's configuration. Waits for the outcome.
    ///
    /// # Errors
    /// When the daemon refuses, or does not answer within this time.
    pub(crate) fn reload(&self, within: Duration) -> Result<LastReload, LedgerError> {
        let path = AdminPath::Reload.as_str();
        self.read(self.http.request(&Method::POST, &self.url_of(path), within))
    }

    /// Removes the series that the parameters select. Waits for the end of the open window.
    ///
    /// # Errors
    /// When the daemon refuses, or does not answer within this time.
    pub(crate) fn remove(
        &self,
        query: &str,
        within: Duration,
    ) -> Result<SeriesRemoved, LedgerError> {
        let url = self.url_of(&format!("{}?{query}", AdminPath::Series));
        self.read(self.http.request(&Method::DELETE, &url, within))
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
        self.read(self.http.get(&self.url_of(path)))
    }

    /// The reply of a path with text.
    ///
    /// # Errors
    /// As for the status.
    pub(crate) fn text(&self, path: AdminPath) -> Result<String, LedgerError> {
        let body = self.body(self.http.get(&self.url_of(path.as_str())))?;
        Ok(escaped(body.trim_ascii()))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<Vec<u8>, AnswerError>,
    ) -> Result<T, LedgerError> {
        serde_json::from_slice(&self.body(answer)?)
            .map_err(|source| LedgerError::Answer { url: self.url.clone(), source })
    }

    fn body(&self, answer: Result<Vec<u8>, AnswerError>) -> Result<Vec<u8>, LedgerError> {
        answer.map_err(|source| match source {
            AnswerError::Status { .. } => LedgerError::Refused { url: self.url.clone(), source },
            _ => LedgerError::Request { url: self.url.clone(), source },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::client::access::AccessArgs;

    fn client(url: &str) -> Result<AdminClient, LedgerError> {
        AdminClient::new(&AdminEndpoint::named(url, &AccessArgs::default())?)
    }

    #[test]
    fn the_endpoint_is_a_url_or_an_address() {
        for url in ["http://127.0.0.1:9495", "http://127.0.0.1:9495/", "127.0.0.1:9495"] {
            assert_eq!(client(url).unwrap().url(), "http://127.0.0.1:9495");
        }
        assert_eq!(client("https://a.example:1/").unwrap().url(), "https://a.example:1");
        for url in ["unix:/run/tallyd/admin.sock", "unix:///run/tallyd/admin.sock"] {
            let client = client(url).unwrap();
            assert!(client.url() == "unix:/run/tallyd/admin.sock" && client.may_change());
        }
        for wrong in ["", "https://", "udp://127.0.0.1:5090", "unix:run/x"] {
            assert!(client(wrong).is_err(), "{wrong}");
        }
    }
}
