//! `forwarders.graphite`: the configuration of the Graphite destination.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::histogram::HistogramConfig;
use super::limits::PART_BYTES_MAX;
use super::name::is_path;
use super::template::Template;
use super::timer_stats::TimerStat;
use crate::config::DeliveryConfig;
use crate::idle::{IdleConfig, IdleFor};
use crate::select::SelectConfig;
use basics::address::host_and_port;
use basics::bounds::between;
use basics::units::ByteSize;

/// Largest UDP payload that fits into one Ethernet frame, less some bytes for tunnels.
const PACKET_BYTES_DEFAULT: u64 = 1432;
const PACKET_MIN: ByteSize = ByteSize::from_bytes(512);
/// Maximum size of a UDP payload over IPv4.
const PACKET_MAX: ByteSize = ByteSize::from_bytes(65_507);

/// `forwarders.graphite`: one carbon, or any program that reads its protocols.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphiteConfig {
    /// Name of the destination in the ledger and the log, unique among destinations. Defaults to
    /// `graphite`.
    #[serde(default)]
    pub name: Option<String>,
    /// Address of carbon, as `host:port`. The default port is carbon's: 2003 for plaintext and 2004
    /// for pickle. A name is looked up again after `delivery.resolve_every`. Required.
    pub address: Address,
    /// `tcp`, which notices a carbon that is slow or unavailable, or `udp`, which does not:
    /// datagrams that carbon does not read in time are lost without being counted. Defaults to
    /// `tcp`.
    #[serde(default)]
    pub transport: Transport,
    /// `plaintext`, lines that every receiver reads, or `pickle`, which costs carbon less CPU time,
    /// only over TCP and to a separate port. Defaults to `plaintext`.
    #[serde(default)]
    pub protocol: Protocol,
    /// Maximum size of a datagram, for `udp`. Larger datagrams are fewer, but above the network's
    /// MTU each is split into fragments that must all arrive. A line that does not fit is dropped
    /// and counted as `too_large`. 512B to 65507B. Defaults to `1432B`.
    #[serde(default)]
    pub max_packet: PacketSize,
    /// Handling of tags: `series` writes Graphite tags (1.1 and later), `path` inserts their values
    /// into the path as `template` says, `drop` leaves them out. Series that share a path
    /// afterwards are merged: counts are added, the latest gauge wins, timers and sets merge.
    /// Defaults to `series`, or to `path` if there is a `template`.
    #[serde(default)]
    pub tags: Option<TagMode>,
    /// Positions of tags in the path, for `tags: path`: `{host}` is the tag's value, `{name}` the
    /// metric name, `{tags}` all other tags. Defaults to `{tags}.{name}`.
    #[serde(default)]
    pub template: Option<Template>,
    /// `tallyd`, the metric's name and tallyd's fields, or `etsy`, the names and the arithmetic of
    /// statsd's graphite backend, so that dashboards made for it keep working. Defaults to
    /// `tallyd`.
    #[serde(default)]
    pub naming: Naming,
    /// Settings of statsd's configuration, for `naming: etsy`.
    #[serde(default)]
    pub etsy: EtsyConfig,
    /// Which series are sent.
    #[serde(default)]
    pub select: SelectConfig,
    /// Points for live series without samples. Defaults to `none`, or to `statsd` with `naming: etsy`.
    #[serde(default)]
    pub idle: Option<IdleConfig>,
    /// The time for which an idle series has points. Unlimited by default: as long as it is live.
    #[serde(default)]
    pub idle_for: Option<IdleFor>,
    /// Timeouts, retries, queue and spool.
    #[serde(default)]
    pub delivery: DeliveryConfig,
}

