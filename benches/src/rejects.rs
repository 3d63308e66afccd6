//! Messages that are rejected: mistakes of senders, and attacks.

use std::fmt;

use engine::listener::Protocol;

use crate::datagrams::DatagramList;

/// Numbers of tags and of values beyond the limits of a message.
const TAGS: usize = 1_000;
const VALUES: usize = 5_000;
/// Depth of nesting beyond the limit of a message.
const DEPTH: usize = 10_000;

/// Messages, each of which is rejected once.
pub struct Rejects {
    /// The name in benchmarks.
    pub name: &'static str,
    protocol: Protocol,
    messages: fn() -> Vec<Vec<u8>>,
}

/// All sets of messages.
pub const ALL: [&Rejects; 4] = [
    &Rejects { name: "json-mistakes", protocol: Protocol::Json, messages: json_mistakes },
    &Rejects { name: "json-attacks", protocol: Protocol::Json, messages: json_attacks },
    &Rejects { name: "statsd-mistakes", protocol: Protocol::Statsd, messages: statsd_mistakes },
    &Rejects { name: "statsd-attacks", protocol: Protocol::Statsd, messages: statsd_attacks },
];

impl Rejects {
    /// All messages, repeated `rounds` times.
    #[must_use]
    pub fn datagrams(&self, rounds: usize) -> DatagramList {
        let messages = (self.messages)();
        let mut datagrams = DatagramList::new(self.protocol);
        for _ in 0..rounds {
            for message in &messages {
                datagrams.push(|bytes| bytes.extend_from_slice(message));
            }
        }
        datagrams
    }
}

impl fmt::Display for Rejects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

fn json_mistakes() -> Vec<Vec<u8>> {
    let whole = json(r#""metric_type":"gauge","value":71"#);
    vec![
        whole[..whole.len() / 2].to_vec(),
        json(r#""metric_type":"gauge""#),
        json(r#""metric_type":"gauge","value":"NaN""#),
        json(r#""metric_type":"rate","value":1"#),
        json(r#""count":1"#),
        json(r#""metric_type":"counter","region":{"name":"eu-west-1"}"#),
        br#"{"metric_type":"counter","count":1,"stage":"login"}"#.to_vec(),
        b"api.requests:1|c".to_vec(),
        b"42".to_vec(),
    ]
}

fn json_attacks() -> Vec<Vec<u8>> {
    let tags: String = (0..TAGS).map(|n| format!(r#","tag-{n}":{n}"#)).collect();
    let deep = "[".repeat(DEPTH);
    let mut not_utf8 = json(&format!(r#""metric_type":"counter"{tags}"#));
    let last = not_utf8.len() - 1;
    not_utf8[last] = 0xff;
    vec![
        json(&format!(r#""metric_type":"counter"{tags}"#)),
        json(&format!(r#""metric_type":"counter","tags":{deep}"#)),
        not_utf8,
    ]
}

fn json(members: &str) -> Vec<u8> {
    format!(r#"{{"metric_name":"api.requests","stage":"login",{members}}}"#).into_bytes()
}

fn statsd_mistakes() -> Vec<Vec<u8>> {
    let lines = [
        "api.requests",
        "api.requests:1",
        "api.requests:1|",
        "api.requests:1|rate",
        "api.requests:|c",
        "api.requests:NaN|g",
        "api.requests:1|c|@7",
        ":1|c",
        r#"{"metric_name":"api.requests","metric_type":"counter"}"#,
    ];
    lines.map(|line| line.as_bytes().to_vec()).into()
}

fn statsd_attacks() -> Vec<Vec<u8>> {
    let tags: Vec<String> = (0..TAGS).map(|n| format!("tag-{n}:{n}")).collect();
    let tags = tags.join(",");
    let mut not_utf8 = format!("api.requests:1|c|#{tags}").into_bytes();
    not_utf8.push(0xff);
    vec![
        format!("api.requests:1|c|#{tags}").into_bytes(),
        format!("api.requests{}|c", ":1".repeat(VALUES)).into_bytes(),
        not_utf8,
    ]
}
