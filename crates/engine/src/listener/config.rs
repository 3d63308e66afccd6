//! An entry of `listeners`: its keys in the configuration file, and the checked settings.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use basics::address::ListenAddresses;
use basics::bounds::between;
use basics::units::{ByteSize, OptionalSpan};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::allow::AllowList;
use super::mirror::MirrorList;
use super::signature::config::{SecretKeys, SecretSection};
use super::stream_config::{Framing, Keepalive, StreamConfig};
use super::tls_config::{ListenerTls, ListenerTlsSection};
use super::transport::Transport;
use crate::protocol::SignedGauges;
use crate::protocol::dispatch::Protocol;
use yaml::{ConfigError, Source, SourceSpan, Spanned};

/// Maximum of `max_connections`.
const CONNECTIONS_MAX: usize = StreamConfig::CONNECTIONS_MAX;
/// Maximum number of threads that share a listener's address.
const THREADS_MAX: usize = 64;
/// Maximum length of the path in a Unix socket address.
const PATH_BYTES_MAX: usize = 107;
/// Bounds of `max_line`.
const LINE_MIN: ByteSize = ByteSize::from_bytes(256);
const LINE_MAX: ByteSize = ByteSize::from_mib(16);

/// An entry of `listeners`: a socket that receives samples.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerSection {
    /// The protocol of the clients. Defaults to `json`.
    #[serde(default)]
    pub protocol: Protocol,
    /// The kind of socket. Defaults to `udp`.
    #[serde(default)]
    pub transport: Transport,
    /// For `protocol: statsd`: the meaning of a sign before the value of a gauge, such as `depth:-5|g`:
    /// `change` of the level, as in statsd, or `level`, as in DogStatsD. Defaults to `change`.
    pub gauges: Option<Spanned<SignedGauges>>,
    /// For `udp` and `tcp`: the address to listen on, as `host:port`, `[ipv6%zone]:port` or `:port`,
    /// which is every address of this host. A name stands for all its addresses, each with its own
    /// socket; one that this host does not have is left out with a warning if it has another. Port 0
    /// selects a free port for each address.
    pub address: Option<Spanned<ListenAddresses>>,
    /// For `unix` and `unix_datagram`: the path of the socket. A stale socket file, left by a
    /// program that no longer runs, is replaced.
    pub path: Option<Spanned<SocketPath>>,
    /// For `udp` and `tcp`: networks or addresses that may send, such as `10.1.0.0/16`; data from
    /// all others is counted and not read. Defaults to everyone who can reach the address.
    pub allow: Option<Spanned<AllowList>>,
    /// For `unix` and `unix_datagram`: the octal permissions of the socket file; senders need write
    /// permission. Defaults to `0660`.
    pub mode: Option<Spanned<FileMode>>,
    /// For `udp`: threads that share the address, each with its own socket; the kernel distributes
    /// senders among them. One thread receives more than a million messages per second, so more
    /// threads are for hosts with cores to spare. With more than one, a second daemon can bind the
    /// same address by mistake. 1 to 64. Defaults to `1`.
    pub threads: Option<Spanned<UpTo<THREADS_MAX>>>,
    /// For `udp`: size of the socket's kernel buffer to request, instead of the general
    /// `receive_buffer`.
    pub receive_buffer: Option<Spanned<ByteSize>>,
    /// For `udp`: whether the kernel may merge successive datagrams of one sender into a packet
    /// (UDP_GRO), which saves CPU time where senders or the network card send many at once. A packet
    /// that the kernel drops counts once in `kernel_drops`, however many datagrams it has. Defaults
    /// to `false`.
    pub gro: Option<Spanned<bool>>,
    /// For `udp` and `unix_datagram`: addresses that get a copy of every datagram from an allowed
    /// sender, as `udp://host:port`, at most 8. Of the addresses of a name, the first of IPv4 is used.
    /// Sending never delays receiving: a copy that cannot be sent at once counts as failed. Defaults to
    /// none.
    pub mirror: Option<Spanned<MirrorList>>,
    /// For `udp` and `unix_datagram`: a secret with which senders sign each datagram, in brubeck's format;
    /// datagrams without its signature, old ones and repeated ones are rejected. A text of at least 16
    /// bytes, or a section with a name for each of up to two secrets, so that senders can move from one to
    /// the other. Defaults to none: datagrams are unsigned.
    pub secret: Option<Spanned<SecretSection>>,
    /// For `tcp` and `unix`: maximum number of open connections. A further one takes the place of
    /// the connection that has completed no line for the longest time, which is closed and counted.
    /// A connection takes a file descriptor and up to `max_line` of memory. 1 to 65536. Defaults to
    /// `1024`.
    pub max_connections: Option<Spanned<UpTo<CONNECTIONS_MAX>>>,
    /// For `tcp`: the same for the connections from one address, so that one host cannot take the
    /// places of all others. 1 to 65536, which is no limit besides `max_connections`. Defaults to
    /// `65536`.
    pub max_connections_per_address: Option<Spanned<UpTo<CONNECTIONS_MAX>>>,
    /// For `tcp` and `unix`: a connection that completes no line within this time is closed and
    /// counted. The next message of a client that sends rarely is then lost, because most clients
    /// do not notice that the connection is closed until they have sent. `none` for no such time.
    /// Defaults to `none`.
    pub idle_timeout: Option<Spanned<OptionalSpan>>,
    /// For `tcp`: the kernel probes the peer of a connection after this much silence, four times
    /// within the same time again, and closes the connection if no probe is answered: a host that
    /// crashed does not occupy a connection forever. 1s to 9h, or `none`. Defaults to `60s`.
    pub keepalive: Option<Spanned<Keepalive>>,
    /// For `unix`: how clients divide a stream into messages: `lines`, each ended by a newline, or
    /// `length_prefixed`, packets of lines, each after its length as 4 bytes, little-endian, as DogStatsD
    /// clients send them. A change applies to new connections. Defaults to `lines`.
    pub framing: Option<Spanned<Framing>>,
    /// For `tcp` and `unix`: maximum length of a line; a longer one is rejected as `too_long`. With
    /// `framing: length_prefixed`, the maximum length of a packet; a longer one is rejected as `too_long`,
    /// and the connection is closed. Each connection may take this much memory. 256B to 16MiB. Defaults
    /// to `64KiB`.
    pub max_line: Option<Spanned<LineLength>>,
    /// For `tcp`: TLS 1.2 and 1.3. A reload reads the files again; open connections stay. Defaults to
    /// none, connections without TLS.
    pub tls: Option<Spanned<ListenerTlsSection>>,
}

