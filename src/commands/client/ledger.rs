//! The ledger of a running daemon, asked of its HTTP endpoint.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::endpoint::Endpoint;
use super::http::{AnswerError, HttpConnector};
use engine::listener::Protocol;

/// Where a daemon's HTTP endpoint is unless its configuration says otherwise.
pub(crate) const DEFAULT_ADMIN: &str = "http://127.0.0.1:9495";

/// Why a daemon did not tell.
#[derive(Debug, Error)]
pub(crate) enum LedgerError {
    /// The URL is none.
    #[error("`{0}` is no address of an admin endpoint: it is http://HOST:PORT, without TLS")]
    Url(String),
    /// Nothing answers, or not with a status.
    #[error("no daemon tells its status at {url}: {source}; start one with `tallyd run`")]
    Request {
        url: String,
        #[source]
        source: AnswerError,
    },
    /// What answers is no status.
    #[error("what answers at {url} is no tallyd of this version: {source}")]
    Answer {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    /// The system refuses a client.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// What of a status is looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) instance: String,
    pub(crate) process: ProcessFacts,
    pub(crate) reload: Reloads,
    pub(crate) series: Series,
    pub(crate) listeners: Vec<Listener>,
}

/// `process` of a status.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ProcessFacts {
    pub(crate) pid: u32,
    pub(crate) cpu_s: f64,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) resident_peak_bytes: Option<u64>,
}

/// `reload` of a status.
#[derive(Debug, Deserialize)]
pub(crate) struct Reloads {
    pub(crate) applied: u64,
    pub(crate) refused: u64,
    pub(crate) last: Option<Reload>,
}

/// A reload: what it changed or, as of now, would change.
#[derive(Debug, Deserialize)]
pub(crate) struct Reload {
    pub(crate) changes: Vec<String>,
    /// Why it is refused.
    pub(crate) error: Option<String>,
    /// The file that would be read; none with the built-in defaults.
    #[serde(default)]
    pub(crate) file: Option<PathBuf>,
}

/// `series` of a status.
#[derive(Debug, Deserialize)]
pub(crate) struct Series {
    pub(crate) overflowed: u64,
}

/// One of `listeners` of a status.
#[derive(Debug, Deserialize)]
pub(crate) struct Listener {
    pub(crate) listener: String,
    receive_buffer: Option<u64>,
    received: u64,
    aggregated: u64,
    rejected: BTreeMap<String, u64>,
    kernel_drops: u64,
    refused: BTreeMap<String, u64>,
}

/// A rejected message, as the daemon shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Rejected {
    pub(crate) time: String,
    pub(crate) listener: String,
    pub(crate) sender: String,
    pub(crate) reason: String,
    pub(crate) offset: u64,
    pub(crate) expected: String,
    pub(crate) excerpt: String,
}

#[derive(Debug, Deserialize)]
struct RejectedList {
    rejected: Vec<Rejected>,
}

/// What became of messages and datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Messages.
    pub(crate) received: u64,
    /// Messages.
    pub(crate) aggregated: u64,
    /// Messages by reason.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Datagrams.
    pub(crate) kernel_drops: u64,
    /// Datagrams or connections by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// The smallest buffer of the sockets that drop, in bytes.
    pub(crate) receive_buffer: Option<u64>,
}

/// Which listeners of a daemon messages go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of these names.
    Listeners(Vec<String>),
    /// None is known as the endpoint, so all are looked at.
    All,
}

impl Scope {
    /// The listeners at an endpoint.
    ///
    /// # Errors
    /// The protocol of the listener that is there, when it is not the one that will be spoken.
    pub(crate) fn of(
        status: &Status,
        endpoint: &Endpoint,
        protocol: Protocol,
    ) -> Result<Self, Protocol> {
        let there: Vec<_> = status
            .listeners
            .iter()
            .filter_map(|listener| Some((listener, Endpoint::of_listener(&listener.listener)?)))
            .filter(|(_, (_, listener))| endpoint.leads_to(listener))
            .collect();
        let Some((_, (first, _))) = there.first() else { return Ok(Self::All) };
        if there.iter().all(|(_, (spoken, _))| *spoken != protocol) {
            return Err(*first);
        }
        Ok(Self::Listeners(there.iter().map(|(found, _)| found.listener.clone()).collect()))
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Listeners(names) => names.iter().any(|other| other == name),
            Self::All => true,
        }
    }
}

impl Ledger {
    /// The listeners of a scope, added up.
    pub(crate) fn of(status: &Status, scope: &Scope) -> Self {
        let mut ledger = Self::default();
        for listener in status.listeners.iter().filter(|one| scope.has(&one.listener)) {
            ledger.received += listener.received;
            ledger.aggregated += listener.aggregated;
            ledger.kernel_drops += listener.kernel_drops;
            for (sum, counts) in [
                (&mut ledger.rejected, &listener.rejected),
                (&mut ledger.refused, &listener.refused),
            ] {
                for (reason, count) in counts {
                    *sum.entry(reason.clone()).or_default() += count;
                }
            }
            let buffers = [ledger.receive_buffer, listener.receive_buffer];
            ledger.receive_buffer = buffers.into_iter().flatten().min();
        }
        ledger
    }

