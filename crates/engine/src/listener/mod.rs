//! Listeners: from the kernel's datagrams and streams to samples in a table.
//!
//! [`config`] has the settings of a socket, and [`bind`] opens it. Each bound socket has its own
//! thread, which runs [`datagram`] or [`stream`] with a [`Recorder`](recorder::Recorder). The
//! recorder decodes, adds the agent's tags, records into its table and counts. Nothing downstream
//! can block it.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use crate::protocol::split::Split;
use crate::protocol::{MessageLimits, Rejection, Sample, json, statsd};

pub mod allow;
pub mod bind;
pub mod bind_error;
pub mod config;
mod connections;
pub mod datagram;
pub mod diagnosis;
pub(crate) mod lines;
pub mod mirror;
pub mod obstacle;
pub mod passed;
mod receive_buffer;
pub mod recorder;
pub mod rejected;
pub mod senders;
pub mod socket_file;
pub mod stats;
mod statsd_recorder;
pub mod stream;
pub mod stream_config;
pub mod tap;
mod tcp;
pub mod udp;
pub mod unix;

pub use self::config::{ListenerConfig, ListenerSection};

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

/// The protocol of the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// JSON messages.
    #[default]
    Json,
    /// statsd lines.
    Statsd,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 2] = [Self::Json, Self::Statsd];

    /// The protocol with this name in the configuration.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == word)
    }

    /// The protocol of a listener with this label, such as `json/udp 127.0.0.1:5090`; `None` for a
    /// label of something else.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        Self::from_word(label.split_once('/')?.0)
    }

    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Statsd => "statsd",
        }
    }

    /// Whether the bytes must be decoded as a whole, not line by line.
    #[must_use]
    pub fn is_array(self, bytes: &[u8]) -> bool {
        match self {
            Self::Json => json::is_array(bytes),
            Self::Statsd => false,
        }
    }

    /// Splits a line around its numbers. Returns whether they were easy to find.
    #[inline]
    #[must_use]
    pub fn split(self, split: &mut Split<'_>) -> bool {
        match self {
            Self::Json => json::split(split),
            Self::Statsd => statsd::split(split),
        }
    }

    /// Decodes a datagram and passes each sample or rejection to `each`, in order. Returns the
    /// number of lines that are neither.
    pub fn decode<'a>(
        self,
        datagram: &'a [u8],
        limits: &MessageLimits,
        each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
    ) -> u64 {
        match self {
            Self::Json => {
                json::decode(datagram, limits, each);
                0
            }
            Self::Statsd => statsd::decode(datagram, limits, each),
        }
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
    /// A Unix stream socket, with a message per line.
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
