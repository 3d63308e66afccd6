//! The error of a listener that cannot be bound, with advice for the operator.

use std::io;

use basics::address;
use thiserror::Error;

/// The reason why a listener cannot be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct BindError {
    pub(super) address: String,
    #[source]
    pub(super) source: io::Error,
    pub(super) hint: &'static str,
}

impl BindError {
    /// Whether this host lacks the address, or its whole family.
    #[must_use]
    pub fn is_missing_here(&self) -> bool {
        address::is_missing_here(&self.source)
    }
}

/// Advice for an IP address that cannot be bound.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it or change `bind_port` or `listeners`"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this host has that address: change `bind_address` or `listeners`"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one"
        }
        _ => "",
    }
}