/// `etsy`: keys of statsd's configuration, with statsd's defaults except for `legacy_namespace`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EtsyConfig {
    /// Percentages of a timer's values: greater than 0 and at most 100 for the lowest values,
    /// negative for the highest. Each adds five fields (`mean_90`, `upper_90`, …). Defaults to
    /// `[90]`.
    pub percent_threshold: Vec<PercentThreshold>,
    /// Numbers of a timer's values between bounds, as `histogram.bin_50` and so on. The first entry
    /// whose `metric` is a part of the name, with its tags, applies. Empty by default.
    pub histogram: Vec<HistogramConfig>,
    /// The fields of timers to write, named as in statsd's `calculatedTimerMetrics`, such as `[count,
    /// median, upper_percent, histogram]`. Empty by default, which stands for all.
    pub timer_stats: Vec<TimerStat>,
    /// Whether to use statsd's names without `legacyNamespace: false`: `stats.X` and
    /// `stats_counts.X` for counters. The prefixes below then have no effect. Defaults to `false`.
    pub legacy_namespace: bool,
    /// First part of every name; may be empty. Defaults to `stats`.
    pub global_prefix: PathPart,
    /// Part for counters; may be empty. Defaults to `counters`.
    pub prefix_counter: PathPart,
    /// Part for timers; may be empty. Defaults to `timers`.
    pub prefix_timer: PathPart,
    /// Part for gauges; may be empty. Defaults to `gauges`.
    pub prefix_gauge: PathPart,
    /// Part for sets; may be empty. Defaults to `sets`.
    pub prefix_set: PathPart,
    /// Last part of every name, such as the host's name; may be empty. Empty by default.
    pub global_suffix: PathPart,
}

impl Default for EtsyConfig {
    fn default() -> Self {
        Self {
            percent_threshold: vec![PercentThreshold(90.0)],
            histogram: Vec::new(),
            timer_stats: Vec::new(),
            legacy_namespace: false,
            global_prefix: PathPart("stats".to_owned()),
            prefix_counter: PathPart("counters".to_owned()),
            prefix_timer: PathPart("timers".to_owned()),
            prefix_gauge: PathPart("gauges".to_owned()),
            prefix_set: PathPart("sets".to_owned()),
            global_suffix: PathPart::default(),
        }
    }
}

/// The transport of lines or pickled lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One connection that stays open.
    #[default]
    Tcp,
    /// Datagrams of whole lines.
    Udp,
}

/// The encoding of points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// `path value timestamp` and a line feed.
    #[default]
    Plaintext,
    /// Lists of `(path, (timestamp, value))`, pickled as by Python.
    Pickle,
}

/// Handling of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagMode {
    /// Written as `path;key=value`.
    Series,
    /// Inserted into the path.
    Path,
    /// Left out.
    Drop,
}

/// The names and the arithmetic of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Naming {
    /// tallyd's fields.
    #[default]
    Tallyd,
    /// The names and arithmetic of Etsy's statsd.
    Etsy,
}

/// Address of carbon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: Option<u16>,
}

/// Size of a datagram, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketSize(usize);

/// A percentage of a timer's values: of the lowest, or of the highest if it is negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PercentThreshold(f64);

/// One or more parts of a path, or an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPart(String);

impl GraphiteConfig {
    /// Returns how tags are handled, including the default.
    #[must_use]
    pub fn tag_mode(&self) -> TagMode {
        let default = if self.template.is_some() { TagMode::Path } else { TagMode::Series };
        self.tags.unwrap_or(default)
    }

    /// Checks that the keys fit together.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn check(&self) -> Result<(), String> {
        if self.template.is_some() && self.tag_mode() != TagMode::Path {
            return Err("`template` is for `tags: path`; leave one of the two out".to_owned());
        }
        if self.transport == Transport::Udp && self.protocol == Protocol::Pickle {
            return Err("carbon takes `protocol: pickle` over `transport: tcp` only".to_owned());
        }
        Ok(())
    }
}

impl Address {
    /// Parses `host`, `host:port`, `address:port` or `[ipv6]:port`.
    ///
    /// # Errors
    /// A sentence that describes the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        host_and_port(text, "graphite.example.com:2003 or [::1]:2003")
            .map(|(host, port)| Self { host, port })
    }

    /// Returns the host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, or carbon's default for the protocol.
    #[must_use]
    pub fn port(&self, protocol: Protocol) -> u16 {
        self.port.unwrap_or(match protocol {
            Protocol::Plaintext => 2003,
            Protocol::Pickle => 2004,
        })
    }
}

impl PacketSize {
    /// Returns the size in bytes.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for PacketSize {
    fn default() -> Self {
        Self(PACKET_BYTES_DEFAULT as usize)
    }
}

