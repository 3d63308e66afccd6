//! Addresses as people write them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

use serde::Deserialize;
use serde::de::{Deserializer, Error};

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

/// Where an HTTP endpoint listens: `host:port`, or `none`. Not set, it is on loopback at `PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen<const PORT: u16> {
    /// On this address.
    Address(SocketAddr),
    /// Nowhere.
    None,
}

impl<const PORT: u16> Default for Listen<PORT> {
    fn default() -> Self {
        Self::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))
    }
}

impl<'de, const PORT: u16> Deserialize<'de> for Listen<PORT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self::None);
        }
        resolve(&text)
            .map(Self::Address)
            .map_err(|error| D::Error::custom(format!("{error}, or `none`")))
    }
}

impl<const PORT: u16> fmt::Display for Listen<PORT> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::None => formatter.write_str("none"),
        }
    }
}
