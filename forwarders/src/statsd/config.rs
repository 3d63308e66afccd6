//! `forwarders.statsd`: the configuration of the statsd destination.

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::config::DeliveryConfig;
use crate::idle::{IdleConfig, IdleFor};
use crate::select::SelectConfig;
use basics::address::host_and_port;
use basics::units::ByteSize;

/// Range of `max_packet`, in bytes.
const PACKET_BYTES: std::ops::RangeInclusive<u64> = 512..=65_507;
/// Range of `timer_samples`.
const TIMER_SAMPLES: std::ops::RangeInclusive<u32> = 100..=100_000;
/// Default port of statsd.
const PORT: u16 = 8125;

/// `forwarders.statsd`: one statsd, or any program that reads its protocol.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsdConfig {
    /// Name of the destination in the ledger and the log, unique among destinations. Defaults to
    /// `statsd`.
    #[serde(default)]
    pub name: Option<String>,
    /// Address of statsd: `host:port`, by default port 8125, or the path of a socket for
    /// `transport: unix`. A name is looked up again after `delivery.resolve_every`. Required.
    pub address: String,
    /// `udp`, which cannot confirm arrival; `tcp`; or `unix`, a datagram socket, or a stream socket
    /// if the receiver has one. Defaults to `udp`.
    #[serde(default)]
    pub transport: Transport,
    /// Format of tags: `dogstatsd`, `influx`, `signalfx`, or `plain` without tags, which merges
    /// series that differ only in tags. Defaults to `dogstatsd`.
    #[serde(default)]
    pub dialect: Dialect,
    /// Maximum size of a packet. Larger packets are fewer, but above the network's MTU each is
    /// split into fragments that must all arrive. A line that does not fit is dropped and counted
    /// as `too_large`, over every transport. 512B to 65507B. Defaults to `1432B`.
    #[serde(default = "max_packet_default")]
    pub max_packet: ByteSize,
    /// Maximum number of lines of a timer in a window, 100 to 100000. A timer with more samples is
    /// sent as this number of representatives, each with an equal weight. More lines are more
    /// precise but cost more packets. Defaults to `1000`.
    #[serde(default = "timer_samples_default")]
    pub timer_samples: NonZeroU32,
    /// Which series are sent.
    #[serde(default)]
    pub select: SelectConfig,
    /// Points for live series without samples. Defaults to `none`.
    #[serde(default)]
    pub idle: Option<IdleConfig>,
    /// The time for which an idle series has points. Unlimited by default: as long as it is live.
    #[serde(default)]
    pub idle_for: Option<IdleFor>,
    /// Timeouts, retries, queue and spool.
    #[serde(default)]
    pub delivery: DeliveryConfig,
}

/// The transport of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams over the network.
    #[default]
    Udp,
    /// One connection that stays open.
    Tcp,
    /// A socket in the file system.
    Unix,
}

/// The format of tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `name:1|c|#key:value,key:value`.
    #[default]
    Dogstatsd,
    /// `name,key=value,key=value:1|c`.
    Influx,
    /// `name[key=value,key=value]:1|c`.
    Signalfx,
    /// `name:1|c`.
    Plain,
}

/// The address of statsd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StatsdAddress {
    Udp(String, u16),
    Tcp(String, u16),
    Unix(String),
}

fn max_packet_default() -> ByteSize {
    // Fits into one Ethernet frame, less some bytes for tunnels.
    ByteSize::from_bytes(1432)
}

fn timer_samples_default() -> NonZeroU32 {
    NonZeroU32::new(1000).unwrap_or(NonZeroU32::MIN)
}

impl StatsdConfig {
    /// Checks the keys and returns the address.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub(super) fn check(&self) -> Result<StatsdAddress, String> {
        let bytes = self.max_packet.get();
        if !PACKET_BYTES.contains(&bytes) {
            let (least, most) = PACKET_BYTES.into_inner();
            return Err(format!("`max_packet` is {least}B to {most}B, not {bytes}B"));
        }
        let samples = self.timer_samples.get();
        if !TIMER_SAMPLES.contains(&samples) {
            let (least, most) = TIMER_SAMPLES.into_inner();
            return Err(format!("`timer_samples` is {least} to {most}, not {samples}"));
        }
        let text = self.address.as_str();
        match self.transport {
            Transport::Unix if text.starts_with('/') => Ok(StatsdAddress::Unix(text.to_owned())),
            Transport::Unix => Err(format!(
                "with `transport: unix` the address is a path that begins with `/`, not `{text}`"
            )),
            Transport::Udp => host_port(text).map(|(host, port)| StatsdAddress::Udp(host, port)),
            Transport::Tcp => host_port(text).map(|(host, port)| StatsdAddress::Tcp(host, port)),
        }
    }
}

/// Returns the host and the port, by default statsd's.
fn host_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = host_and_port(text, "statsd.example.com:8125 or [::1]:8125")?;
    Ok((host, port.unwrap_or(PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(members: &str) -> Result<StatsdAddress, String> {
        let config: Result<StatsdConfig, _> = serde_json::from_str(&format!("{{{members}}}"));
        config.map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn addresses_go_with_the_transport() {
        let udp = |host: &str, port| Ok(StatsdAddress::Udp(host.to_owned(), port));
        assert_eq!(checked(r#""address": "a-b.c""#), udp("a-b.c", 8125));
        assert_eq!(checked(r#""address": "[::1]:9""#), udp("::1", 9));
        assert_eq!(checked(r#""address": "[::1]""#), udp("::1", 8125));
        let tcp = checked(r#""address": "10.0.0.1:65535", "transport": "tcp""#);
        assert_eq!(tcp, Ok(StatsdAddress::Tcp("10.0.0.1".to_owned(), 65535)));
        let unix = checked(r#""address": "/run/dsd.socket", "transport": "unix""#);
        assert_eq!(unix, Ok(StatsdAddress::Unix("/run/dsd.socket".to_owned())));
        assert!(checked(r#""address": "a:1", "transport": "unix""#).is_err());
        for wrong in ["", ":1", "a:", "a:0", "a:+1", "a:65536", "a b:1", "::1", "[x]:1", "/a:1"] {
            assert!(checked(&format!(r#""address": "{wrong}""#)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bounds() {
        for (member, words) in [
            (r#""max_packet": "100B""#, "512B to 65507B"),
            (r#""max_packet": "1MiB""#, "512B to 65507B"),
            (r#""timer_samples": 99"#, "100 to 100000"),
            (r#""timer_samples": 100001"#, "100 to 100000"),
            (r#""dialect": "etsy""#, "dogstatsd"),
        ] {
            let error = checked(&format!(r#""address": "a", {member}"#)).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
