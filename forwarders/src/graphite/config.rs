//! `forwarders.graphite`: what an operator writes.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::limits::PART_BYTES_MAX;
use super::name::is_path;
use super::template::Template;
use crate::config::DeliveryConfig;
use crate::select::SelectConfig;
use basics::address::host_and_port;
use basics::units::ByteSize;

/// Room for the largest UDP payload that an Ethernet carries in one piece, less some for tunnels.
const PACKET_BYTES_DEFAULT: u64 = 1432;
const PACKET_BYTES_MIN: u64 = 512;
/// Of a UDP datagram over IPv4.
const PACKET_BYTES_MAX: u64 = 65_507;

/// `forwarders.graphite`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphiteConfig {
    /// What ledger and log call it; two destinations need two names. Defaults to `graphite`.
    #[serde(default)]
    pub name: Option<String>,
    /// Where carbon listens, as `host:port`; without a port it is carbon's own, 2003 for plaintext
    /// and 2004 for pickle. A name is looked up anew with every connection. Required.
    pub address: Address,
    /// `tcp`, where a carbon that is slow or away is noticed, or `udp`, where it is not: datagrams
    /// that it does not read in time are lost and nobody counts them. Defaults to `tcp`.
    #[serde(default)]
    pub transport: Transport,
    /// `plaintext`, lines that every receiver reads, or `pickle`, which costs carbon less; over TCP
    /// only, to a port of its own. Defaults to `plaintext`.
    #[serde(default)]
    pub protocol: Protocol,
    /// Largest datagram, for `udp`. A larger one makes fewer datagrams, and beyond the network's
    /// MTU is cut into pieces of which none may get lost. A line that does not fit is dropped and
    /// counted as `too_large`. 512B to 65507B. Defaults to `1432B`.
    #[serde(default)]
    pub max_packet: PacketSize,
    /// What becomes of tags: `series` makes them Graphite's own (1.1 and later), `path` puts their
    /// values into the path as `template` says, `drop` leaves them out. Series that become one path
    /// are merged: counts add up, the latest gauge wins, timers and sets merge. Defaults to
    /// `series`, and to `path` where there is a `template`.
    #[serde(default)]
    pub tags: Option<TagMode>,
    /// Where tags go in the path, for `tags: path`: `{host}` is the tag's value, `{name}` the
    /// metric name, `{tags}` all other tags. Defaults to `{tags}.{name}`.
    #[serde(default)]
    pub template: Option<Template>,
    /// `tallyd`, the name and tallyd's fields, or `etsy`, the names and the arithmetic of statsd's
    /// graphite backend, so that dashboards made for it go on. Defaults to `tallyd`.
    #[serde(default)]
    pub naming: Naming,
    /// What statsd's configuration says, for `naming: etsy`.
    #[serde(default)]
    pub etsy: EtsyConfig,
    /// Which series are sent.
    #[serde(default)]
    pub select: SelectConfig,
    /// How hard it is tried.
    #[serde(default)]
    pub delivery: DeliveryConfig,
}

/// `etsy`: keys of statsd's configuration, with its defaults but for `legacy_namespace`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EtsyConfig {
    /// Percentages of a timer's values, each above 0 and up to 100 for the lowest, or below 0 for
    /// the highest; each makes five fields (`mean_90`, `upper_90`, …). Defaults to `[90]`.
    pub percent_threshold: Vec<PercentThreshold>,
    /// Whether names are those that statsd writes without `legacyNamespace: false`: `stats.X` and
    /// `stats_counts.X` for counters, and no prefix below has an effect. Defaults to `false`.
    pub legacy_namespace: bool,
    /// The first part of every name; empty for none. Defaults to `stats`.
    pub global_prefix: PathPart,
    /// The part of counters; empty for none. Defaults to `counters`.
    pub prefix_counter: PathPart,
    /// The part of timers; empty for none. Defaults to `timers`.
    pub prefix_timer: PathPart,
    /// The part of gauges; empty for none. Defaults to `gauges`.
    pub prefix_gauge: PathPart,
    /// The part of sets; empty for none. Defaults to `sets`.
    pub prefix_set: PathPart,
    /// The last part of every name, such as the host's; empty for none. Defaults to empty.
    pub global_suffix: PathPart,
}

impl Default for EtsyConfig {
    fn default() -> Self {
        Self {
            percent_threshold: vec![PercentThreshold(90.0)],
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

/// How lines get there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A connection that is kept.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// `path value timestamp` and a newline.
    #[default]
    Plaintext,
    /// Lists of `(path, (timestamp, value))` as Python pickles them.
    Pickle,
}

/// What becomes of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagMode {
    /// `path;key=value`.
    Series,
    /// Parts of the path.
    Path,
    /// Nothing.
    Drop,
}

/// Whose names and arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Naming {
    /// tallyd's fields.
    #[default]
    Tallyd,
    /// Those of the statsd that Etsy made.
    Etsy,
}

/// Where to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: Option<u16>,
}

/// Bytes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketSize(usize);

/// A percentage of a timer's values, of the highest if it is negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PercentThreshold(f64);

/// One or more parts of a path, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPart(String);

impl GraphiteConfig {
    /// What becomes of tags, with the default worked out.
    #[must_use]
    pub fn tag_mode(&self) -> TagMode {
        let default = if self.template.is_some() { TagMode::Path } else { TagMode::Series };
        self.tags.unwrap_or(default)
    }

    /// Whether the keys go together.
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
    /// Takes `host`, `host:port`, `address:port` or `[ipv6]:port`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        host_and_port(text, "graphite.example.com:2003 or [::1]:2003")
            .map(|(host, port)| Self { host, port })
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, or carbon's for this protocol.
    #[must_use]
    pub fn port(&self, protocol: Protocol) -> u16 {
        self.port.unwrap_or(match protocol {
            Protocol::Plaintext => 2003,
            Protocol::Pickle => 2004,
        })
    }
}

impl PacketSize {
    /// In bytes.
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
    /// Takes a decimal number from -100 to 100 that is not 0.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_decimal = digits.starts_with(|first: char| first.is_ascii_digit())
            && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.parse::<f64>() {
            Ok(percent) if is_decimal && percent != 0.0 && percent.abs() <= 100.0 => {
                Ok(Self(percent))
            }
            _ => Err(format!(
                "a threshold is a number above 0 and up to 100, or below 0 and down to -100 for \
                 the highest values, not `{text}`"
            )),
        }
    }

    /// The percentage itself.
    #[must_use]
    pub fn percent(self) -> f64 {
        self.0
    }
}

impl PathPart {
    /// Takes parts of a path as they stand.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
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

    /// The text; empty for none.
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
        let bytes = ByteSize::deserialize(deserializer)?.get();
        if (PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&bytes) {
            return Ok(Self(bytes as usize));
        }
        Err(D::Error::custom(format!(
            "a datagram has {PACKET_BYTES_MIN} to {PACKET_BYTES_MAX} bytes, not {bytes}"
        )))
    }
}

/// Reads a text, which the configuration also has of numbers, and refuses it where it stands.
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