impl ListenerSection {
    /// Checks that the keys fit the transport. Returns a listener for each address. `index` is the
    /// position of the entry in the list, `span` its position in the file.
    ///
    /// # Errors
    /// At a key that the transport does not have, or at the entry if a key is missing.
    pub fn check(
        &self,
        source: &Source,
        index: usize,
        span: SourceSpan,
    ) -> Result<Vec<ListenerConfig>, ConfigError> {
        let transport = self.transport;
        for (key, key_span, transports) in self.keys_by_transport() {
            if let Some(key_span) = key_span
                && !transports.contains(&transport)
            {
                let message = format!(
                    "`listeners[{index}].{key}` cannot be used with `transport: {}`",
                    transport.as_str()
                );
                let needs = if transport.has_address() { "an `address`" } else { "a `path`" };
                return Err(source.error_at(key_span, message).with_help(format!(
                    "`{key}` is for {}; `{}` listens on {needs}",
                    transport_list(transports),
                    transport.as_str()
                )));
            }
        }
        if let Some(gauges) = &self.gauges
            && self.protocol != Protocol::Statsd
        {
            let message = format!("`listeners[{index}].gauges` requires `protocol: statsd`");
            let help = "in JSON, a number sets a gauge and a string with a sign changes it";
            return Err(source.error_at(gauges.span(), message).with_help(help.to_owned()));
        }
        let missing = |key| source.error_at(span, format!("`listeners[{index}].{key}` is missing"));
        let addresses = || {
            let addresses = self.address.as_ref().map(Spanned::get);
            addresses.ok_or_else(|| missing("address"))
        };
        let path = || self.path.as_ref().map(|p| p.get().0.clone()).ok_or_else(|| missing("path"));
        let allow = self.allow.as_ref().map(|allow| allow.get().clone()).unwrap_or_default();
        let mode = self.mode.map_or(FileMode::DEFAULT, Spanned::into_inner).0;
        let mirror = self.mirror.as_ref().map(|mirror| mirror.get().clone()).unwrap_or_default();
        let secret = self.secret(source, index)?;
        let protocol = self.protocol;
        let gauges = self.gauges.map_or_else(SignedGauges::default, Spanned::into_inner);
        let alone = |endpoint| vec![ListenerConfig::new(protocol, endpoint)];
        let listeners = match transport {
            Transport::Udp => ListenerConfig::for_each(protocol, addresses()?, |address| {
                ListenerEndpoint::Udp(UdpConfig {
                    address,
                    allow: allow.clone(),
                    threads: self.threads.map_or(1, |threads| threads.get().0),
                    receive_buffer: self.receive_buffer.map(Spanned::into_inner),
                    gro: self.gro.is_some_and(Spanned::into_inner),
                    mirror: mirror.clone(),
                    secret: secret.clone(),
                })
            }),
            Transport::Tcp => ListenerConfig::for_each(protocol, addresses()?, |address| {
                let (allow, stream) = (allow.clone(), self.stream());
                let tls = self.tls.as_ref().map(|tls| ListenerTls::new(tls.get()));
                ListenerEndpoint::Tcp(TcpConfig { address, allow, stream, tls })
            }),
            Transport::Unix => {
                let stream = self.stream();
                alone(ListenerEndpoint::Unix(UnixConfig { path: path()?, mode, stream }))
            }
            Transport::UnixDatagram => {
                let config = UnixDatagramConfig { path: path()?, mode, mirror, secret };
                alone(ListenerEndpoint::UnixDatagram(config))
            }
        };
        let with_gauges = |listener| ListenerConfig { gauges, ..listener };
        Ok(listeners.into_iter().map(with_gauges).collect())
    }

