//! Why there is no measurement.

use std::io;

use thiserror::Error;

use super::spawn::SpawnError;
use crate::commands::client::connect::ConnectError;
use crate::commands::client::endpoint::SendEndpoint;
use crate::commands::client::ledger::LedgerError;

/// Why there is no measurement.
#[derive(Debug, Error)]
pub(super) enum BenchError {
    /// Two options contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The listener at the endpoint speaks another protocol.
    #[error("the listener at {endpoint} speaks {spoken}: add --protocol {spoken}")]
    Protocol { endpoint: SendEndpoint, spoken: &'static str },
    /// The system has no core with this number, or does not allow it.
    #[error("cannot pin the sender to core {core}: {source}; see --pin")]
    Pin { core: usize, source: io::Error },
    /// The system refuses a thread or a handler.
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
    /// The daemon of `--spawn` did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The daemon of `--spawn` has no listener, which is a bug.
    #[error("the daemon that was started has no listener")]
    NoListener,
    /// The endpoint refuses the connection.
    #[error("{0}; `tallyd bench --spawn` starts a daemon for the measurement")]
    Connect(#[from] ConnectError),
    /// The daemon that `--admin` names does not answer.
    #[error("{0}; use --admin for another endpoint, or --no-admin")]
    Ledger(#[from] LedgerError),
    /// Standard output cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}
