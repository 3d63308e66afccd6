//! One of `listeners` as it stands in the file, and what it comes to once its keys go together.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use basics::address;
use basics::units::{ByteSize, Span as Duration, between};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::allow::AllowList;
use super::{Protocol, Transport};
use yaml::{ConfigError, Source, SourceSpan, Spanned};

/// Most threads that share a listener's address.
const THREADS_MAX: usize = 64;
/// Most connections of a listener: each costs a file descriptor, which the system limits too.
const CONNECTIONS_MAX: usize = 65_536;
/// Longest path that a socket's address has room for.
const PATH_BYTES_MAX: usize = 107;
/// Bounds of `max_line`.
const LINE_MIN: ByteSize = ByteSize::from_bytes(256);
const LINE_MAX: ByteSize = ByteSize::from_mib(16);

/// One of `listeners`: where samples come in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerSection {
    /// What clients speak. Defaults to `json`.
    #[serde(default)]
    pub protocol: Protocol,
    /// How it comes. Defaults to `udp`.
    #[serde(default)]
    pub transport: Transport,
    /// For `udp` and `tcp`: where to listen, as `host:port`, `[::]:port` (IPv4 too) or with port 0
    /// for any free one.
    pub address: Option<Spanned<ListenAddress>>,
    /// For `unix` and `unix_datagram`: the socket's file. One that is left over from a program that
    /// is gone is replaced.
    pub path: Option<Spanned<SocketPath>>,
    /// For `udp` and `tcp`: networks or addresses that may send, such as `10.1.0.0/16`; all others
    /// are counted and not looked at. Defaults to everyone who can reach the address.
    pub allow: Option<Spanned<AllowList>>,
    /// For `unix` and `unix_datagram`: the permissions of the file, in base eight; who may write to
    /// it may send. Defaults to `0660`.
    pub mode: Option<Spanned<FileMode>>,
    /// For `udp`: threads that share the address, each with a socket of its own; the kernel deals
    /// senders out to them. One thread takes more than a million messages a second, so more of them
    /// are for hosts with cores to spare; two daemons could then share the address by mistake. 1 to
    /// 64. Defaults to `1`.
    pub threads: Option<Spanned<UpTo<THREADS_MAX>>>,
    /// For `udp`: what to ask of the kernel as the socket's buffer, instead of the general
    /// `receive_buffer`.
    pub receive_buffer: Option<Spanned<ByteSize>>,
    /// For `tcp` and `unix`: most connections at a time; beyond, a new one is closed at once and
    /// counted. More of them cost file descriptors, and memory up to `max_line` each. 1 to 65536.
    /// Defaults to `1024`.
    pub max_connections: Option<Spanned<UpTo<CONNECTIONS_MAX>>>,
    /// For `tcp` and `unix`: a connection that has completed no line for so long is closed and
    /// counted. A longer time suits clients that keep a connection for rare messages, at the cost
    /// of keeping those of clients that are gone. Defaults to `60s`.
    pub idle_timeout: Option<Spanned<Duration>>,
    /// For `tcp` and `unix`: longest line; a longer one is rejected as `too_long`. Longer ones cost
    /// memory for each connection. 256B to 16MiB. Defaults to `64KiB`.
    pub max_line: Option<Spanned<LineLength>>,
}

