//! Addresses in a configuration.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Resolves `host:port` to its first address.
///
/// # Errors
/// When the text has another form, or the lookup fails. The error says which form is allowed.
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

/// Splits `host`, `host:port`, `address:port` or `[ipv6]:port` into the host, without brackets, and the
/// port, without a lookup. `such_as` is the example in the error.
///
/// # Errors
/// When the text has another form. The error says which form is allowed.
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

/// Writes the parts that [`host_and_port`] returned as `host:port` or `[ipv6]:port`.
///
/// # Errors
/// When the formatter fails.
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

/// The listening address of an HTTP endpoint: `host:port` or `none`. The default is `PORT` on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen<const PORT: u16> {
    /// The endpoint listens on this address.
    Address(SocketAddr),
    /// The endpoint is disabled.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_split_without_a_lookup() {
        for (text, host, port) in [
            ("eu", "eu", None),
            ("eu.example.net:2003", "eu.example.net", Some(2003)),
            ("10.0.0.1:1", "10.0.0.1", Some(1)),
            ("[::1]:65535", "::1", Some(65_535)),
            ("[::1]", "::1", None),
        ] {
            assert_eq!(host_and_port(text, "eu:1"), Ok((host.to_owned(), port)), "{text}");
        }
        for wrong in ["", ":1", "eu:", "eu:0", "eu:+1", "eu:65536", "::1", "[eu]:1", "a b", "a/b:1"]
        {
            let error = host_and_port(wrong, "eu:1").unwrap_err();
            assert_eq!(error, format!("an address is host:port, such as eu:1, not `{wrong}`"));
        }
    }

    #[test]
    fn an_endpoint_is_on_loopback_unless_it_is_elsewhere_or_disabled() {
        let listen = |text: &str| serde_json::from_str::<Listen<9102>>(text);
        assert_eq!(Listen::<9102>::default().to_string(), "127.0.0.1:9102");
        assert_eq!(listen(r#""[::]:80""#).unwrap().to_string(), "[::]:80");
        assert_eq!(listen(r#""none""#).unwrap(), Listen::None);
        let error = listen(r#""9102""#).unwrap_err().to_string();
        assert!(error.contains("not `9102`, or `none`"), "{error}");
    }
}
