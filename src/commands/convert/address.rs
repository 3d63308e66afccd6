//! Addresses in the configuration of tallyd.

use std::fmt::Display;

/// An address as tallyd writes it.
pub(super) fn address(host: &str, port: impl Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