impl ListenerSection {
    /// Checks that the keys go together. `index` is the section's place in the list, `span` its
    /// place in the file.
    ///
    /// # Errors
    /// At a key that the transport has no use for, or at the section if a key is missing.
    pub fn check(
        &self,
        source: &Source,
        index: usize,
        span: SourceSpan,
    ) -> Result<ListenerConfig, ConfigError> {
        let transport = self.transport;
        for (key, key_span, transports) in self.keys_by_transport() {
            if let Some(key_span) = key_span
                && !transports.contains(&transport)
            {
                let message = format!(
                    "`listeners[{index}].{key}` does not go with `transport: {}`",
                    transport.as_str()
                );
                let needs = if transport.has_address() { "an `address`" } else { "a `path`" };
                return Err(source.error_at(key_span, message).with_help(format!(
                    "`{key}` is for {}; `{}` listens on {needs}",
                    words(transports),
                    transport.as_str()
                )));
            }
        }
        let missing = |key| source.error_at(span, format!("`listeners[{index}].{key}` is missing"));
        let address = || self.address.map(|a| a.get().0).ok_or_else(|| missing("address"));
        let path = || self.path.as_ref().map(|p| p.get().0.clone()).ok_or_else(|| missing("path"));
        let allow = self.allow.as_ref().map(|allow| allow.get().clone()).unwrap_or_default();
        let mode = self.mode.map_or(FileMode::DEFAULT, Spanned::into_inner).0;
        let endpoint = match transport {
            Transport::Udp => Endpoint::Udp(UdpConfig {
                address: address()?,
                allow,
                threads: self.threads.map_or(1, |threads| threads.get().0),
                receive_buffer: self.receive_buffer.map(Spanned::into_inner),
            }),
            Transport::Tcp => {
                Endpoint::Tcp(TcpConfig { address: address()?, allow, stream: self.stream() })
            }
            Transport::Unix => {
                Endpoint::Unix(UnixConfig { path: path()?, mode, stream: self.stream() })
            }
            Transport::UnixDatagram => {
                Endpoint::UnixDatagram(UnixDatagramConfig { path: path()?, mode })
            }
        };
        Ok(ListenerConfig { protocol: self.protocol, endpoint })
    }

    /// The keys that not every transport has: name, span if given, and the transports.
    fn keys_by_transport(&self) -> [(&'static str, Option<SourceSpan>, &'static [Transport]); 9] {
        use Transport::{Tcp, Udp, Unix, UnixDatagram};

        fn span<T>(value: Option<&Spanned<T>>) -> Option<SourceSpan> {
            value.map(Spanned::span)
        }
        [
            ("address", span(self.address.as_ref()), &[Udp, Tcp]),
            ("path", span(self.path.as_ref()), &[Unix, UnixDatagram]),
            ("allow", span(self.allow.as_ref()), &[Udp, Tcp]),
            ("mode", span(self.mode.as_ref()), &[Unix, UnixDatagram]),
            ("threads", span(self.threads.as_ref()), &[Udp]),
            ("receive_buffer", span(self.receive_buffer.as_ref()), &[Udp]),
            ("max_connections", span(self.max_connections.as_ref()), &[Tcp, Unix]),
            ("idle_timeout", span(self.idle_timeout.as_ref()), &[Tcp, Unix]),
            ("max_line", span(self.max_line.as_ref()), &[Tcp, Unix]),
        ]
    }

    fn stream(&self) -> StreamConfig {
        let default = StreamConfig::default();
        StreamConfig {
            max_connections: self.max_connections.map_or(default.max_connections, |n| n.get().0),
            idle_timeout: self.idle_timeout.map_or(default.idle_timeout, Spanned::into_inner),
            max_line: self.max_line.map_or(default.max_line, |length| length.get().0),
        }
    }
}

/// `` `udp` and `tcp` ``.
fn words(transports: &[Transport]) -> String {
    let words: Vec<_> = transports.iter().map(|t| format!("`{}`", t.as_str())).collect();
    words.join(" and ")
}

/// A listener whose keys go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// What clients speak.
    pub protocol: Protocol,
    /// Where it comes in.
    pub endpoint: Endpoint,
}

/// Where samples come in, with what belongs to that way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Datagrams over IP.
    Udp(UdpConfig),
    /// Lines over IP.
    Tcp(TcpConfig),
    /// Lines from programs of this host.
    Unix(UnixConfig),
    /// Datagrams from programs of this host.
    UnixDatagram(UnixDatagramConfig),
}

/// What a `udp` listener needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// Who may send.
    pub allow: AllowList,
    /// Threads that share the address, at least one.
    pub threads: usize,
    /// What to ask of the kernel as buffer, if not the general one.
    pub receive_buffer: Option<ByteSize>,
}

/// What a `tcp` listener needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// Who may connect.
    pub allow: AllowList,
    /// Limits of its connections.
    pub stream: StreamConfig,
}

/// What a `unix` listener needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixConfig {
    /// The socket's file.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Limits of its connections.
    pub stream: StreamConfig,
}

/// What a `unix_datagram` listener needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixDatagramConfig {
    /// The socket's file.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

