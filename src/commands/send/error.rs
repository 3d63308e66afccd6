//! Why messages are not sent.

use std::io;

use thiserror::Error;

use crate::commands::client::connect::ConnectError;
use crate::commands::client::endpoint::SendEndpoint;
use crate::commands::client::ledger::LedgerError;
use crate::config::LoadError;
use engine::listener::{Protocol, Transport};

/// Why nothing more is sent.
#[derive(Debug, Error)]
pub(super) enum SendCommandError {
    /// The words or options contradict each other.
    #[error("{0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// The configuration, which names the listener, cannot be loaded.
    #[error("{0}\nuse --to to send without a configuration")]
    Config(#[source] LoadError),
    /// The secret cannot be read.
    #[error("{0}")]
    Secret(String),
    /// No configured listener speaks the protocol.
    #[error(
        "{file}: no listener has the protocol {protocol}; add one to `listeners`, or name an endpoint \
         with --to"
    )]
    NoListener { file: String, protocol: &'static str },
    /// The listener is on any free port, or at a relative path.
    #[error("{0}: only the running daemon knows the address of this listener; name it with --to")]
    Unknown(String),
    /// `admin: { listen: none }`.
    #[error(
        "--verify needs the admin endpoint, which the configuration turns off (`admin: {{listen: \
         none}}`)"
    )]
    NoAdmin,
    /// The listener at the endpoint speaks another protocol.
    #[error("the listener at {endpoint} speaks {spoken}: {}", spoken_hint(.spoken))]
    Protocol { endpoint: SendEndpoint, spoken: &'static str },
    /// The endpoint, or the listener of the configuration, does not fit the options for TLS.
    #[error("{0}")]
    Tls(String),
    /// The handshake failed.
    #[error("cannot send to {endpoint} over TLS: {source}")]
    Handshake { endpoint: SendEndpoint, source: io::Error },
    /// The endpoint refuses the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("cannot send to {endpoint}: {source}{}", broken_hint(.endpoint))]
    Broken { endpoint: SendEndpoint, source: io::Error },
    /// The admin endpoint does not answer.
    #[error("{0}; use --admin for another endpoint")]
    Ledger(#[from] LedgerError),
    /// Standard input cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(#[source] io::Error),
}

fn spoken_hint(spoken: &str) -> &'static str {
    if spoken == Protocol::Statsd.as_str() { "add --statsd" } else { "leave out --statsd" }
}

fn broken_hint(endpoint: &SendEndpoint) -> &'static str {
    match endpoint.transport {
        Transport::Udp => "; no daemon listens there now",
        Transport::UnixDatagram => "",
        Transport::Tcp | Transport::Unix => {
            "; the daemon closed the connection (see its `allow`, `max_connections` and \
             `idle_timeout`)"
        }
    }
}
