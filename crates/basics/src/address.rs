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

/// Reads `host`, `host:port`, `address:port` or `[ipv6]:port` without looking it up: the host, without
/// brackets, and the port if there is one. `such_as` is what an error shows.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn host_and_port(text: &str, such_as: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !host.is_empty() && host.bytes().all(of_name)
        }
    };
    if !is_host || !port.is_none_or(is_port) {
        return Err(format!("an address is host:port, such as {such_as}, not `{text}`"));
    }
    let port = port.and_then(|port| port.parse().ok());
    Ok((bare.unwrap_or(host).to_owned(), port))
}

/// Writes `host:port`, or `[ipv6]:port`, of what [`host_and_port`] has read.
pub fn write_host_and_port(
    formatter: &mut fmt::Formatter<'_>,
    host: &str,
    port: u16,
) -> fmt::Result {
    if host.contains(':') {
        write!(formatter, "[{host}]:{port}")
    } else {
        write!(formatter, "{host}:{port}")
    }
}

/// What is said of a name that exists and leads nowhere.
pub const NO_ADDRESS: &str = "the name has no address";

/// A socket that sends to the first address of a host, and hears when nobody listens there.
pub async fn open_udp(host: &str, port: u16) -> std::io::Result<tokio::net::UdpSocket> {
    let address = tokio::net::lookup_host((host, port)).await?.next();
    let address = address.ok_or_else(|| std::io::Error::other(NO_ADDRESS))?;
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
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
