//! Why there is nothing to show.

use std::io;

use thiserror::Error;

use crate::commands::client::ledger::LedgerError;
use crate::config::LoadError;

/// Why there is nothing to show.
#[derive(Debug, Error)]
pub(super) enum TopError {
    /// The configuration, which names the endpoint, cannot be loaded.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The configuration disables the endpoint.
    #[error(
        "the configuration turns off the admin endpoint (`admin: {{listen: none}}`), which `tallyd top` needs"
    )]
    NoAdmin,
    /// The daemon does not answer.
    #[error("{0}")]
    Daemon(String),
    /// The terminal cannot be used.
    #[error("cannot use the terminal: {0}; use --once for output as text")]
    Terminal(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
}

impl From<LedgerError> for TopError {
    fn from(error: LedgerError) -> Self {
        Self::Daemon(error.to_string())
    }
}
