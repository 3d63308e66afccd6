//! Sockets: from the kernel's datagrams to samples in a table.
//!
//! Each socket has a thread of its own with a [`Recorder`](recorder::Recorder): it decodes, adds
//! the agent's tags, records into its table and counts. Nothing downstream can hold it up.

use std::fmt;
use std::net::SocketAddr;

use forwarders::units::ByteSize;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

pub mod recorder;
pub mod rejected;
pub mod stats;
pub mod udp;
pub mod wake;

/// Most threads that share a listener's address.
const THREADS_MAX: usize = 64;

/// One of `listeners`: where samples come in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// What clients speak. Defaults to `json`.
    #[serde(default)]
    pub protocol: Protocol,
    /// How it comes. Defaults to `udp`.
    #[serde(default)]
    pub transport: Transport,
    /// Where to listen, as `host:port`, `[::]:port` or with port 0 for any free one.
    pub address: ListenAddress,
    /// Threads that share the address, each with a socket of its own; the kernel deals senders out
    /// to them. One thread takes more than a million messages a second, so more of them are for
    /// hosts with cores to spare; two daemons could then share the address by mistake. 1 to 64.
    /// Defaults to `1`.
    #[serde(default = "one", deserialize_with = "threads")]
    pub threads: usize,
    /// What to ask of the kernel as the socket's buffer, instead of the general `receive_buffer`.
    #[serde(default)]
    pub receive_buffer: Option<ByteSize>,
}

impl ListenerConfig {
    /// A JSON listener over UDP.
    #[must_use]
    pub fn json_udp(address: SocketAddr) -> Self {
        Self {
            protocol: Protocol::Json,
            transport: Transport::Udp,
            address: ListenAddress(address),
            threads: 1,
            receive_buffer: None,
        }
    }
}

impl fmt::Display for ListenerConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{} {}",
            self.protocol.as_str(),
            self.transport.as_str(),
            self.address.0
        )
    }
}

/// What clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// JSON messages.
    #[default]
    Json,
}

impl Protocol {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
        }
    }
}

/// How messages come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// UDP over IPv4 or IPv6.
    #[default]
    Udp,
}

impl Transport {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
        }
    }
}

/// An address to listen on; a name is looked up when the configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        resolve(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Looks up `host:port`.
///
/// # Errors
/// A sentence that says what is allowed or what the lookup said.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs;

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

const fn one() -> usize {
    1
}

fn threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        threads @ 1..=THREADS_MAX => Ok(threads),
        threads => {
            Err(D::Error::custom(format!("must be between 1 and {THREADS_MAX}, not {threads}")))
        }
    }
}