/// Limits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Most at a time.
    pub max_connections: usize,
    /// Time without a line after which one is closed.
    pub idle_timeout: Duration,
    /// Longest line, without its end.
    pub max_line: usize,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { max_connections: 1024, idle_timeout: Duration::from_secs(60), max_line: 64 << 10 }
    }
}

impl Endpoint {
    /// Whether it is the same socket or sockets, perhaps with other settings.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Udp(this), Self::Udp(other)) => this.address == other.address,
            (Self::Tcp(this), Self::Tcp(other)) => this.address == other.address,
            (Self::Unix(this), Self::Unix(other)) => this.path == other.path,
            (Self::UnixDatagram(this), Self::UnixDatagram(other)) => this.path == other.path,
            _ => false,
        }
    }

    /// The key whose change a socket that is bound cannot follow, if there is one.
    #[must_use]
    pub fn fixed_key(&self, other: &Self) -> Option<&'static str> {
        match (self, other) {
            (Self::Udp(this), Self::Udp(other)) if this.threads != other.threads => Some("threads"),
            (Self::Unix(this), Self::Unix(other)) if this.mode != other.mode => Some("mode"),
            (Self::UnixDatagram(this), Self::UnixDatagram(other)) if this.mode != other.mode => {
                Some("mode")
            }
            _ => None,
        }
    }

    /// What to ask of the kernel as buffer, where it matters; `general` is what all others ask for.
    #[must_use]
    pub fn receive_buffer(&self, general: u64) -> Option<u64> {
        match self {
            Self::Udp(udp) => Some(udp.receive_buffer.map_or(general, ByteSize::get)),
            Self::Tcp(_) | Self::Unix(_) | Self::UnixDatagram(_) => None,
        }
    }
}

impl ListenerConfig {
    /// A JSON listener over UDP.
    #[must_use]
    pub fn json_udp(address: SocketAddr) -> Self {
        let allow = AllowList::default();
        let udp = UdpConfig { address, allow, threads: 1, receive_buffer: None };
        Self { protocol: Protocol::Json, endpoint: Endpoint::Udp(udp) }
    }
}

impl fmt::Display for ListenerConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.protocol.as_str(), self.endpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self {
            Self::Udp(_) => Transport::Udp,
            Self::Tcp(_) => Transport::Tcp,
            Self::Unix(_) => Transport::Unix,
            Self::UnixDatagram(_) => Transport::UnixDatagram,
        };
        write!(formatter, "{} ", transport.as_str())?;
        match self {
            Self::Udp(UdpConfig { address, .. }) | Self::Tcp(TcpConfig { address, .. }) => {
                address.fmt(formatter)
            }
            Self::Unix(UnixConfig { path, .. })
            | Self::UnixDatagram(UnixDatagramConfig { path, .. }) => path.display().fmt(formatter),
        }
    }
}

/// An address to listen on; a name is looked up when the configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        address::resolve(&text).map(Self).map_err(D::Error::custom)
    }
}

/// A path that fits into a socket's address.
#[derive(Clone, Debug)]
pub struct SocketPath(pub PathBuf);

impl<'de> Deserialize<'de> for SocketPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.len() {
            _ if text.contains('\0') => Err(D::Error::custom("a path has no NUL character")),
            1..=PATH_BYTES_MAX => Ok(Self(text.into())),
            length => Err(D::Error::custom(format!(
                "a socket's path has 1 to {PATH_BYTES_MAX} bytes, not {length}"
            ))),
        }
    }
}

/// Permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl FileMode {
    const DEFAULT: Self = Self(0o660);
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0o").unwrap_or(&text);
        let is_octal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if is_octal && mode <= 0o777 => Ok(Self(mode)),
            _ => Err(D::Error::custom(format!(
                "permissions are up to three digits in base eight, such as 0660, not `{text}`"
            ))),
        }
    }
}

/// A number from 1 to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpTo<const MAX: usize>(pub usize);

impl<'de, const MAX: usize> Deserialize<'de> for UpTo<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        between(deserializer, 1..=MAX).map(Self)
    }
}

/// Bytes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineLength(pub usize);

impl<'de> Deserialize<'de> for LineLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let length = between(deserializer, LINE_MIN..=LINE_MAX)?;
        usize::try_from(length.get()).map(Self).map_err(D::Error::custom)
    }
}