    /// What has come since an earlier look at the same daemon.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let grown = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            now.iter()
                .map(|(reason, count)| {
                    let before = before.get(reason).copied().unwrap_or_default();
                    (reason.clone(), count.saturating_sub(before))
                })
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        Self {
            received: self.received.saturating_sub(before.received),
            aggregated: self.aggregated.saturating_sub(before.aggregated),
            rejected: grown(&self.rejected, &before.rejected),
            kernel_drops: self.kernel_drops.saturating_sub(before.kernel_drops),
            refused: grown(&self.refused, &before.refused),
            receive_buffer: self.receive_buffer,
        }
    }
}

/// A daemon's HTTP endpoint.
#[derive(Debug)]
pub(crate) struct Admin {
    http: HttpConnector,
    url: String,
}

impl Admin {
    /// At `http://host:port`, or just `host:port`.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn new(url: &str) -> Result<Self, LedgerError> {
        let place = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        if place.is_empty() || place.contains("://") {
            return Err(LedgerError::Url(url.to_owned()));
        }
        Ok(Self { http: HttpConnector::new()?, url: format!("http://{place}") })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The connection to it.
    pub(super) fn http(&self) -> &HttpConnector {
        &self.http
    }

    /// The status right now.
    ///
    /// # Errors
    /// When there is no answer, or none that can be understood.
    pub(crate) fn status(&self) -> Result<Status, LedgerError> {
        self.get("/api/v1/status")
    }

    /// The latest rejected messages, newest first.
    ///
    /// # Errors
    /// As for the status.
    pub(crate) fn rejected(&self) -> Result<Vec<Rejected>, LedgerError> {
        self.get("/api/v1/rejected").map(|list: RejectedList| list.rejected)
    }

    /// What a reload would change right now.
    ///
    /// # Errors
    /// As for the status.
    pub(crate) fn forecast(&self) -> Result<Reload, LedgerError> {
        self.get("/api/v1/reload")
    }

    /// What a path answers.
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

    fn status() -> Status {
        serde_json::from_str(
            r#"{
              "version": "0.1.0", "instance": "a", "uptime_s": 1.5,
              "process": { "pid": 1, "cpu_s": 0.5, "resident_bytes": null, "resident_peak_bytes": 7 },
              "reload": { "file": null, "applied": 0, "refused": 0, "last": null },
              "series": { "total": 1, "overflowed": 0, "by_metric": {} },
              "listeners": [
                { "listener": "json/udp 0.0.0.0:5090", "receive_buffer": 8, "received": 5,
                  "aggregated": 3, "rejected": { "bad_json": 2 }, "kernel_drops": 1, "refused": {} },
                { "listener": "json/udp 0.0.0.0:5090", "receive_buffer": 4, "received": 10,
                  "aggregated": 10, "rejected": {}, "kernel_drops": 0, "refused": {} },
                { "listener": "statsd/tcp [::]:8125", "received": 100, "aggregated": 100,
                  "rejected": {}, "kernel_drops": 0, "refused": { "too_many": 1 } }
              ]
            }"#,
        )
        .unwrap()
    }

    #[test]
    fn the_listeners_at_the_endpoint_are_added_up_and_no_others() {
        let status = status();
        let udp: Endpoint = "udp://127.0.0.1:5090".parse().unwrap();
        let scope = Scope::of(&status, &udp, Protocol::Json).unwrap();
        let ledger = Ledger::of(&status, &scope);
        assert_eq!((ledger.received, ledger.aggregated, ledger.kernel_drops), (15, 13, 1));
        assert_eq!(ledger.rejected, [("bad_json".to_owned(), 2)].into());
        assert_eq!(ledger.receive_buffer, Some(4));
        let elsewhere: Endpoint = "udp://127.0.0.1:1".parse().unwrap();
        let scope = Scope::of(&status, &elsewhere, Protocol::Json).unwrap();
        assert_eq!(scope, Scope::All);
        assert_eq!(Ledger::of(&status, &scope).received, 115);
    }

    #[test]
    fn a_listener_that_speaks_something_else_is_found() {
        let tcp: Endpoint = "tcp://127.0.0.1:8125".parse().unwrap();
        assert_eq!(Scope::of(&status(), &tcp, Protocol::Json), Err(Protocol::Statsd));
        assert!(Scope::of(&status(), &tcp, Protocol::Statsd).is_ok());
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let before = Ledger::of(&status(), &Scope::All);
        let mut now = before.clone();
        now.received += 7;
        now.rejected.insert("bad_line".to_owned(), 1);
        let since = now.since(&before);
        assert_eq!((since.received, since.aggregated, since.kernel_drops), (7, 0, 0));
        assert_eq!(since.rejected, [("bad_line".to_owned(), 1)].into());
    }

    #[test]
    fn the_endpoint_is_a_url_or_an_address() {
        for url in ["http://127.0.0.1:9495", "http://127.0.0.1:9495/", "127.0.0.1:9495"] {
            assert_eq!(Admin::new(url).unwrap().url(), "http://127.0.0.1:9495");
        }
        for wrong in ["", "https://127.0.0.1:9495", "udp://127.0.0.1:5090"] {
            assert!(Admin::new(wrong).is_err(), "{wrong}");
        }
    }
}