    /// The secrets, if there are any.
    fn secret(&self, source: &Source, index: usize) -> Result<SecretKeys, ConfigError> {
        let Some(section) = &self.secret else { return Ok(SecretKeys::default()) };
        section.get().check().map_err(|rule| {
            source.error_at(section.span(), format!("`listeners[{index}].secret`: {rule}"))
        })
    }

    /// The keys that depend on the transport: the name, the position if present, and the
    /// transports.
    fn keys_by_transport(&self) -> [(&'static str, Option<SourceSpan>, &'static [Transport]); 16] {
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
            ("gro", span(self.gro.as_ref()), &[Udp]),
            ("mirror", span(self.mirror.as_ref()), &[Udp, UnixDatagram]),
            ("secret", span(self.secret.as_ref()), &[Udp, UnixDatagram]),
            ("max_connections", span(self.max_connections.as_ref()), &[Tcp, Unix]),
            (
                "max_connections_per_address",
                span(self.max_connections_per_address.as_ref()),
                &[Tcp],
            ),
            ("idle_timeout", span(self.idle_timeout.as_ref()), &[Tcp, Unix]),
            ("keepalive", span(self.keepalive.as_ref()), &[Tcp]),
            ("framing", span(self.framing.as_ref()), &[Unix]),
            ("max_line", span(self.max_line.as_ref()), &[Tcp, Unix]),
            ("tls", span(self.tls.as_ref()), &[Tcp]),
        ]
    }

    fn stream(&self) -> StreamConfig {
        let default = StreamConfig::default();
        StreamConfig {
            max_connections: self.max_connections.map_or(default.max_connections, |n| n.get().0),
            max_per_address: self
                .max_connections_per_address
                .map_or(default.max_per_address, |n| n.get().0),
            idle_timeout: self.idle_timeout.map_or(default.idle_timeout, |time| time.get().get()),
            keepalive: self.keepalive.map_or(default.keepalive, Spanned::into_inner),
            framing: self.framing.map_or(default.framing, Spanned::into_inner),
            max_line: self.max_line.map_or(default.max_line, |length| length.get().0),
        }
    }
}

/// `` `udp` and `tcp` ``.
fn transport_list(transports: &[Transport]) -> String {
    let names: Vec<_> = transports.iter().map(|t| format!("`{}`", t.as_str())).collect();
    names.join(" and ")
}

/// The checked settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// The protocol of the clients.
    pub protocol: Protocol,
    /// The socket.
    pub endpoint: ListenerEndpoint,
    /// The meaning of a sign before the value of a gauge on a statsd line.
    pub gauges: SignedGauges,
    /// The name whose addresses this listener shares with others, if it has several. This host need
    /// not have all of them.
    pub name: Option<String>,
}

