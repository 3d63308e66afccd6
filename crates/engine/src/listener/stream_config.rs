//! The connections of a `tcp` or `unix` listener: their limits, and the framing of messages.

use std::time::Duration;

use basics::units::{OptionalSpan, Span};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Bounds of `keepalive`. The kernel accepts at most 32,767 s.
const KEEPALIVE_MIN: Span = Span::from_secs(1);
const KEEPALIVE_MAX: Span = Span::from_secs(9 * 3600);

/// The limits on connections, and the framing of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Maximum number of open connections.
    pub max_connections: usize,
    /// Maximum number of open connections from one IP address.
    pub max_per_address: usize,
    /// Time without a complete line after which a connection is closed; `None` for no such time.
    pub idle_timeout: Option<Span>,
    /// When the kernel probes for dead peers.
    pub keepalive: Keepalive,
    /// How the bytes of a connection are divided into messages.
    pub framing: Framing,
    /// Maximum length of a line, without its end, or of a packet, without its length.
    pub max_line: usize,
}

/// `framing`: how the bytes of a connection are divided into messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Lines, each ended by a newline.
    #[default]
    Lines,
    /// Packets of lines, each after its length: 4 bytes, little-endian, as DogStatsD clients send them.
    LengthPrefixed,
}

impl StreamConfig {
    /// Maximum number of connections of a listener. Each takes a file descriptor, which the system
    /// limits as well.
    pub(super) const CONNECTIONS_MAX: usize = 65_536;
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_per_address: Self::CONNECTIONS_MAX,
            idle_timeout: None,
            keepalive: Keepalive::default(),
            framing: Framing::default(),
            max_line: 64 << 10,
        }
    }
}

/// How long a TCP connection is silent before the kernel probes whether its peer still exists;
/// `none` for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive(Option<Span>);

impl Keepalive {
    /// Number of probes without an answer after which the kernel breaks the connection.
    pub(super) const PROBES: u32 = 4;

    /// The silence before the first probe, in whole seconds; `None` for no probes.
    pub(super) fn silence(self) -> Option<Duration> {
        let silence = self.0?.get();
        Some(Duration::from_secs(silence.as_millis().div_ceil(1000) as u64))
    }

    /// The pause between two probes: a dead peer is noticed after twice the silence.
    pub(super) fn pause(silence: Duration) -> Duration {
        Duration::from_secs(silence.as_secs().div_ceil(u64::from(Self::PROBES)))
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self(Some(Span::from_secs(60)))
    }
}

impl<'de> Deserialize<'de> for Keepalive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let silence = OptionalSpan::deserialize(deserializer)?.get();
        match silence {
            Some(span) if !(KEEPALIVE_MIN..=KEEPALIVE_MAX).contains(&span) => {
                Err(D::Error::custom(format!(
                    "must be between {KEEPALIVE_MIN} and {KEEPALIVE_MAX}, or `none`, not {span}"
                )))
            }
            silence => Ok(Self(silence)),
        }
    }
}
