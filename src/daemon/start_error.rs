//! Why the daemon cannot start.

use std::io;

use engine::listener::bind_error::BindError;
use engine::listener::passed::PassedError;
use forwarders::SendError;
use thiserror::Error;

use crate::admin::AdminError;
use crate::config::LoadError;

/// Why the daemon cannot start.
#[derive(Debug, Error)]
pub(super) enum StartError {
    /// The configuration cannot be loaded.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The sockets from the service manager do not match the configuration.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The admin endpoint cannot be bound.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A forwarder lacks something that it needs on this host.
    #[error("forwarder {name}: {source}")]
    Forwarder {
        /// The name of the forwarder in ledger and log.
        name: String,
        /// The missing resource, and the setting to change.
        #[source]
        source: SendError,
    },
    /// The system refuses a thread, a signal handler or a descriptor.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A thread of the start panicked.
    #[error("cannot start (bug): {0}")]
    Panicked(#[from] tokio::task::JoinError),
}
