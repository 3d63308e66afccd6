//! Addresses in the configuration of tallyd.

/// An address as tallyd writes it.
pub(super) fn address(host: &str, port: f64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
