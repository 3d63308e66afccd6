//! The section of one Kamailio server: its address, the methods to poll, and how often.

use std::collections::BTreeMap;

use basics::bounds::between;
use basics::units::{ByteSize, Span};
use binrpc::BinrpcEndpoint;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::call::MethodCall;
use crate::methods::{self, KnownMethod};

/// Stands for the default methods in `methods`.
const DEFAULT: &str = "default";
/// Shortest interval: a single process of Kamailio executes all calls, also those of other clients.
const INTERVAL_MIN: Span = Span::from_millis(100);
/// Longest interval.
const INTERVAL_MAX: Span = Span::from_secs(3600);
/// Largest `max_reply`; the reply for a hash table can have several hundred KiB.
const REPLY_MAX: ByteSize = ByteSize::from_mib(64);
/// Smallest `max_reply`.
const REPLY_MIN: ByteSize = ByteSize::from_bytes(1024);

/// One of `kamailio`: a server whose statistics are polled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KamailioSection {
    /// Address of its `ctl` module: `unix:/path`, `unixd:/path` (datagrams), `tcp:host:port` or
    /// `udp:host:port`. Over UDP, replies longer than a datagram are lost. Required.
    #[serde(deserialize_with = "endpoint")]
    pub endpoint: BinrpcEndpoint,
    /// How often it is polled. A shorter interval shows more detail, but takes more time of its control
    /// process, which executes one call at a time. 100ms to 1h. Defaults to `10s`.
    #[serde(default = "default_interval", deserialize_with = "interval")]
    pub interval: Span,
    /// Time limit for a whole poll, from connecting to the last reply. A poll that exceeds it closes the
    /// connection and keeps the replies that it has. Polls of a server do not overlap: a poll that takes
    /// longer than `interval` delays the next. Defaults to `5s`.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// The methods to call, each with its arguments, such as `stats.fetch core: shmem:`. Each takes
    /// about 0.1 ms of Kamailio's time. `default` stands for the methods of both older exporters.
    /// Defaults to `[default]`.
    #[serde(default = "default_methods", deserialize_with = "methods")]
    pub methods: Vec<MethodCall>,
    /// Tags of all its series. Two servers must differ in their tags. Defaults to none.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Names of the dispatcher's sets of gateways by number, such as those of carriers: the tag
    /// `set_name` of the gateways. Defaults to none.
    #[serde(default)]
    pub set_names: BTreeMap<String, String>,
    /// Pause before a method that Kamailio lacks or refuses is called again. A restart of Kamailio ends
    /// the pause. Defaults to `10m`.
    #[serde(default = "default_retry_methods")]
    pub retry_methods: Span,
    /// Longest accepted reply; a longer one fails the poll. A reply needs about 20 times its size in
    /// memory while it is mapped. 1KiB to 64MiB. Defaults to `8MiB`.
    #[serde(default = "default_max_reply", deserialize_with = "max_reply")]
    pub max_reply: ByteSize,
}

impl KamailioSection {
    /// The tags that distinguish its series from those of another server.
    fn effective_tags(&self) -> Vec<(&String, &String)> {
        self.tags.iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

/// Finds the first server that has the same tags as an earlier one: its index, and the error.
#[must_use]
pub fn check(servers: &[KamailioSection]) -> Option<(usize, String)> {
    for (index, server) in servers.iter().enumerate() {
        let same = |other: &KamailioSection| other.effective_tags() == server.effective_tags();
        if let Some(other) = servers[..index].iter().position(same) {
            return Some((
                index,
                format!(
                    "`kamailio[{index}]` has the tags of `kamailio[{other}]`, so their series would \
                     be the same; give it different `tags`, such as `{{ node: edge-{index} }}`"
                ),
            ));
        }
    }
    None
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BinrpcEndpoint, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// An element of `methods`.
enum MethodsElement {
    Defaults,
    Call(MethodCall),
}

impl<'de> Deserialize<'de> for MethodsElement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let call = methods::parse_call(&String::deserialize(deserializer)?);
        let call = call.map_err(D::Error::custom)?;
        Ok(if call.name() == DEFAULT { Self::Defaults } else { Self::Call(call) })
    }
}

fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MethodCall>, D::Error> {
    let mut calls = Vec::new();
    for element in Vec::<MethodsElement>::deserialize(deserializer)? {
        match element {
            MethodsElement::Defaults => calls.extend(default_methods()),
            MethodsElement::Call(call) => calls.push(call),
        }
    }
    for (index, call) in calls.iter().enumerate() {
        if calls[..index].iter().any(|other| call.is_same_request(other)) {
            return Err(D::Error::custom(format!("`{call}` is listed twice")));
        }
    }
    Ok(calls)
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    between(deserializer, INTERVAL_MIN..=INTERVAL_MAX)
}

fn max_reply<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, REPLY_MIN..=REPLY_MAX)
}

fn default_methods() -> Vec<MethodCall> {
    methods::defaults().map(KnownMethod::default_call).collect()
}

const fn default_interval() -> Span {
    Span::from_secs(10)
}

const fn default_timeout() -> Span {
    Span::from_secs(5)
}

const fn default_retry_methods() -> Span {
    Span::from_secs(600)
}

const fn default_max_reply() -> ByteSize {
    ByteSize::from_mib(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(methods: &str) -> Result<KamailioSection, String> {
        let text = format!(r#"{{"endpoint": "unix:/a", "methods": {methods}}}"#);
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    fn calls(methods: &str) -> Vec<(String, bool)> {
        let calls = section(methods).unwrap().methods;
        calls.iter().map(|call| (call.to_string(), call.is_listed())).collect()
    }

    #[test]
    fn a_method_without_arguments_gets_its_default_arguments() {
        let listed = calls(r#"["stats.fetch", "stats.fetchn script:", " pkg.stats  index 0 "]"#);
        let expected = ["stats.fetch all", "stats.fetchn script:", "pkg.stats index 0"];
        assert_eq!(listed, expected.map(|call| (call.to_owned(), true)));
        assert!(section(r#"[" "]"#).unwrap_err().contains("a method has a name"));
    }

    #[test]
    fn the_word_default_includes_the_default_methods() {
        let text = r#"{"endpoint": "unix:/a"}"#;
        let omitted: KamailioSection = serde_json::from_str(text).unwrap();
        let with_another = calls(r#"["htable.stats", "default"]"#);
        assert_eq!(with_another[0], ("htable.stats".to_owned(), true));
        assert_eq!(with_another[1..], calls(r#"["default"]"#));
        assert_eq!(omitted, section(r#"["default"]"#).unwrap());
        assert!(with_another.contains(&("stats.fetch all".to_owned(), false)));
    }

    #[test]
    fn a_request_that_is_listed_twice_is_rejected() {
        let error = section(r#"["default", "stats.fetch"]"#).unwrap_err();
        assert!(error.contains("`stats.fetch all` is listed twice"), "{error}");
        assert!(section(r#"["default", "stats.fetch core:"]"#).is_ok());
    }
}
