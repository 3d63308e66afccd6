//! The options of `tallyd bench`, and the checks across them.

use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use basics::units::Span;
use clap::Args;
use model::MetricKind;

use crate::commands::client::access::AccessArgs;
use crate::commands::client::endpoint::SendEndpoint;
use crate::commands::client::pace::{SendRate, number};
use engine::listener::{Protocol, Transport};

/// Maximum number of series, and of distinct values: a message is built beforehand for each.
const DISTINCT_MAX: u32 = 1_000_000;
/// Maximum number of tags: with the padding tag, the default of `limits.max_tags`.
const TAGS_MAX: u16 = 255;
/// Maximum number of source sockets: each costs a file descriptor.
const SOCKETS_MAX: u16 = 512;
/// Largest payload: the most that UDP over IPv4 carries.
pub(super) const PAYLOAD_BYTES_MAX: usize = 65_507;

/// `tallyd bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Where to send: udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH or unix_datagram:///PATH
    #[arg(value_name = "ENDPOINT", default_value = "udp://127.0.0.1:5090")]
    pub endpoint: SendEndpoint,

    /// Start a daemon for the measurement, with a separate configuration on free ports, and stop it
    /// afterwards; it listens on UDP unless a TRANSPORT is given
    #[arg(long, value_name = "TRANSPORT", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "udp", value_parser = transport)]
    #[arg(conflicts_with_all = ["endpoint", "admin", "no_admin"], help_heading = "Daemon")]
    pub spawn: Option<Transport>,
    /// The daemon's admin endpoint, or unix:PATH for its `admin.socket`; it reports the fate of the
    /// messages [default: http://127.0.0.1:9495]
    #[arg(long, value_name = "URL", help_heading = "Daemon")]
    pub admin: Option<String>,
    /// Do not request the fate of the messages from a daemon
    #[arg(long, conflicts_with = "admin", help_heading = "Daemon")]
    pub no_admin: bool,

    /// Protocol of the listener: json or statsd
    #[arg(long, default_value = "json", value_parser = protocol, help_heading = "Messages")]
    pub protocol: Protocol,
    /// Metric types, each with its share of the series: trace, gauge, counter, timer, set
    #[arg(long, value_name = "TYPE[=SHARE],…", default_value = "counter=80,gauge=10,timer=10")]
    #[arg(help_heading = "Messages")]
    pub types: Types,
    /// Number of series, 1 to 1M
    #[arg(long, value_name = "N", default_value = "1000", value_parser = distinct)]
    #[arg(help_heading = "Messages")]
    pub series: u32,
    /// Number of tags of each message; with 0 the metric's name identifies the series
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Messages")]
    #[arg(value_parser = clap::value_parser!(u16).range(..=i64::from(TAGS_MAX)))]
    pub tags: u16,
    /// Number of distinct values of gauges and timers, and of members of sets, 1 to 1M
    #[arg(long, value_name = "N", default_value = "1000", value_parser = distinct)]
    #[arg(help_heading = "Messages")]
    pub values: u32,
    /// Pad each message to this size with a tag, in bytes
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Messages")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=PAYLOAD_BYTES_MAX as i64))]
    pub message_bytes: u32,
    /// Number of messages in a datagram
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Messages")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Seed of the random numbers: the same seed and options produce the same messages
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Messages")]
    pub seed: u64,

    /// Messages a second, such as 200k, or `max` for as fast as one core can send
    #[arg(long, value_name = "N", default_value = "100k", help_heading = "Pace")]
    pub rate: SendRate,
    /// How long to send
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = Span::parse)]
    #[arg(help_heading = "Pace")]
    pub duration: Span,
    /// Send this number of messages, rounded up to whole datagrams, instead of sending for a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = number)]
    #[arg(help_heading = "Pace")]
    pub count: Option<NonZeroU64>,
    /// Number of source sockets or connections, which are used in turn
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Pace")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(SOCKETS_MAX)))]
    pub sockets: u16,
    /// Send successive datagrams of equal size as one packet, which the kernel divides
    /// (UDP_SEGMENT); with --spawn, the listener has `gro`
    #[arg(long, help_heading = "Pace")]
    pub gso: bool,
    /// Pin the sender to a core and, with --spawn, the daemon to another
    #[arg(long, value_name = "CORE[,CORE]", help_heading = "Pace")]
    pub pin: Option<Pin>,

    /// Print the report as JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Also exit with status 1 if a message was rejected, refused or dropped by the kernel
    #[arg(long, help_heading = "Output")]
    pub strict: bool,
    /// Print the first N datagrams or lines of the load and send nothing
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub print: Option<usize>,
    /// How to get access to it.
    #[command(flatten, next_help_heading = "Access to the daemon")]
    pub access: AccessArgs,
}

/// The load, whatever the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The protocol of the messages.
    pub protocol: Protocol,
    /// Whether messages are datagrams, and not lines of a stream.
    pub is_datagram: bool,
    /// Whether datagrams of one size share a packet.
    pub gso: bool,
    /// Metric types by share.
    pub types: Types,
    /// Distinct series.
    pub series: u32,
    /// Tags of a message.
    pub tags: u16,
    /// Distinct values.
    pub values: u32,
    /// Minimum size of a message, in bytes.
    pub message_bytes: usize,
    /// Messages in a payload: a datagram, or a line.
    pub batch: u32,
    /// The seed of the random numbers.
    pub seed: u64,
}

