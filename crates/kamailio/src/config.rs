//! One of `kamailio`: an instance, how often it is asked, and what.

use std::collections::BTreeMap;
use std::fmt;

use basics::units::{ByteSize, Span, between};
use binrpc::{BinrpcEndpoint, BinrpcValue, CallRequest};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// What is asked for unless `methods` says otherwise: what the two older exporters together show.
const METHODS: [&str; 12] = [
    "tm.stats",
    "sl.stats",
    "core.shmmem",
    "core.uptime",
    "core.tcp_info",
    "stats.fetch all",
    "pkg.stats",
    "dispatcher.list",
    "tls.info",
    "dlg.stats_active",
    "dmq.list_nodes",
    "rtpengine.show all",
];
/// Stands for these in `methods`.
const DEFAULT: &str = "default";
/// Shortest interval: Kamailio answers one request after the other, its scripts' included.
const INTERVAL_MIN: Span = Span::from_millis(100);
/// Longest interval.
const INTERVAL_MAX: Span = Span::from_secs(3600);
/// Most bytes of a reply; Kamailio's own limits allow some hundred KiB for a hash table.
const REPLY_MAX: ByteSize = ByteSize::from_mib(64);
/// Fewest bytes of one.
const REPLY_MIN: ByteSize = ByteSize::from_bytes(1024);

/// One of `kamailio`: a server that is asked for its statistics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KamailioSection {
    /// Where its `ctl` module answers: `unix:/path`, `unixd:/path` (datagrams), `tcp:host:port` or
    /// `udp:host:port`. Over UDP, replies longer than a datagram do not come. Required.
    #[serde(deserialize_with = "endpoint")]
    pub endpoint: BinrpcEndpoint,
    /// How often it is asked. Shorter sees more, at the cost of its control process, which asks all
    /// others to wait. 100ms to 1h. Defaults to `10s`.
    #[serde(default = "default_interval", deserialize_with = "interval")]
    pub interval: Span,
    /// How long all of a poll may take: connecting, asking, and the last reply. Beyond, the connection
    /// is closed, and what was read by then counts. Polls of an instance do not overlap: one that
    /// takes longer than `interval` delays the next. Defaults to `5s`.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// What is asked, each with its arguments, such as `stats.fetch core: shmem:`. Each costs
    /// Kamailio some 0.1 ms. `default` stands for what both of the older exporters show. Defaults to
    /// `[default]`.
    #[serde(default = "default_methods", deserialize_with = "methods")]
    pub methods: Vec<Method>,
    /// Tags of all its series. Two instances need some that differ. Defaults to none.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// A method that Kamailio does not have, or refuses, is asked again only after this long; a
    /// restart of Kamailio makes it be asked at once. Defaults to `10m`.
    #[serde(default = "default_retry_methods")]
    pub retry_methods: Span,
    /// Longest reply that is read; a longer one ends the poll. Values take some 20 times the memory
    /// of their bytes for a moment. 1KiB to 64MiB. Defaults to `8MiB`.
    #[serde(default = "default_max_reply", deserialize_with = "max_reply")]
    pub max_reply: ByteSize,
}

/// A method and its arguments.
#[derive(Clone, PartialEq, Eq)]
pub struct Method {
    name: String,
    arguments: Vec<String>,
    is_listed: bool,
}

impl Method {
    /// Reads `name argument argument`.
    ///
    /// # Errors
    /// When there is no name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace().map(str::to_owned);
        let name = words.next().ok_or("a method has a name, such as tm.stats")?;
        let mut arguments: Vec<String> = words.collect();
        if name.starts_with("stats.fetch") && arguments.is_empty() {
            arguments.push("all".to_owned());
        }
        if name == "rtpengine.show" && arguments.is_empty() {
            arguments.push("all".to_owned());
        }
        Ok(Self { name, arguments, is_listed: true })
    }

    /// The method's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is given, as one text; empty if nothing.
    #[must_use]
    pub fn arguments(&self) -> String {
        self.arguments.join(" ")
    }

    /// Whether an operator listed it, and so expects an answer. Many servers lack some of the default
    /// methods.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// What to send. Whole numbers are sent as such.
    #[must_use]
    pub fn request(&self) -> CallRequest {
        let value = |argument: &String| match argument.parse::<i32>() {
            Ok(int) => BinrpcValue::Int(int),
            Err(_) => BinrpcValue::from(argument.as_str()),
        };
        let parameters = self.arguments.iter().map(value).collect();
        CallRequest { method: self.name.clone(), parameters }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        self.arguments.iter().try_for_each(|argument| write!(formatter, " {argument}"))
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl KamailioSection {
    /// What tells its series from those of another.
    fn effective_tags(&self) -> Vec<(&String, &String)> {
        self.tags.iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

/// The place in the list, and what is wrong with it, of the first instance whose series could not be
/// told from those of one before it.
#[must_use]
pub fn check(instances: &[KamailioSection]) -> Option<(usize, String)> {
    for (index, instance) in instances.iter().enumerate() {
        let same = |other: &KamailioSection| other.effective_tags() == instance.effective_tags();
        if let Some(other) = instances[..index].iter().position(same) {
            return Some((
                index,
                format!(
                    "`kamailio[{index}]` has the tags of `kamailio[{other}]`, so their series would \
                     be one; give it `tags` of its own, such as `{{ node: edge-{index} }}`"
                ),
            ));
        }
    }
    None
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BinrpcEndpoint, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Method>, D::Error> {
    let mut methods = Vec::new();
    for method in Vec::<Method>::deserialize(deserializer)? {
        if method.name == DEFAULT {
            methods.extend(default_methods());
        } else {
            methods.push(method);
        }
    }
    let is_same = |one: &Method, other: &Method| {
        (&one.name, &one.arguments) == (&other.name, &other.arguments)
    };
    for (index, method) in methods.iter().enumerate() {
        if methods[..index].iter().any(|other| is_same(method, other)) {
            return Err(D::Error::custom(format!("`{method}` is listed twice")));
        }
    }
    Ok(methods)
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    between(deserializer, INTERVAL_MIN..=INTERVAL_MAX)
}

fn max_reply<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, REPLY_MIN..=REPLY_MAX)
}

fn default_methods() -> Vec<Method> {
    let methods = METHODS.iter().filter_map(|method| Method::parse(method).ok());
    methods.map(|method| Method { is_listed: false, ..method }).collect()
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

    #[test]
    fn a_method_has_its_arguments_behind_its_name() {
        let method = Method::parse(" pkg.stats  index 0 ").unwrap();
        assert_eq!((method.name(), method.arguments().as_str()), ("pkg.stats", "index 0"));
        assert_eq!(method.request(), CallRequest::new("pkg.stats").with("index").with(0));
        assert_eq!(Method::parse("stats.fetch").unwrap().to_string(), "stats.fetch all");
        assert_eq!(Method::parse("stats.fetch core:").unwrap().to_string(), "stats.fetch core:");
        assert!(Method::parse(" ").is_err());
    }
}
