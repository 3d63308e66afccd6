//! The kinds of sockets of listeners.

use serde::Deserialize;

/// The kind of socket on which messages arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// UDP over IPv4 or IPv6.
    #[default]
    Udp,
    /// TCP over IPv4 or IPv6, with a message per line.
    Tcp,
    /// A Unix stream socket, with a message per line or packets with lengths.
    Unix,
    /// A Unix datagram socket.
    UnixDatagram,
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Unix, Self::UnixDatagram];

    /// The transport with this name in the configuration.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.as_str() == word)
    }

    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::UnixDatagram => "unix_datagram",
        }
    }

    /// Whether it has an IP address, as opposed to a path.
    #[must_use]
    pub const fn has_address(self) -> bool {
        matches!(self, Self::Udp | Self::Tcp)
    }
}
