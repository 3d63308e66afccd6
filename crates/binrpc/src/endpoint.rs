//! The address of a Kamailio server.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The default port of Kamailio's `ctl` module.
pub const DEFAULT_PORT: u16 = 2049;
/// Longest path that fits into a Unix socket address.
const PATH_BYTES_MAX: usize = 107;

/// The address of a Kamailio server and the transport to use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BinrpcEndpoint {
    /// A Unix stream socket, which Kamailio opens by default.
    Unix(PathBuf),
    /// A Unix datagram socket.
    UnixDatagram(PathBuf),
    /// TCP.
    Tcp(HostPort),
    /// UDP. A reply is a single datagram, so long replies are lost.
    Udp(HostPort),
}

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address; an IPv6 address without its brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl FromStr for BinrpcEndpoint {
    type Err = String;

    /// Parses what `kamcmd -s` accepts: `unix:/path`, `unixs:/path`, `unixd:/path`, `tcp:host:port` or
    /// `udp:host:port`, optionally with `//` after the colon, or a path alone for a Unix stream socket.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "an endpoint is unix:/path, unixd:/path (datagrams), tcp:host:port or udp:host:port, \
                 not `{text}`"
            )
        };
        if text.starts_with('/') {
            return path(text).map(Self::Unix);
        }
        let (transport, place) = text.split_once(':').ok_or_else(expected)?;
        let place = place.strip_prefix("//").unwrap_or(place);
        match transport {
            "unix" | "unixs" => path(place).map(Self::Unix),
            "unixd" => path(place).map(Self::UnixDatagram),
            "tcp" => Ok(Self::Tcp(host(place).ok_or_else(expected)?)),
            "udp" => Ok(Self::Udp(host(place).ok_or_else(expected)?)),
            _ => Err(expected()),
        }
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err(format!("the path of a socket must begin with `/`, not `{text}`"));
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(format!(
            "the path of a socket can have at most {PATH_BYTES_MAX} bytes, this one has {}",
            text.len()
        ));
    }
    Ok(PathBuf::from(text))
}

fn host(text: &str) -> Option<HostPort> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        _ => (text, DEFAULT_PORT),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_valid = match bare {
        Some(address) => is_ipv6(address),
        None => {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !name.is_empty() && name.bytes().all(is_name)
        }
    };
    (is_valid && port > 0).then(|| HostPort { name: bare.unwrap_or(name).to_owned(), port })
}

/// Whether the text is an IPv6 address, perhaps with a zone such as `%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let of_zone = |byte: u8| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte);
    let is_zone = !zone.is_empty() && zone.bytes().all(of_zone);
    is_zone && address.parse::<std::net::Ipv6Addr>().is_ok()
}

impl fmt::Display for BinrpcEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::UnixDatagram(path) => write!(formatter, "unixd:{}", path.display()),
            Self::Tcp(host) => write!(formatter, "tcp:{host}"),
            Self::Udp(host) => write!(formatter, "udp:{host}"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        if name.contains(':') {
            write!(formatter, "[{name}]:{port}")
        } else {
            write!(formatter, "{name}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_parsed_as_kamcmd_parses_them() {
        for (text, shown) in [
            ("unix:/run/k/ctl", "unix:/run/k/ctl"),
            ("unixs:/run/k/ctl", "unix:/run/k/ctl"),
            ("unix:///run/k/ctl", "unix:/run/k/ctl"),
            ("/run/k/ctl", "unix:/run/k/ctl"),
            ("unixd:/run/k/ctl", "unixd:/run/k/ctl"),
            ("tcp:127.0.0.1:2046", "tcp:127.0.0.1:2046"),
            ("tcp://sip.example.net:2046", "tcp:sip.example.net:2046"),
            ("tcp:sip.example.net", "tcp:sip.example.net:2049"),
            ("udp:[::1]:2046", "udp:[::1]:2046"),
            ("udp:[::1]", "udp:[::1]:2049"),
            ("udp:[fe80::1%eth0]:2046", "udp:[fe80::1%eth0]:2046"),
        ] {
            let endpoint: BinrpcEndpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(shown.parse(), Ok(endpoint), "{text}");
        }
    }

    #[test]
    fn an_invalid_endpoint_is_rejected_with_the_accepted_forms() {
        for text in
            ["", "localhost", "unix:", "unix:ctl", "tcp:", "tcp::2046", "tcp:a:b", "tcp:a:0"]
        {
            assert!(text.parse::<BinrpcEndpoint>().is_err(), "{text}");
        }
        let error = "http://a".parse::<BinrpcEndpoint>().unwrap_err();
        assert!(error.contains("tcp:host:port"), "{error}");
        let error = format!("unix:/{}", "x".repeat(107)).parse::<BinrpcEndpoint>().unwrap_err();
        assert!(error.contains("107"), "{error}");
    }
}
