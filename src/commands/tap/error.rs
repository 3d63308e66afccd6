//! The errors that end `tallyd tap`.

use std::io;

use thiserror::Error;

use crate::commands::client::events::EventsError;
use crate::commands::client::ledger::LedgerError;
use crate::config::LoadError;

/// An error that ends the command.
#[derive(Debug, Error)]
pub(super) enum TapError {
    /// An option is invalid, or contradicts another.
    #[error("{0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// The configuration, which names the endpoint, cannot be loaded.
    #[error("{0}\nuse --admin to reach the daemon without a configuration")]
    Config(#[source] LoadError),
    /// `admin: { listen: none }`.
    #[error(
        "the configuration turns off the admin endpoint (`admin: {{listen: none}}`), which `tallyd \
         tap` needs; turn it on with `admin: {{listen: 127.0.0.1:9495}}`"
    )]
    NoAdmin,
    /// The URL is invalid.
    #[error(transparent)]
    Url(#[from] LedgerError),
    /// The daemon sends no events.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The connection ended without an end event.
    #[error(
        "the daemon at {0} closed the tap: the daemon has stopped, or its users, tokens or certificates have \
         changed and no longer admit this command; see its log"
    )]
    Closed(String),
    /// An event cannot be read.
    #[error("{url} is not a compatible tallyd: {source}")]
    Answer {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
    /// The system refuses a thread or a signal handler.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
}
