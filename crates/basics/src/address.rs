//! Addresses in a configuration.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Resolves `host:port` or `[ipv6%zone]:port` to all its addresses, in the system's order. There is at
/// least one.
///
/// # Errors
/// When the text has another form, or the lookup fails. The error says which form is allowed.
pub fn resolve(text: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let shape = || format!("an address is `host:port` or `[ipv6]:port`, not `{text}`");
    let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
    let port: u16 = port.parse().map_err(|_| shape())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // In brackets there can only be an address with a zone, which the system knows how to read.
    let host = match bare {
        Some(bare) if is_ipv6(bare) => bare,
        None if !host.is_empty() && !host.contains(':') => host,
        _ => return Err(shape()),
    };
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|error| format!("`{host}` cannot be looked up: {error}"))?;
    let found = each_once(found);
    if found.is_empty() { Err(format!("`{host}` has no address")) } else { Ok(found) }
}

/// Removes repeated addresses, which a name has when several lines of a hosts file repeat it.
#[must_use]
pub fn each_once(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut unique = Vec::new();
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    unique
}

/// Whether the text is an IPv6 address, perhaps with a zone such as `%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let of_zone = |byte: u8| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte);
    let is_zone = !zone.is_empty() && zone.bytes().all(of_zone);
    is_zone && address.parse::<Ipv6Addr>().is_ok()
}

/// Splits `host`, `host:port`, `address:port` or `[ipv6%zone]:port` into the host, without brackets, and
/// the port, without a lookup. `such_as` is the example in the error.
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
        Some(address) => is_ipv6(address),
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

/// The addresses to listen on: those of `host:port`, or of `:port`, which means all addresses of this
/// host. A host name is resolved when the configuration is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddresses {
    /// The host name; `None` for a literal address.
    name: Option<String>,
    /// At least one address.
    all: Vec<SocketAddr>,
}

impl ListenAddresses {
    /// Parses and resolves an address.
    ///
    /// # Errors
    /// When the text has another form, or the lookup fails. The error says which form is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(port) = text.strip_prefix(':')
            && let Ok(port) = port.parse()
        {
            return Ok(every_address(port).into());
        }
        let all = resolve(text)?;
        let is_literal = text.starts_with('[') || text.parse::<SocketAddr>().is_ok();
        Ok(Self { name: (!is_literal).then(|| text.to_owned()), all })
    }

    /// The addresses of a name, at least one.
    #[must_use]
    pub fn of_name(name: &str, all: Vec<SocketAddr>) -> Self {
        debug_assert!(!all.is_empty());
        Self { name: Some(name.to_owned()), all }
    }

    /// Whether sockets at both addresses would exclude each other: they have an address in common, or
    /// one of them listens at all addresses of the same port.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let overlap = |a: &SocketAddr, b: &SocketAddr| {
            let is_any = a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() == b.port() && (a.ip() == b.ip() || is_any)
        };
        self.all.iter().any(|a| other.all.iter().any(|b| overlap(a, b)))
    }

    /// The same addresses with another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let all = self.all.iter().map(|address| {
            let mut address = *address;
            address.set_port(port);
            address
        });
        Self { name: self.name.clone(), all: all.collect() }
    }

    /// The addresses, at least one.
    #[must_use]
    pub fn all(&self) -> &[SocketAddr] {
        &self.all
    }

    /// The name that has these addresses, if it has several. One of them may be missing on this host,
    /// such as an IPv6 address where IPv6 is off.
    #[must_use]
    pub fn shared_name(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.all.len() > 1)
    }
}

impl From<SocketAddr> for ListenAddresses {
    fn from(address: SocketAddr) -> Self {
        Self { name: None, all: vec![address] }
    }
}

impl<'de> Deserialize<'de> for ListenAddresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl fmt::Display for ListenAddresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.all.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{address}")?;
        }
        Ok(())
    }
}

/// The address that stands for all addresses of this host: `[::]`, which includes IPv4, unless the
/// kernel has no IPv6.
fn every_address(port: u16) -> SocketAddr {
    let any = (Ipv6Addr::UNSPECIFIED, 0);
    match UdpSocket::bind(any) {
        Ok(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
        Err(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
    }
}

/// Whether this host lacks the address of a socket, or its whole address family.
#[must_use]
pub fn is_missing_here(error: &std::io::Error) -> bool {
    /// `EAFNOSUPPORT` on Linux.
    const NO_SUCH_FAMILY: i32 = 97;
    error.kind() == std::io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

/// The listening address of an HTTP endpoint: `host:port`, `:port` or `none`. The default is `PORT` on
/// loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen<const PORT: u16> {
    /// The endpoint listens on these addresses.
    At(ListenAddresses),
    /// The endpoint is disabled.
    None,
}

impl<const PORT: u16> Default for Listen<PORT> {
    fn default() -> Self {
        Self::At(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into())
    }
}

impl<'de, const PORT: u16> Deserialize<'de> for Listen<PORT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self::None);
        }
        ListenAddresses::parse(&text)
            .map(Self::At)
            .map_err(|error| D::Error::custom(format!("{error}, or `none`")))
    }
}

impl<const PORT: u16> fmt::Display for Listen<PORT> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(addresses) => addresses.fmt(formatter),
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
            ("[fe80::1%eth0]:8125", "fe80::1%eth0", Some(8125)),
        ] {
            assert_eq!(host_and_port(text, "eu:1"), Ok((host.to_owned(), port)), "{text}");
        }
        for wrong in [
            "",
            ":1",
            "eu:",
            "eu:0",
            "eu:+1",
            "eu:65536",
            "::1",
            "[eu]:1",
            "a b",
            "a/b:1",
            "[::1%]:1",
            "[::1%a b]:1",
        ] {
            let error = host_and_port(wrong, "eu:1").unwrap_err();
            assert_eq!(error, format!("an address is host:port, such as eu:1, not `{wrong}`"));
        }
    }

    #[test]
    fn an_address_is_literal_or_has_a_zone_or_is_every_address() {
        let all = |text: &str| ListenAddresses::parse(text).map(|found| found.to_string());
        assert_eq!(all("127.0.0.1:1").unwrap(), "127.0.0.1:1");
        assert_eq!(all("[::1]:0").unwrap(), "[::1]:0");
        // The loopback interface has the number 1 on every host.
        assert_eq!(all("[fe80::1%lo]:8125").unwrap(), "[fe80::1%1]:8125");
        assert_eq!(all("[fe80::1%1]:8125").unwrap(), "[fe80::1%1]:8125");
        assert!(["[::]:8125", "0.0.0.0:8125"].contains(&all(":8125").unwrap().as_str()));
        for wrong in ["8125", "a", "::1:8125", "[localhost]:1", "[fe80::1%none]:1", ":x", ":", "a:"]
        {
            assert!(all(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_stands_for_all_its_addresses_each_once() {
        let found = ListenAddresses::parse("localhost:7").unwrap();
        let expected = each_once(("localhost", 7).to_socket_addrs().unwrap());
        assert_eq!(found.all(), expected);
        assert_eq!(found.shared_name().is_some(), expected.len() > 1);
        let address = |text: &str| text.parse().unwrap();
        let (a, b) = (address("127.0.0.1:1"), address("[::1]:1"));
        assert_eq!(each_once([a, b, a, a]), [a, b]);
        assert_eq!(ListenAddresses::from(a).shared_name(), None);
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