/// The amount to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// As much as this time allows.
    Time(Duration),
    /// This number of payloads.
    Payloads(u64),
}

impl BenchArgs {
    /// The load of these options, for an endpoint of this transport.
    ///
    /// # Errors
    /// A sentence about two options that contradict each other.
    pub fn load(&self, transport: Transport) -> Result<Load, String> {
        let is_datagram = matches!(transport, Transport::Udp | Transport::UnixDatagram);
        if self.protocol == Protocol::Statsd && self.types.has(MetricKind::Trace) {
            return Err("statsd has no traces: leave `trace` out of --types, or send \
                        --protocol json"
                .to_owned());
        }
        if self.batch > 1 && !is_datagram {
            return Err(format!(
                "--batch is for datagrams: over {} each message is a line of a stream",
                transport.as_str()
            ));
        }
        if self.gso && transport != Transport::Udp {
            return Err(format!("--gso is for udp, not for {}", transport.as_str()));
        }
        if self.pin.is_some_and(|pin| pin.daemon.is_some()) && self.spawn.is_none() {
            return Err(
                "the second core of --pin is for the daemon of --spawn; pin another daemon \
                        with taskset(1)"
                    .to_owned(),
            );
        }
        Ok(Load {
            protocol: self.protocol,
            is_datagram,
            gso: self.gso,
            types: self.types.clone(),
            series: self.series,
            tags: self.tags,
            values: self.values,
            message_bytes: self.message_bytes as usize,
            batch: self.batch,
            seed: self.seed,
        })
    }

    /// The amount to send.
    #[must_use]
    pub fn amount(&self) -> Amount {
        match self.count {
            Some(messages) => Amount::Payloads(messages.get().div_ceil(u64::from(self.batch))),
            None => Amount::Time(self.duration.get()),
        }
    }

    /// Payloads a second; `None` for no limit.
    #[must_use]
    pub fn payload_rate(&self) -> Option<f64> {
        self.rate.0.map(|messages| messages.get() as f64 / f64::from(self.batch))
    }
}

/// Metric types, each with its share of the series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types(Vec<(MetricKind, u32)>);

impl Types {
    /// Types and shares, in the order of the option.
    #[must_use]
    pub fn shares(&self) -> &[(MetricKind, u32)] {
        &self.0
    }

    fn has(&self, kind: MetricKind) -> bool {
        self.0.iter().any(|(other, _)| *other == kind)
    }
}

impl FromStr for Types {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut types = Self(Vec::new());
        for part in text.split(',') {
            let (word, share) = part.split_once('=').unwrap_or((part, "1"));
            let kind = MetricKind::from_word(word)
                .ok_or_else(|| format!("`{word}` is not a type: use {}", MetricKind::listed()))?;
            let share = share.parse().ok().filter(|share| (1..=1000).contains(share));
            let share = share.ok_or_else(|| format!("the share of `{word}` must be 1 to 1000"))?;
            if types.has(kind) {
                return Err(format!("`{word}` is given twice"));
            }
            types.0.push((kind, share));
        }
        Ok(types)
    }
}

/// The cores to pin to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The core of the sender.
    pub sender: usize,
    /// The core of the daemon.
    pub daemon: Option<usize>,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let core = |text: &str| {
            let core = text.parse().ok().filter(|core| *core < rustix::thread::CpuSet::MAX_CPU);
            core.ok_or_else(|| format!("`{text}` is not a core: cores are numbered from 0"))
        };
        let (sender, daemon) = match text.split_once(',') {
            Some((sender, daemon)) => (sender, Some(daemon)),
            None => (text, None),
        };
        Ok(Self { sender: core(sender)?, daemon: daemon.map(core).transpose()? })
    }
}

fn distinct(text: &str) -> Result<u32, String> {
    let number = number(text)?.get();
    let number = u32::try_from(number).ok().filter(|number| *number <= DISTINCT_MAX);
    number.ok_or_else(|| "must be at most 1M".to_owned())
}

fn protocol(word: &str) -> Result<Protocol, String> {
    Protocol::from_word(word).ok_or_else(|| "must be json or statsd".to_owned())
}

fn transport(word: &str) -> Result<Transport, String> {
    Transport::from_word(word).ok_or_else(|| "must be udp, tcp, unix or unix_datagram".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_distinct_messages_is_bounded() {
        assert!(distinct("1M").is_ok() && distinct("1000001").is_err());
    }

    #[test]
    fn types_have_shares_and_occur_once() {
        let types: Types = "set,timer=3".parse().unwrap();
        assert_eq!(types.shares(), [(MetricKind::Set, 1), (MetricKind::Timer, 3)]);
        for wrong in ["", "meter", "timer,timer=2", "set=0", "set=x", "set,"] {
            assert!(wrong.parse::<Types>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn cores_are_numbers() {
        assert_eq!("1".parse(), Ok(Pin { sender: 1, daemon: None }));
        assert_eq!("1,0".parse(), Ok(Pin { sender: 1, daemon: Some(0) }));
        for wrong in ["", "a", "0,", "0,1,2", "1024"] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }
}
