//! The endpoints that messages are sent to, as written on the command line and in the names of
//! listeners.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use basics::address;

use crate::config::DEFAULT_PORT;
use engine::listener::{Protocol, Transport};

/// The transport and the place of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendEndpoint {
    /// The transport.
    pub transport: Transport,
    /// The address or path.
    pub place: SocketPlace,
    /// The host as it is written, which a certificate must name; empty for a path.
    pub host: String,
}

/// Addresses or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketPlace {
    /// For `udp` and `tcp`: all addresses of a name, at least one, in the order in which they are
    /// tried.
    Addresses(Vec<SocketAddr>),
    /// For `unix` and `unix_datagram`.
    Path(PathBuf),
}

impl SendEndpoint {
    /// Parses the part of a listener's name after its protocol: `udp 127.0.0.1:5090`.
    fn parse(transport: &str, place: &str) -> Result<Self, String> {
        let transport = Transport::from_word(transport).ok_or_else(|| {
            format!("`{transport}` is not a transport: use udp, tcp, unix or unix_datagram")
        })?;
        let (host, _) =
            place.rsplit_once(':').filter(|_| transport.has_address()).unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let place = if transport.has_address() {
            SocketPlace::Addresses(address::resolve(place)?)
        } else if place.starts_with('/') {
            SocketPlace::Path(place.into())
        } else {
            return Err(format!("a socket's path starts with `/`, not `{place}`"));
        };
        Ok(Self { transport, place, host })
    }

    /// The protocol and endpoint of a listener by its name in the status, such as
    /// `json/udp 127.0.0.1:5090`; `None` for a name that this version does not know.
    #[must_use]
    pub fn of_listener(name: &str) -> Option<(Protocol, Self)> {
        let (protocol, rest) = name.split_once('/')?;
        let (transport, place) = rest.split_once(' ')?;
        Some((Protocol::from_word(protocol)?, Self::parse(transport, place).ok()?))
    }

    /// Whether messages to this endpoint arrive at `listener`.
    #[must_use]
    pub fn leads_to(&self, listener: &Self) -> bool {
        self.transport == listener.transport
            && match (&self.place, &listener.place) {
                (SocketPlace::Addresses(to), SocketPlace::Addresses(at)) => {
                    at.iter().any(|at| to.iter().any(|to| reaches(*to, *at)))
                }
                (to, at) => to == at,
            }
    }

    /// The address at which a listener of this host is reached: the loopback address if it listens on
    /// all addresses.
    #[must_use]
    pub fn reachable(listens_at: SocketAddr) -> SocketAddr {
        let ip = match listens_at.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, listens_at.port())
    }

    /// Whether messages are datagrams, and not lines of a stream.
    #[must_use]
    pub fn is_datagram(&self) -> bool {
        matches!(self.transport, Transport::Udp | Transport::UnixDatagram)
    }
}

impl Default for SendEndpoint {
    /// The listener of a daemon without configuration.
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
        let host = address.ip().to_string();
        Self { transport: Transport::Udp, place: SocketPlace::Addresses(vec![address]), host }
    }
}

/// Whether data that is sent to an address arrives at a socket that is bound to `at`.
fn reaches(to: SocketAddr, at: SocketAddr) -> bool {
    to.port() == at.port() && (at.ip().is_unspecified() || to.ip() == at.ip())
}

impl FromStr for SendEndpoint {
    type Err = String;

    /// Parses `udp://host:port`, `tcp://host:port`, `unix:///path` or `unix_datagram:///path`; without a
    /// transport it is UDP.
    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, place) = text.split_once("://").unwrap_or(("udp", text));
        Self::parse(transport, place)
    }
}

impl fmt::Display for SendEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://", self.transport.as_str())?;
        match &self.place {
            SocketPlace::Addresses(all) => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                formatter.write_str(&all.join(" or "))
            }
            SocketPlace::Path(path) => path.display().fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> SendEndpoint {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints_are_written_as_listeners_are_configured() {
        for text in [
            "udp://127.0.0.1:5090",
            "tcp://[::1]:8125",
            "unix:///run/tallyd.sock",
            "unix_datagram:///run/a b.sock",
        ] {
            assert_eq!(endpoint(text).to_string(), text);
        }
        assert_eq!(endpoint("127.0.0.1:5090"), endpoint("udp://127.0.0.1:5090"));
        for wrong in ["http://127.0.0.1:80", "udp://127.0.0.1", "unix://run/x", "tcp://", ""] {
            assert!(wrong.parse::<SendEndpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_is_found_by_its_name() {
        let (protocol, listener) = SendEndpoint::of_listener("statsd/udp 0.0.0.0:8125").unwrap();
        assert_eq!(protocol, Protocol::Statsd);
        assert!(endpoint("udp://127.0.0.1:8125").leads_to(&listener));
        assert!(!endpoint("udp://127.0.0.1:8126").leads_to(&listener));
        assert!(!endpoint("tcp://127.0.0.1:8125").leads_to(&listener));
        let (_, listener) = SendEndpoint::of_listener("json/udp 127.0.0.1:5090").unwrap();
        assert!(!endpoint("udp://127.0.0.2:5090").leads_to(&listener));
        let (_, listener) = SendEndpoint::of_listener("json/unix /run/a b.sock").unwrap();
        assert!(endpoint("unix:///run/a b.sock").leads_to(&listener));
        assert_eq!(SendEndpoint::of_listener("collectd/udp 127.0.0.1:1"), None);
    }
}
