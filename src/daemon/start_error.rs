//! Why the daemon does not start.

use std::io;

use engine::listener::bind_error::BindError;
use engine::listener::passed::PassedError;
use forwarders::SendError;
use thiserror::Error;

use crate::admin::AdminError;

/// Why the daemon does not start.
#[derive(Debug, Error)]
pub(super) enum StartError {
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What the service manager passed does not go with the configuration.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The admin endpoint cannot be bound.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A destination cannot have what it needs on this host.
    #[error("forwarder {name}: {source}")]
    Forwarder {
        /// What ledger and log call it.
        name: String,
        /// What it needs, and what to change.
        #[source]
        source: SendError,
    },
    /// The system refuses a thread, a signal handler or a descriptor.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}
