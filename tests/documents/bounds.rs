//! What the code allows as the value of a key, found out by trying; and what the reference says of it.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use super::keys;

/// What a key's value is, as far as it has bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// A whole number.
    Number,
    /// Bytes.
    Size,
    /// A time, in milliseconds.
    Duration,
}

/// What a section needs beside the key that is tried.
const NEEDED: [(&str, &str); 11] = [
    ("forwarders.file", "path: x"),
    ("forwarders.graphite", "address: \"a:1\""),
    ("forwarders.influxdb", "url: \"http://a\", database: x"),
    ("forwarders.kafka", "kafka_broker: \"a:1\", kafka_topic: x"),
    // What `merge` and `relay` may take is less than this.
    ("forwarders.prometheus", "request_timeout: 1000h"),
    ("forwarders.prometheus.merge", "url: \"http://a\""),
    ("forwarders.prometheus.relay", "path: /a"),
    ("forwarders.prometheus.remote_write", "url: \"http://a\""),
    ("forwarders.statsd", "address: \"a:1\""),
    ("kamailio[]", "endpoint: \"unix:/x\""),
    ("listeners[]", "address: \"127.0.0.1:1\""),
];

/// What is wrong with a value at a key, if anything.
fn trouble(path: &str, value: &str) -> Option<keys::Trouble> {
    let mut yaml = String::new();
    let (mut section, mut rest) = (String::new(), path);
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
        if section == "listeners[]"
            && ["max_connections", "idle_timeout", "max_line"].contains(&inner)
        {
            yaml += "transport: tcp, ";
        }
        rest = inner;
    }
    keys::trouble(&format!("{yaml}{rest}: {value} {closing}"))
}

/// The words that a key's value may be, if it is one of some words.
pub(crate) fn choices(path: &str) -> Vec<String> {
    let Some(trouble) = trouble(path, "no such") else { return Vec::new() };
    if !trouble.message.contains(" cannot be ") {
        return Vec::new();
    }
    let list = trouble.help.iter().find_map(|help| help.strip_prefix("allowed: ")).unwrap();
    list.split(", ").map(str::to_owned).collect()
}

/// What a key's value is, if it has bounds.
pub(crate) fn quantity(path: &str) -> Option<Quantity> {
    let message = trouble(path, "no such")?.message;
    [
        ("must be a whole number", Quantity::Number),
        ("a size is a number", Quantity::Size),
        ("a duration is a number", Quantity::Duration),
    ]
    .into_iter()
    .find_map(|(words, quantity)| message.contains(words).then_some(quantity))
}

impl Quantity {
    /// A number of these as a configuration has it.
    fn shown(self, number: u64) -> String {
        match self {
            Self::Number => number.to_string(),
            Self::Size => format!("{number}B"),
            Self::Duration => format!("{number}ms"),
        }
    }

    /// What a word of the reference says; none if it is no such quantity.
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

    /// The bounds that the reference tells: `1 to 64`, or `at least 1`.
    fn told(self, meaning: &str) -> (Option<u64>, Option<u64>) {
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

    /// How what is told differs from what the code takes: the bounds themselves, and nothing beyond
    /// them; where none is told, anything but nothing at all.
    pub(crate) fn complaints(self, path: &str, meaning: &str) -> Vec<String> {
        let (least, most) = self.told(meaning);
        // Of no size and no time is refused everywhere.
        let smallest = least.unwrap_or(u64::from(self != Self::Number));
        let largest = most.unwrap_or(1_000_000_000);
        let mut expected = vec![(smallest, true), (largest, true)];
        expected.extend(least.and_then(|least| Some((least.checked_sub(1)?, false))));
        expected.extend(most.map(|most| (most + 1, false)));
        let differs = |(number, is_good): (u64, bool)| {
            let value = self.shown(number);
            let is_taken = trouble(path, &value).is_none();
            let words = if is_taken { "is" } else { "is not" };
            (is_taken != is_good).then(|| format!("{path}: {value} {words} taken: {meaning}"))
        };
        expected.into_iter().filter_map(differs).collect()
    }
}
