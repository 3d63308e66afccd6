//! Listeners: from the kernel's datagrams and streams to samples in a table.
//!
//! [`config`] has the settings of a socket, and [`bind`] opens it. Each bound socket has its own
//! thread, which runs [`datagram`] or [`stream`] with a [`Recorder`](recorder::Recorder). The
//! recorder decodes, adds the agent's tags, records into its table and counts. Nothing downstream
//! can block it.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

pub mod allow;
pub mod bind;
pub mod bind_error;
pub mod config;
mod connections;
mod counts_by_word;
pub mod datagram;
pub mod diagnosis;
mod handshakes;
mod keepalive;
pub(crate) mod lines;
pub mod mirror;
pub mod obstacle;
mod opener;
pub(crate) mod packets;
pub mod passed;
mod receive_buffer;
pub mod recorder;
pub mod rejected;
mod reordered;
mod sender_lookup;
pub mod senders;
mod shown;
pub mod signature;
pub mod socket_file;
pub mod stats;
mod statsd_recorder;
pub mod stream;
pub mod stream_config;
mod stream_input;
pub mod tap;
mod tcp;
pub mod tls_config;
mod tls_session;
pub mod tls_stats;
pub mod udp;
pub mod unix;

pub use self::config::{ListenerConfig, ListenerSection};
pub use crate::protocol::dispatch::Protocol;

/// The sender of a message, converted to text only where it is shown.
pub trait Origin: fmt::Display {
    /// The canonical IP address; `None` if the sender has none, or if it was not looked up.
    fn ip(&self) -> Option<IpAddr>;
}

/// A name without an address.
impl Origin for str {
    fn ip(&self) -> Option<IpAddr> {
        None
    }
}

impl<O: Origin + ?Sized> Origin for &O {
    fn ip(&self) -> Option<IpAddr> {
        (**self).ip()
    }
}

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