impl PercentThreshold {
    /// Parses a decimal number from -100 to 100, except 0.
    ///
    /// # Errors
    /// A sentence that describes the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        // `f64` would also parse `inf`, `nan` and `1e2`.
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_decimal = digits.starts_with(|first: char| first.is_ascii_digit())
            && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.parse::<f64>() {
            Ok(percent) if is_decimal && percent != 0.0 && percent.abs() <= 100.0 => {
                Ok(Self(percent))
            }
            _ => Err(format!(
                "a threshold is a number greater than 0 and at most 100, or from -100 to below 0 for \
                 the highest values, not `{text}`"
            )),
        }
    }

    /// Returns the percentage.
    #[must_use]
    pub fn percent(self) -> f64 {
        self.0
    }
}

impl PathPart {
    /// Parses parts of a path, which must need no replacement of characters.
    ///
    /// # Errors
    /// A sentence that describes the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = text.len() <= PART_BYTES_MAX;
        if text.is_empty() || (fits && is_path(text)) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "a part of a name has letters, digits, `_` and `-`, and dots between them, up to \
             {PART_BYTES_MAX} bytes, not `{text}`"
        ))
    }

    /// Returns the text, which may be empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("host:port", Self::parse))
    }
}

impl<'de> Deserialize<'de> for PathPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a part of a path", Self::parse))
    }
}

impl<'de> Deserialize<'de> for PercentThreshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a percentage", Self::parse))
    }
}

impl<'de> Deserialize<'de> for PacketSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = between(deserializer, PACKET_MIN..=PACKET_MAX)?.get();
        usize::try_from(bytes).map(Self).map_err(D::Error::custom)
    }
}

/// Parses a text, so that an error points at its position in the file. Numbers arrive as texts too.
struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Result<GraphiteConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn checked(member: &str) -> Result<TagMode, String> {
        let config = config(&format!(r#"{{"address": "g:2003", {member}}}"#))?;
        config.check().map(|()| config.tag_mode())
    }

    #[test]
    fn an_address_is_enough() {
        let config = config(r#"{"address": "graphite.example.com"}"#).unwrap();
        assert_eq!(config.address.host(), "graphite.example.com");
        assert_eq!(config.address.port(Protocol::Plaintext), 2003);
        assert_eq!(config.address.port(Protocol::Pickle), 2004);
        assert_eq!((config.transport, config.protocol), (Transport::Tcp, Protocol::Plaintext));
        assert_eq!((config.tag_mode(), config.naming), (TagMode::Series, Naming::Tallyd));
        assert!(config.check().is_ok());
    }

    #[test]
    fn addresses_are_host_and_port() {
        for (text, host, port) in
            [("a-b.c:1", "a-b.c", 1), ("10.0.0.1:65535", "10.0.0.1", 65535), ("[::1]:9", "::1", 9)]
        {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host(), address.port(Protocol::Plaintext)), (host, port));
        }
        assert_eq!(Address::parse("[::1]").unwrap().port(Protocol::Pickle), 2004);
        for wrong in ["", ":1", "a:", "a:0", "a:+1", "a:65536", "a b:1", "::1", "[x]:1", "a/b:1"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_that_do_not_go_together_are_refused() {
        assert_eq!(checked(r#""template": "{host}.{name}""#), Ok(TagMode::Path));
        assert_eq!(checked(r#""tags": "path""#), Ok(TagMode::Path));
        assert_eq!(checked(r#""tags": "drop""#), Ok(TagMode::Drop));
        let error = checked(r#""tags": "series", "template": "{host}.{name}""#).unwrap_err();
        assert!(error.contains("`tags: path`"), "{error}");
        let error = checked(r#""transport": "udp", "protocol": "pickle""#).unwrap_err();
        assert!(error.contains("`transport: tcp`"), "{error}");
        for wrong in [
            r#""max_packet": "100B""#,
            r#""max_packet": "1MiB""#,
            r#""etsy": {"global_prefix": "a b"}"#,
            r#""etsy": {"percent_threshold": ["0"]}"#,
            r#""naming": "statsd""#,
        ] {
            assert!(checked(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn thresholds_are_percentages_of_the_lowest_or_the_highest() {
        for (text, percent) in [("90", 90.0), ("99.9", 99.9), ("-5", -5.0), ("100", 100.0)] {
            assert_eq!(PercentThreshold::parse(text).unwrap().percent(), percent);
        }
        for wrong in ["0", "-0", "100.1", "-101", "1e1", "nan", "+5", "", "-", ".5"] {
            assert!(PercentThreshold::parse(wrong).is_err(), "{wrong}");
        }
    }
}