/// The socket of a listener, with the settings of its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerEndpoint {
    /// Datagrams over IP.
    Udp(UdpConfig),
    /// Lines over IP.
    Tcp(TcpConfig),
    /// Lines from programs on this host.
    Unix(UnixConfig),
    /// Datagrams from programs on this host.
    UnixDatagram(UnixDatagramConfig),
}

/// The settings of a `udp` listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// The address to listen on.
    pub address: SocketAddr,
    /// Who may send.
    pub allow: AllowList,
    /// Number of threads that share the address, at least one.
    pub threads: usize,
    /// Size of the kernel buffer to request; `None` for the general setting.
    pub receive_buffer: Option<ByteSize>,
    /// Whether the kernel may merge datagrams.
    pub gro: bool,
    /// The targets that get a copy of every datagram.
    pub mirror: MirrorList,
    /// The secrets that sign datagrams, if these are signed.
    pub secret: SecretKeys,
}

impl UdpConfig {
    /// The defaults at an address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            allow: AllowList::default(),
            threads: 1,
            receive_buffer: None,
            gro: false,
            mirror: MirrorList::default(),
            secret: SecretKeys::default(),
        }
    }
}

/// The settings of a `tcp` listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// The address to listen on.
    pub address: SocketAddr,
    /// Who may connect.
    pub allow: AllowList,
    /// Limits of its connections.
    pub stream: StreamConfig,
    /// TLS for new connections; `None` for connections without it.
    pub tls: Option<ListenerTls>,
}

/// The settings of a `unix` listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixConfig {
    /// The socket file.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Limits of its connections.
    pub stream: StreamConfig,
}

/// The settings of a `unix_datagram` listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixDatagramConfig {
    /// The socket file.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// The targets that get a copy of every datagram.
    pub mirror: MirrorList,
    /// The secrets that sign datagrams, if these are signed.
    pub secret: SecretKeys,
}

impl ListenerEndpoint {
    /// The name of the listener in logs and in the status.
    #[must_use]
    pub fn label(&self, protocol: Protocol) -> String {
        format!("{}/{self}", protocol.as_str())
    }

