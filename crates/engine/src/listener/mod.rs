//! Sockets: from the kernel's datagrams and streams to samples in a table.
//!
//! [`config`] says what to open, [`bind`] opens it. Each socket that was bound has a thread of its
//! own, which runs [`datagram`] or [`stream`], with a [`Recorder`](recorder::Recorder): it decodes, adds
//! the agent's tags, records into its table and counts. Nothing downstream can hold it up.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use crate::protocol::split::Split;
use crate::protocol::{Limits, Rejection, Sample, json, statsd};

pub mod allow;
pub mod bind;
pub mod bind_error;
pub mod config;
pub mod datagram;
pub(crate) mod lines;
pub mod passed;
mod receive_buffer;
pub mod recorder;
pub mod rejected;
pub mod senders;
mod socket_file;
pub mod stats;
pub mod stream;
pub mod tap;
mod tcp;
pub mod udp;
mod unix;

pub use self::config::{ListenerConfig, ListenerSection};

/// Who sent something: shown as text to whoever looks, and only then made into it.
pub trait Origin: fmt::Display {
    /// Its canonical IP address; `None` if it has none or it was not asked for.
    fn ip(&self) -> Option<IpAddr>;
}

/// A name alone.
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

/// What clients speak.
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
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Json, Self::Statsd];

    /// The one of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == word)
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Statsd => "statsd",
        }
    }

    /// Whether the bytes are to be decoded as a whole and not line by line.
    #[must_use]
    pub fn is_array(self, bytes: &[u8]) -> bool {
        match self {
            Self::Json => json::is_array(bytes),
            Self::Statsd => false,
        }
    }

    /// Splits a line around its number, where it is easy to find.
    #[inline]
    #[must_use]
    pub fn split(self, line: &[u8]) -> Option<Split<'_>> {
        match self {
            Self::Json => json::split(line),
            Self::Statsd => statsd::split(line),
        }
    }

    /// Decodes a datagram and hands each sample or rejection to `each`, in order. Returns how many
    /// lines are neither.
    pub fn decode<'a>(
        self,
        datagram: &'a [u8],
        limits: &Limits,
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

    /// Decodes one line, split as [`Protocol::split`] did, and hands each of its samples or
    /// rejections to `each`.
    pub fn decode_line<'a>(
        self,
        line: &'a [u8],
        split: Option<&Split<'_>>,
        limits: &Limits,
        each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
    ) -> DecodedLine {
        match self {
            Self::Json => match json::decode_line(line, limits) {
                Ok((sample, number_start)) => {
                    each(Ok(sample));
                    let number_start = number_start.unwrap_or(line.len());
                    let is_split_right = split.is_some_and(|s| s.number_start == number_start);
                    DecodedLine { skipped: 0, is_split_right }
                }
                Err(rejection) => {
                    each(Err(rejection));
                    DecodedLine { skipped: 0, is_split_right: false }
                }
            },
            // A line that is split at all is so plain that it can only be split rightly.
            Self::Statsd => DecodedLine {
                skipped: statsd::decode(line, limits, each),
                is_split_right: split.is_some(),
            },
        }
    }
}

/// What decoding a line told besides its samples.
#[derive(Clone, Copy, Debug)]
pub struct DecodedLine {
    /// Lines that are no samples and no mistake either.
    pub skipped: u64,
    /// Whether, if there is one sample, the split took just the number that it was made of.
    pub is_split_right: bool,
}

/// How messages come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// UDP over IPv4 or IPv6.
    #[default]
    Udp,
    /// TCP over IPv4 or IPv6: a message a line.
    Tcp,
    /// A Unix stream socket: a message a line.
    Unix,
    /// A Unix datagram socket.
    UnixDatagram,
}

impl Transport {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Unix, Self::UnixDatagram];

    /// The one of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.as_str() == word)
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::UnixDatagram => "unix_datagram",
        }
    }

    /// Whether it has an IP address, and not a path.
    #[must_use]
    pub const fn has_address(self) -> bool {
        matches!(self, Self::Udp | Self::Tcp)
    }
}
