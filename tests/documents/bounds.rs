//! The values that the code accepts for a key, determined by trying them, and their description in the
//! reference.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::keys;

/// The type of a key's value, if it has bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// A whole number.
    Number,
    /// Bytes.
    Size,
    /// A time, in milliseconds.
    Duration,
}

/// The keys that a section requires in addition to the one that is tried.
const NEEDED: [(&str, &str); 16] = [
    // Without it, `idle_for` has nothing to limit.
    ("forwarders.console", "idle: statsd"),
    ("forwarders.file", "path: x"),
    ("forwarders.graphite", "address: \"a:1\""),
    ("forwarders.influxdb", "url: \"http://a\", database: x"),
    ("forwarders.kafka", "kafka_broker: \"a:1\", kafka_topic: \"{name}\""),
    ("forwarders.otlp", "endpoint: \"http://a\""),
    // An upper bound of the timeouts of `merge`, `relay` and `probe`.
    ("forwarders.prometheus", "request_timeout: 1000h"),
    ("forwarders.prometheus.merge", "url: \"http://a\""),
    ("forwarders.prometheus.probe", "targets: [a]"),
    ("forwarders.prometheus.relay", "path: /a"),
    ("forwarders.prometheus.remote_write", "url: \"http://a\""),
    ("forwarders.statsd", "address: \"a:1\""),
    ("kamailio[]", "endpoint: \"unix:/x\""),
    ("listeners[]", "address: \"127.0.0.1:1\""),
    ("listeners[].tls", "cert_file: a, key_file: b"),
    ("rules[]", "match: \"a.*\""),
];

#[test]
fn every_key_that_a_destination_requires_is_needed() {
    for kind in keys::forwarder_kinds() {
        let yaml = example(&format!("forwarders.{kind}.name"), Some("x"));
        let error = keys::key_error(&yaml).map(|error| error.message);
        assert_eq!(error, None, "complete `NEEDED` for `forwarders.{kind}`");
    }
}

/// The error for a value of a key, if it is invalid.
fn key_error(path: &str, value: &str) -> Option<keys::KeyError> {
    keys::key_error(&example(path, Some(value)))
}

/// A configuration with the sections around a key, and with the key if there is a value for it.
pub(crate) fn example(path: &str, value: Option<&str>) -> String {
    // Any destination stands for all of them, but statsd has no lines for all types of idle series.
    let path = &path.replace("forwarders.statsd.idle_for", "forwarders.console.idle_for");
    let mut yaml = String::new();
    let (mut section, mut rest) = (String::new(), path.as_str());
    let mut closing = String::new();
    while let Some((outer, inner)) = rest.split_once('.') {
        let separator = if section.is_empty() { "" } else { "." };
        section = format!("{section}{separator}{outer}");
        let (key, open, close) = match outer.strip_suffix("[]") {
            Some(key) => (key, "[{", "}]"),
            None => (outer, "{", "}"),
        };
        yaml += &format!("{key}: {open} ");
        closing.insert_str(0, close);
        if let Some((_, needed)) = NEEDED.iter().find(|(of, _)| *of == section)
            && !needed.starts_with(&format!("{inner}:"))
        {
            yaml += &format!("{needed}, ");
        }
        let first = inner.split('.').next().unwrap();
        if section == "listeners[]"
            && [
                "max_connections",
                "max_connections_per_address",
                "idle_timeout",
                "keepalive",
                "max_line",
                "tls",
            ]
            .contains(&first)
        {
            yaml += "transport: tcp, ";
        }
        rest = inner;
    }
    let entry = value.map(|value| format!("{rest}: {value}")).unwrap_or_default();
    format!("{yaml}{entry} {closing}")
}

/// The allowed values of a key, if they are a list of words.
pub(crate) fn choices(path: &str) -> Vec<String> {
    let Some(error) = key_error(path, "no such") else { return Vec::new() };
    if !error.message.contains(" cannot be `") {
        return Vec::new();
    }
    let list = error.help.iter().find_map(|help| help.strip_prefix("allowed: ")).unwrap();
    list.split(", ").map(str::to_owned).collect()
}

/// The type of a key's value, if it has bounds.
pub(crate) fn quantity(path: &str) -> Option<Quantity> {
    let message = key_error(path, "no such")?.message;
    [
        ("must be a whole number", Quantity::Number),
        ("a size is a number", Quantity::Size),
        ("a duration is a number", Quantity::Duration),
    ]
    .into_iter()
    .find_map(|(words, quantity)| message.contains(words).then_some(quantity))
}

impl Quantity {
    /// A number of this type as it is written in a configuration.
    fn shown(self, number: u64) -> String {
        match self {
            Self::Number => number.to_string(),
            Self::Size => format!("{number}B"),
            Self::Duration => format!("{number}ms"),
        }
    }

    /// Parses a word of the reference; `None` if it is not of this type.
    fn read(self, word: &str) -> Option<u64> {
        let word = word.trim_end_matches(['.', ',', ';', ':']);
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = word.split_at(digits);
        let factor = match (self, unit) {
            (Self::Number, "") | (Self::Size, "B") | (Self::Duration, "ms") => 1,
            (Self::Size, "KiB") => 1024,
            (Self::Size, "MiB") => 1024 * 1024,
            (Self::Duration, "s") => 1000,
            (Self::Duration, "m") => 60 * 1000,
            (Self::Duration, "h") => 60 * 60 * 1000,
            _ => return None,
        };
        Some(number.parse::<u64>().ok()? * factor)
    }

    /// Parses the bounds in the reference: `1 to 64`, or `at least 1`.
    fn documented_bounds(self, meaning: &str) -> (Option<u64>, Option<u64>) {
        let words: Vec<&str> = meaning.split_whitespace().collect();
        for three in words.windows(3) {
            match (self.read(three[0]), three[1], self.read(three[2])) {
                (Some(least), "to", Some(most)) => return (Some(least), Some(most)),
                (_, "least", Some(least)) if three[0] == "at" => return (Some(least), None),
                _ => {}
            }
        }
        (None, None)
    }

    /// The differences between the reference and the code. The code must accept the documented bounds
    /// and refuse values beyond them; without documented bounds, it must accept any value but zero.
    pub(crate) fn complaints(self, path: &str, meaning: &str) -> Vec<String> {
        let (least, most) = self.documented_bounds(meaning);
        // Every key refuses a size or duration of zero.
        let smallest = least.unwrap_or(u64::from(self != Self::Number));
        let largest = most.unwrap_or(1_000_000_000);
        let mut expected = vec![(smallest, true), (largest, true)];
        expected.extend(least.and_then(|least| Some((least.checked_sub(1)?, false))));
        expected.extend(most.map(|most| (most + 1, false)));
        let differs = |(number, is_valid): (u64, bool)| {
            let value = self.shown(number);
            let is_accepted = key_error(path, &value).is_none();
            let verb = if is_accepted { "is" } else { "is not" };
            (is_accepted != is_valid).then(|| format!("{path}: {value} {verb} accepted: {meaning}"))
        };
        expected.into_iter().filter_map(differs).collect()
    }
}