    /// Whether both are the same socket, perhaps with different settings.
    #[must_use]
    pub fn is_same_socket(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Udp(this), Self::Udp(other)) => this.address == other.address,
            (Self::Tcp(this), Self::Tcp(other)) => this.address == other.address,
            (Self::Unix(this), Self::Unix(other)) => this.path == other.path,
            (Self::UnixDatagram(this), Self::UnixDatagram(other)) => this.path == other.path,
            _ => false,
        }
    }

    /// The number of sockets that it binds.
    #[must_use]
    pub fn sockets(&self) -> usize {
        match self {
            Self::Udp(udp) => udp.threads,
            Self::Tcp(_) | Self::Unix(_) | Self::UnixDatagram(_) => 1,
        }
    }

    /// The limits on its connections, for transports that have them.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamConfig> {
        match self {
            Self::Tcp(tcp) => Some(&tcp.stream),
            Self::Unix(unix) => Some(&unix.stream),
            Self::Udp(_) | Self::UnixDatagram(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn stream_mut(&mut self) -> Option<&mut StreamConfig> {
        match self {
            Self::Tcp(tcp) => Some(&mut tcp.stream),
            Self::Unix(unix) => Some(&mut unix.stream),
            Self::Udp(_) | Self::UnixDatagram(_) => None,
        }
    }

    /// Its TLS, if it has any.
    #[must_use]
    pub fn tls(&self) -> Option<&ListenerTls> {
        match self {
            Self::Tcp(tcp) => tcp.tls.as_ref(),
            Self::Udp(_) | Self::Unix(_) | Self::UnixDatagram(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn tls_mut(&mut self) -> Option<&mut ListenerTls> {
        match self {
            Self::Tcp(tcp) => tcp.tls.as_mut(),
            Self::Udp(_) | Self::Unix(_) | Self::UnixDatagram(_) => None,
        }
    }

    /// The targets of copies, for transports that have them.
    #[must_use]
    pub fn mirror(&self) -> Option<&MirrorList> {
        match self {
            Self::Udp(udp) => Some(&udp.mirror),
            Self::UnixDatagram(unix) => Some(&unix.mirror),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// The secrets that sign datagrams, for transports that have them.
    #[must_use]
    pub fn secret(&self) -> Option<&SecretKeys> {
        match self {
            Self::Udp(udp) => Some(&udp.secret),
            Self::UnixDatagram(unix) => Some(&unix.secret),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Removes the targets of copies.
    pub fn clear_mirror(&mut self) {
        match self {
            Self::Udp(udp) => udp.mirror = MirrorList::default(),
            Self::UnixDatagram(unix) => unix.mirror = MirrorList::default(),
            Self::Tcp(_) | Self::Unix(_) => {}
        }
    }

    /// The key that differs and that cannot be changed while the socket is bound, if any.
    #[must_use]
    pub fn fixed_key(&self, other: &Self) -> Option<&'static str> {
        match (self, other) {
            (Self::Udp(this), Self::Udp(other)) if this.threads != other.threads => Some("threads"),
            (Self::Udp(this), Self::Udp(other)) if this.gro != other.gro => Some("gro"),
            (Self::Unix(this), Self::Unix(other)) if this.mode != other.mode => Some("mode"),
            (Self::UnixDatagram(this), Self::UnixDatagram(other)) if this.mode != other.mode => {
                Some("mode")
            }
            _ => None,
        }
    }

    /// The size of the kernel buffer to request, for transports that have one; `general` is the
    /// setting for all listeners.
    #[must_use]
    pub fn receive_buffer(&self, general: u64) -> Option<u64> {
        match self {
            Self::Udp(udp) => Some(udp.receive_buffer.map_or(general, ByteSize::get)),
            Self::Tcp(_) | Self::Unix(_) | Self::UnixDatagram(_) => None,
        }
    }
}

impl ListenerConfig {
    /// A listener with one address or path, and the defaults of the protocol.
    #[must_use]
    pub fn new(protocol: Protocol, endpoint: ListenerEndpoint) -> Self {
        Self { protocol, endpoint, gauges: SignedGauges::default(), name: None }
    }

    /// Creates the listeners for JSON over UDP.
    #[must_use]
    pub fn json_udp(addresses: &ListenAddresses) -> Vec<Self> {
        Self::for_each(Protocol::Json, addresses, |address| {
            ListenerEndpoint::Udp(UdpConfig::new(address))
        })
    }

    /// Creates a listener for each address.
    fn for_each(
        protocol: Protocol,
        addresses: &ListenAddresses,
        endpoint: impl Fn(SocketAddr) -> ListenerEndpoint,
    ) -> Vec<Self> {
        let name = addresses.shared_name();
        let listener = |address: &SocketAddr| Self {
            name: name.map(str::to_owned),
            ..Self::new(protocol, endpoint(*address))
        };
        addresses.all().iter().map(listener).collect()
    }

    /// Whether both listeners have addresses of the same name.
    #[must_use]
    pub fn shares_name_with(&self, other: &Self) -> bool {
        self.name.is_some()
            && (self.protocol, &self.name) == (other.protocol, &other.name)
            && std::mem::discriminant(&self.endpoint) == std::mem::discriminant(&other.endpoint)
    }
}

impl fmt::Display for ListenerConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.endpoint.label(self.protocol))
    }
}

impl fmt::Display for ListenerEndpoint {
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

/// A path that fits into a Unix socket address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(pub PathBuf);

impl<'de> Deserialize<'de> for SocketPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.len() {
            _ if text.contains('\0') => {
                Err(D::Error::custom("a path must not contain a NUL character"))
            }
            1..=PATH_BYTES_MAX => Ok(Self(text.into())),
            length => Err(D::Error::custom(format!(
                "the path of a socket must have 1 to {PATH_BYTES_MAX} bytes, not {length}"
            ))),
        }
    }
}

/// The permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl FileMode {
    /// The user and the group of the file may use it.
    pub const DEFAULT: Self = Self(0o660);
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0o").unwrap_or(&text);
        let is_octal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if is_octal && mode <= 0o777 => Ok(Self(mode)),
            _ => Err(D::Error::custom(format!(
                "expected octal permissions of up to three digits, such as 0660, not `{text}`"
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

/// The length of a line in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineLength(pub usize);

impl<'de> Deserialize<'de> for LineLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let length = between(deserializer, LINE_MIN..=LINE_MAX)?;
        usize::try_from(length.get()).map(Self).map_err(D::Error::custom)
    }
}
