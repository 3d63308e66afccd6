//! Addresses as people write them.

use std::net::{SocketAddr, ToSocketAddrs};

/// Looks up `host:port`.
///
/// # Errors
/// A sentence that says what is allowed or what the lookup said.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let shape = || format!("an address is `host:port` or `[ipv6]:port`, not `{text}`");
    let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
    let port: u16 = port.parse().map_err(|_| shape())?;
    (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("`{host}` cannot be looked up: {error}"))?
        .next()
        .ok_or_else(|| format!("`{host}` has no address"))
}
