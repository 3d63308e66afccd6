//! Whole files from the point of view of a user: the values of valid ones and the errors of invalid
//! ones.

use std::collections::BTreeMap;
use std::fmt;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::messages::errors::ERRORS_MAX;
use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    bind_address: Option<String>,
    bind_port: Option<u16>,
    debug_mode: bool,
    interval: Option<Seconds>,
    version: Option<String>,
    agent: Agent,
    forwarders: Forwarders,
    log: Log,
    percentiles: Vec<f64>,
    range: Option<(i8, i8)>,
    endpoint: Option<Endpoint>,
    workers: Option<std::num::NonZeroU8>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Agent {
    tags: BTreeMap<String, String>,
    api_token: Option<Checked>,
    pin_secret: Option<u16>,
    mode_secret: Option<Format>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Forwarders {
    kafka: OneOrMany,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kafka {
    kafka_broker: String,
    kafka_topic: String,
    kafka_apikey: Option<String>,
    #[serde(default, alias = "timeout")]
    kafka_timeout: Option<Spanned<u32>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    format: Option<Format>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Text,
    Json,
    PyStatsd,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Endpoint {
    None,
    Unix(String),
    Tcp { host: String, port: u16 },
    Pair(u8, u8),
}

/// One section or a list of sections.
#[derive(Debug, Default, PartialEq)]
struct OneOrMany(Vec<Kafka>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sections;

        impl<'de> Visitor<'de> for Sections {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section or a list of sections")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany, A::Error> {
                let section = serde::de::value::MapAccessDeserializer::new(map);
                Ok(OneOrMany(vec![Kafka::deserialize(section)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(section) = seq.next_element()? {
                    all.push(section);
                }
                Ok(OneOrMany(all))
            }
        }

        deserializer.deserialize_any(Sections)
    }
}

/// A type that checks its text after reading it.
#[derive(Debug, PartialEq)]
struct Checked(String);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with("ok") {
            return Ok(Self(text));
        }
        let start: String = text.chars().take(6).collect();
        Err(D::Error::custom(format!("cannot use \"{text}\", it begins with {start}")))
    }
}

/// A type whose visitor has a message for its expectation.
#[derive(Debug, PartialEq)]
struct Seconds(u64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `10s`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Seconds, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                let number = text.strip_suffix('s').ok_or_else(wrong)?;
                let seconds = number.parse().map_err(|_| wrong())?;
                if seconds == 0 {
                    return Err(E::custom("a duration must not be zero"));
                }
                Ok(Seconds(seconds))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("5090".to_owned()),
        "WORD" => Some("hunter2".to_owned()),
        "DEBUG" => Some("yes".to_owned()),
        "EMPTY" => Some(String::new()),
        "TILDE" => Some("~".to_owned()),
        "EVIL" => Some("x\nbind_port: 1\n# {[\"'".to_owned()),
        _ => None,
    }
}

fn config(text: &str) -> Config {
    parse(&Source::new("f", text), &env).unwrap_or_else(|error| panic!("{error}"))
}

fn errors_of<T: DeserializeOwned>(text: &str) -> ConfigErrors {
    match parse::<T>(&Source::new("f", text), &env) {
        Ok(_) => panic!("this file is not broken: {text}"),
        Err(errors) => errors,
    }
}

fn error_of<T: DeserializeOwned>(text: &str) -> String {
    errors_of::<T>(text).first().to_string()
}

fn value<T: DeserializeOwned>(yaml: &str) -> T {
    let mut map: BTreeMap<String, T> = parse(&Source::new("f", format!("key: {yaml}")), &env)
        .unwrap_or_else(|error| panic!("{error}"));
    map.remove("key").unwrap()
}

#[test]
fn a_scalar_is_a_literal_if_pyyaml_reads_a_number_or_a_boolean() {
    #[derive(Deserialize)]
    struct Scalars {
        values: Vec<basics::scalar_text::ScalarText>,
    }
    let source = Source::new(
        "f",
        "values: [7444, 74440000000000000000000000000000, 1.50, true, 1.5e+3, '7444', \"7\", 69bc, \
         69e3, 1.5e3, text, '${N}', \"true\", 0x10]\n",
    );
    let read: Scalars = parse(&source, &|_| Some("7".to_owned())).unwrap();
    let shown: Vec<_> =
        read.values.iter().map(|value| (value.as_str(), value.is_literal())).collect();
    let literals = ["7444", "74440000000000000000000000000000", "1.50", "true", "1.5e+3"];
    let texts = ["7444", "7", "69bc", "69e3", "1.5e3", "text", "7", "true", "0x10"];
    let expected = literals.map(|text| (text, true)).into_iter();
    assert_eq!(shown, expected.chain(texts.map(|text| (text, false))).collect::<Vec<_>>());
}

#[test]
fn an_expanded_scalar_is_a_literal_unless_it_has_quotes() {
    let scalars = |yaml: &str| {
        let read: std::collections::BTreeMap<String, basics::scalar_text::ScalarText> =
            parse(&Source::new("f", yaml), &|_| Some("7444".to_owned())).unwrap();
        read.into_values().map(|value| value.is_literal()).collect::<Vec<_>>()
    };
    assert_eq!(scalars("a: ${KEY}\nb: \"${KEY}\"\nc: x${KEY}\n"), [true, false, false]);
}

#[test]
fn a_deployed_file_works_unchanged() {
    let config = config(
        r#"---
bind_address: "127.0.0.1"
bind_port: 5090
debug_mode: False
agent:
    tags:
        environment: "stage"
        release: 1.10
forwarders:
    kafka:
      kafka_broker: broker.example.net:9092
      kafka_topic: metrics
      kafka_apikey: 0123e4
"#,
    );
    assert_eq!(config.bind_port, Some(5090));
    assert!(!config.debug_mode);
    assert_eq!(config.agent.tags["release"], "1.10");
    assert_eq!(config.forwarders.kafka.0[0].kafka_apikey.as_deref(), Some("0123e4"));
}

#[test]
fn a_file_without_content_is_an_empty_section() {
    for text in ["", "\n\n", "# nothing\n", "---", "---\n...\n", "~", "--- # x\n", "\u{feff}", "{}"]
    {
        assert_eq!(config(text), Config::default(), "{text:?}");
    }
}

#[test]
fn a_section_whose_content_is_commented_out_is_empty() {
    let config = config("forwarders:\n  # kafka:\nagent:\n  tags:\npercentiles:\nlog: ~\n");
    assert_eq!(config, Config::default());
}

#[test]
fn text_stays_as_it_is_written() {
    for text in
        ["1.10", "0123e4", "00", "yes", "True", "0x1F", "1_000", "12:30", "a b", "1e3", "+5"]
    {
        assert_eq!(value::<String>(text), text);
    }
    assert_eq!(value::<String>("'null'"), "null");
    assert_eq!(value::<String>("\"\""), "");
    assert_eq!(value::<String>("!!str 5"), "5");
    assert_eq!(value::<String>("|\n  a\n  b\n"), "a\nb\n");
    assert_eq!(value::<char>("é"), 'é');
}

#[test]
fn booleans_of_yaml_1_1_are_accepted() {
    for (yaml, expected) in [("yes", true), ("Off", false), ("TRUE", true), ("!!bool 'on'", true)] {
        assert_eq!(value::<bool>(yaml), expected, "{yaml}");
    }
    assert!(value::<bool>("${DEBUG}"));
    assert!(value::<bool>("\"${DEBUG}\""));
    assert!(!value::<bool>("${NONE:-false}"));
}

#[test]
fn numbers_may_be_quoted_and_signed_and_hexadecimal() {
    assert_eq!(value::<u16>("\"5090\""), 5090);
    assert_eq!(value::<u16>("'0123'"), 123);
    assert_eq!(value::<i8>("-128"), -128);
    assert_eq!(value::<u64>("18446744073709551615"), u64::MAX);
    assert_eq!(value::<i64>("-9223372036854775808"), i64::MIN);
    assert_eq!(value::<u8>("0xff"), 255);
    assert_eq!(value::<u16>("${PORT}"), 5090);
    assert_eq!(value::<f64>("5"), 5.0);
    assert_eq!(value::<f32>("\"-2.5e1\""), -25.0);
    assert_eq!(value::<(u8, bool)>("[1, no]"), (1, false));
}

#[test]
fn an_absent_value_is_none_and_so_is_an_empty_expanded_one() {
    for yaml in ["", "~", "null", "${EMPTY}", "${NONE:-}"] {
        assert_eq!(value::<Option<String>>(yaml), None, "{yaml}");
    }
    assert_eq!(value::<Option<String>>("${TILDE}").as_deref(), Some("~"));
    assert_eq!(value::<String>("${EMPTY}"), "");
    assert_eq!(value::<String>("${TILDE}"), "~");
    value::<()>("");
}

#[test]
fn an_expanded_value_never_changes_the_structure() {
    assert_eq!(value::<String>("${EVIL}"), env("EVIL").unwrap());
    assert_eq!(value::<Vec<String>>("[\"${EVIL}\", b]").len(), 2);
}

#[test]
fn a_key_is_never_expanded_and_never_nothing() {
    let map: BTreeMap<String, u8> =
        parse(&Source::new("f", "${PORT}: 1\n~: 2\n5: 3\ntrue: 4"), &env).unwrap();
    assert_eq!(map.keys().collect::<Vec<_>>(), ["${PORT}", "5", "true", "~"]);
    assert!(value::<BTreeMap<u8, bool>>("{5: on}")[&5]);
}

#[test]
fn enums_are_words_or_sections_of_one_key() {
    assert_eq!(value::<Format>("py_statsd"), Format::PyStatsd);
    assert_eq!(value::<Endpoint>("none"), Endpoint::None);
    assert_eq!(value::<Endpoint>("{none: }"), Endpoint::None);
    assert_eq!(value::<Endpoint>("{unix: /run/x}"), Endpoint::Unix("/run/x".to_owned()));
    assert_eq!(value::<Endpoint>("{pair: [1, 2]}"), Endpoint::Pair(1, 2));
    let tcp = Endpoint::Tcp { host: "h".to_owned(), port: 1 };
    assert_eq!(value::<Endpoint>("\n  tcp:\n    host: h\n    port: 1"), tcp);
}

#[test]
fn aliases_and_merge_keys_are_resolved() {
    let map: BTreeMap<String, BTreeMap<String, String>> = parse(
        &Source::new(
            "f",
            "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {y: 0, <<: *a}\nd:\n  <<: [*a, *b]\ne: *b\nf: {'<<': no}\n",
        ),
        &env,
    )
    .unwrap();
    let show = |key: &str| map[key].iter().map(|(k, v)| format!("{k}{v}")).collect::<String>();
    assert_eq!(show("c"), "x1y0");
    assert_eq!(show("d"), "x1y2z4");
    assert_eq!(show("e"), "y3z4");
    assert_eq!(show("f"), "<<no");
}

#[test]
fn an_error_about_a_value_can_be_raised_after_parsing() {
    let source = Source::new(
        "f",
        "forwarders:\n  kafka:\n    kafka_broker: b\n    kafka_topic: t\n    kafka_timeout: &t 99 # s\n",
    );
    let config: Config = parse(&source, &env).unwrap();
    let timeout = config.forwarders.kafka.0[0].kafka_timeout.unwrap();
    assert_eq!((*timeout, *timeout.get(), timeout.into_inner()), (99, 99, 99));
    let error = source.error_at(timeout.span(), "`kafka_timeout` is too long");
    assert_eq!(
        error.to_string(),
        "f:5:23: `kafka_timeout` is too long\n  |\n5 |     kafka_timeout: &t 99 # s\n  |                       ^^"
    );
    let list: BTreeMap<String, Spanned<Vec<u8>>> =
        parse(&Source::new("f", "a:\n  - 1\nb: [2]\n"), &env).unwrap();
    assert_eq!(list["a"].span().start, Position { line: 1, column: 1 });
    assert_eq!(list["b"].span().start, Position { line: 3, column: 4 });
    assert_eq!(Spanned::<u8>::default().span(), SourceSpan::START);
}

/// Invalid files, with the exact errors.
const BROKEN: [(&str, &str); 44] = [
    (
        "bind_address: x\n\n# port\nbind_port: abc\n",
        "f:4:12: `bind_port` must be a whole number from 0 to 65535, not `abc`
  |
4 | bind_port: abc
  |            ^^^",
    ),
    (
        "bind_prot: 5090\n",
        "f:1:1: unknown key `bind_prot`
  |
1 | bind_prot: ***
  | ^^^^^^^^^
  = allowed: bind_address, bind_port, debug_mode, interval, version, agent, forwarders, log, \
percentiles, range, endpoint, workers
  = did you mean `bind_port`?",
    ),
    (
        "forwarders:\n  kafka:\n    - kafka_broker: b\n      kafka_topic: t\n      retries: 3\n",
        "f:5:7: unknown key `forwarders.kafka[0].retries`
  |
5 |       retries: ***
  |       ^^^^^^^
  = allowed: kafka_broker, kafka_topic, kafka_apikey, kafka_timeout, timeout",
    ),
    (
        "forwarders:\n  kafka:\n    - kafka_broker: b\n      kafka_topic: t\n    - kafka_broker: c\n",
        "f:5:7: `forwarders.kafka[1].kafka_topic` is missing
  |
5 |     - kafka_broker: c
  |       ^",
    ),
    (
        "forwarders:\n  kafka:\n    kafka_broker: b\n",
        "f:2:3: `forwarders.kafka.kafka_topic` is missing
  |
2 |   kafka:
  |   ^^^^^",
    ),
    (
        "forwarders: {kafka: {kafka_topic: t}}",
        "f:1:14: `forwarders.kafka.kafka_broker` is missing
  |
1 | forwarders: {kafka: {kafka_topic: t}}
  |              ^^^^^",
    ),
    (
        "forwarders:\n  kafka: metrics\n",
        "f:2:10: `forwarders.kafka` must be a section or a list of sections, not `metrics`
  |
2 |   kafka: metrics
  |          ^^^^^^^",
    ),
    (
        "forwarders:\n  kafka:\n",
        "f:2:3: `forwarders.kafka` needs a value: a section or a list of sections
  |
2 |   kafka:
  |   ^^^^^",
    ),
    (
        "forwarders:\n  kafka:\n    - kafka_broker:\n      kafka_topic: t\n",
        "f:3:7: `forwarders.kafka[0].kafka_broker` needs a value
  |
3 |     - kafka_broker:
  |       ^^^^^^^^^^^^",
    ),
    (
        "forwarders:\n  kafka:\n    kafka_broker: b\n    kafka_timeout: 1\n    timeout: 2\n",
        "f:5:5: `forwarders.kafka.kafka_timeout` is given twice
  |
5 |     timeout: 2
  |     ^^^^^^^",
    ),
    (
        "agent:\n  tags:\n    - a\n",
        "f:2:3: `agent.tags` must be a section, not a list
  |
2 |   tags:
  |   ^^^^",
    ),
    (
        "agent: off\n",
        "f:1:8: `agent` must be a section, not `off`
  |
1 | agent: off
  |        ^^^",
    ),
    (
        "bind_port:\n  tcp: 5\n",
        "f:1:1: `bind_port` must be a whole number from 0 to 65535, not a section
  |
1 | bind_port:
  | ^^^^^^^^^",
    ),
    (
        "bind_address: [a, b] # x\n",
        "f:1:15: `bind_address` must be text, not a list
  |
1 | bind_address: [a, b] # x
  |               ^^^^^^",
    ),
    (
        "bind_port: \"70000\"  # high\n",
        "f:1:12: `bind_port` must be a whole number from 0 to 65535, not `70000`
  |
1 | bind_port: \"70000\"  # high
  |            ^^^^^^^",
    ),
    (
        "bind_port: 0755\n",
        "f:1:12: `bind_port` must be a whole number from 0 to 65535, not `0755`
  |
1 | bind_port: 0755
  |            ^^^^
  = a leading 0 used to mean base eight: write 755 or 0o755 to be clear",
    ),
    (
        "workers: 0\n",
        "f:1:10: `workers` must be a whole number from 1 to 255, not `0`
  |
1 | workers: 0
  |          ^",
    ),
    (
        "percentiles: [50, .inf]\n",
        "f:1:19: `percentiles[1]` must be a number, not `.inf`
  |
1 | percentiles: [50, .inf]
  |                   ^^^^",
    ),
    (
        "percentiles: 50\n",
        "f:1:14: `percentiles` must be a list, not `50`
  |
1 | percentiles: 50
  |              ^^",
    ),
    (
        "range: [1, 2, 3]\n",
        "f:1:8: `range` must be a tuple of size 2, not a list of 3
  |
1 | range: [1, 2, 3]
  |        ^^^^^^^^^",
    ),
    (
        "range: [1]\n",
        "f:1:8: `range` must be a tuple of size 2, not a list of 1
  |
1 | range: [1]
  |        ^^^",
    ),
    (
        "debug_mode: maybe\n",
        "f:1:13: `debug_mode` must be true or false, not `maybe`
  |
1 | debug_mode: maybe
  |             ^^^^^
  = allowed: true, false, yes, no, on, off",
    ),
    (
        "debug_mode: 'true'\n",
        "f:1:13: `debug_mode` must be true or false, not `true`
  |
1 | debug_mode: 'true'
  |             ^^^^^^
  = a boolean stands without quotes",
    ),
    (
        "log:\n  format: JSON\n",
        "f:2:11: `log.format` cannot be `JSON`
  |
2 |   format: JSON
  |           ^^^^
  = allowed: text, json, py_statsd
  = did you mean `json`?",
    ),
    (
        "log: {format: [json]}\n",
        "f:1:15: `log.format` cannot be a list
  |
1 | log: {format: [json]}
  |               ^^^^^^
  = allowed: text, json, py_statsd",
    ),
    (
        "endpoint:\n  tcp:\n    host: h\n    port: x\n",
        "f:4:11: `endpoint.tcp.port` must be a whole number from 0 to 65535, not `x`
  |
4 |     port: x
  |           ^",
    ),
    (
        "endpoint: unix\n",
        "f:1:11: `endpoint` must be a section with one key, not `unix`
  |
1 | endpoint: unix
  |           ^^^^
  = this key needs settings below it",
    ),
    (
        "endpoint:\n  udp: x\n",
        "f:2:3: `endpoint` cannot be `udp`
  |
2 |   udp: x
  |   ^^^
  = allowed: none, unix, tcp, pair",
    ),
    (
        "interval: 10m\n",
        "f:1:11: `interval` must be a duration such as `10s`, not `10m`
  |
1 | interval: 10m
  |           ^^^",
    ),
    (
        "interval: 0s\n",
        "f:1:11: `interval`: a duration must not be zero
  |
1 | interval: 0s
  |           ^^",
    ),
    (
        "interval: [10s]\n",
        "f:1:11: `interval` must be a duration such as `10s`, not a list
  |
1 | interval: [10s]
  |           ^^^^^",
    ),
    (
        "bind_port: 1\nagent:\nbind_port: 2\n",
        "f:3:1: `bind_port` is given twice in this section
  |
3 | bind_port: 2
  | ^^^^^^^^^
  = it is given first in line 1",
    ),
    (
        "a: 1\n---\nb: 2\n",
        "f:2:1: a second document begins here, but the file must hold only one
  |
2 | ---
  | ^^^",
    ),
    (
        "agent: {[a]: b}\n",
        "f:1:9: a key must be a word, not a section or a list
  |
1 | agent: {[a]: b}
  |         ^",
    ),
    (
        "agent:\n  : b\n",
        "f:2:3: a key is missing here
  |
2 |   : b
  |   ^",
    ),
    (
        "agent: &a\n  tags: *a\n",
        "f:2:9: this alias refers to the value that contains it
  |
2 |   tags: *a
  |         ^^",
    ),
    (
        "agent:\n  <<: 5\n",
        "f:2:7: `<<` must be a section or a list of sections
  |
2 |   <<: 5
  |       ^",
    ),
    (
        "bind_port: !vault 5\n",
        "f:1:12: a tag is not supported here: put a value that begins with `!` in quotes
  |
1 | bind_port: !vault 5
  |            ^^^^^^",
    ),
    (
        "version: &v x\nbind_port: *v # y\n",
        "f:2:12: `bind_port` must be a whole number from 0 to 65535, not `x`
  |
2 | bind_port: *v # y
  |            ^^",
    ),
    (
        "- a\n",
        "f:1:1: the file must be a section, not a list
  |
1 | - a
  | ^",
    ),
    (
        "agent: {\n",
        "f:1:8: this bracket is never closed
  |
1 | agent: {
  |        ^",
    ),
    (
        "agent:\n\ttags: 5\n",
        "f:2:1: a tab cannot be used for indentation
  |
2 |     tags: 5
  | ^
  = use spaces",
    ),
    (
        "bind_port: ${NONE}\n",
        "f:1:12: the environment variable NONE is not set: set it, or give a default, `${NONE:-…}`
  |
1 | bind_port: ${NONE}
  |            ^^^^^^^",
    ),
    (
        "agent: {api_token: \"${file:/nonexistent}\"}\n",
        "f:1:20: cannot read `/nonexistent`: no such file
  |
1 | agent: {api_token: \"${file:/nonexistent}\"}
  |                    ^^^^^^^^^^^^^^^^^^^^^^",
    ),
];

#[test]
fn an_error_has_its_position_reason_and_allowed_values() {
    for (text, expected) in BROKEN {
        assert_eq!(error_of::<Config>(text), expected, "{text}");
    }
}

/// Invalid files that contain a secret, with the exact errors.
const SECRET: [(&str, &str); 12] = [
    (
        "agent:\n  pin_secret: s3cret\n",
        "f:2:15: `agent.pin_secret` must be a whole number from 0 to 65535, not `***`
  |
2 |   pin_secret: ***
  |               ^^^",
    ),
    (
        "agent:\n  pin_secret: 0755\n",
        "f:2:15: `agent.pin_secret` must be a whole number from 0 to 65535, not `***`
  |
2 |   pin_secret: ***
  |               ^^^
  = write it without the leading 0",
    ),
    (
        "agent: {mode_secret: jsonn, tags: x}\n",
        "f:1:22: `agent.mode_secret` cannot be `***`
  |
1 | agent: {mode_secret: ***, tags: x}
  |                      ^^^
  = allowed: text, json, py_statsd",
    ),
    (
        "agent: {api_token: \"ok s3cret\", tags: x}\n",
        "f:1:39: `agent.tags` must be a section, not `x`
  |
1 | agent: {api_token: ***, tags: x}
  |                               ^",
    ),
    (
        "agent:\n  api_token: s3cret-value\n",
        "f:2:14: `agent.api_token`: `***` does not fit
  |
2 |   api_token: ***
  |              ^^^",
    ),
    (
        "agent:\n  api_token: bad\n",
        "f:2:14: `agent.api_token`: cannot use `***`, it begins with `***`
  |
2 |   api_token: ***
  |              ^^^",
    ),
    (
        "agent:\n  api_token: ${WORD}\n",
        "f:2:14: `agent.api_token`: the value of ${WORD} does not fit
  |
2 |   api_token: ${WORD}
  |              ^^^^^^^",
    ),
    (
        "bind_port: x${WORD}${NONE:-y}\n",
        "f:1:12: `bind_port` must be a whole number from 0 to 65535, not the value of ${WORD} and ${NONE}
  |
1 | bind_port: x${WORD}${NONE:-y}
  |            ^^^^^^^^^^^^^^^^^^",
    ),
    (
        "log: {format: \"${WORD}\"}\n",
        "f:1:15: `log.format` cannot be the value of ${WORD}
  |
1 | log: {format: \"${WORD}\"}
  |               ^^^^^^^^^
  = allowed: text, json, py_statsd",
    ),
    (
        "interval: ${WORD}\n",
        "f:1:11: `interval` must be a duration such as `10s`, not the value of ${WORD}
  |
1 | interval: ${WORD}
  |           ^^^^^^^",
    ),
    (
        "agent:\n  api_token: &t ok-s3cret\n  pin_secret: 1\nbind_port: *t\n",
        "f:4:12: `bind_port` must be a whole number from 0 to 65535, not `***`
  |
4 | bind_port: *t
  |            ^^",
    ),
    (
        "forwarders:\n  kafka:\n    kafka_apikey:s3cret\n",
        "f:3:5: `forwarders.kafka` must be a section or a list of sections, not `***`
  |
3 |     ***
  |     ^^^",
    ),
];

#[test]
fn a_secret_is_never_shown() {
    for (text, expected) in SECRET {
        let errors = errors_of::<Config>(text);
        assert_eq!(errors.first().to_string(), expected, "{text}");
        let error = errors.to_string();
        assert!(!error.contains("s3cr") && !error.contains("hunter"), "{error}");
    }
}

#[test]
fn an_error_about_a_section_repeats_no_secret_of_it() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "BTreeMap<String, String>")]
    struct Section;

    impl TryFrom<BTreeMap<String, String>> for Section {
        type Error = String;

        fn try_from(map: BTreeMap<String, String>) -> Result<Self, String> {
            Err(format!("cannot use {map:?}"))
        }
    }

    let error =
        error_of::<BTreeMap<String, Section>>("a:\n  b: ${WORD}\n  token: s3cret\n  c: d\n");
    let first = error.lines().next().unwrap();
    let expected =
        r#"f:1:1: `a`: cannot use {"b": the value of ${WORD}, "c": "d", "token": `***`}"#;
    assert_eq!(first, expected);
}

#[test]
fn a_file_that_would_exhaust_the_memory_is_refused() {
    type Any = BTreeMap<String, serde::de::IgnoredAny>;
    let deep = format!("a: {}1{}", "[".repeat(64), "]".repeat(64));
    assert!(error_of::<Any>(&deep).contains("nested more than 64 levels deep"));
    let fits = format!("a: {}1{}", "[".repeat(63), "]".repeat(63));
    assert!(parse::<Any>(&Source::new("f", fits), &env).is_ok());

    let mut laughs = "a0: &a0 [1, 2]\n".to_owned();
    let mut chain = "a0: &a0 1\n".to_owned();
    for level in 1..100 {
        let below = level - 1;
        laughs += &format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}]\n");
        chain += &format!("a{level}: &a{level} [*a{below}]\n");
    }
    assert!(error_of::<Any>(&laughs).contains("more than 200000 keys and values"));
    assert!(error_of::<Any>(&chain).contains("nested more than 64 levels deep"));

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(16));
    assert!(error_of::<Any>(&long).contains("f:1:7: aliases and merge keys make the file too"));

    let wide = "- 1\n".repeat(200_000);
    assert!(error_of::<Vec<u8>>(&wide).contains("f:200000:3: the file holds more than 200000"));
    let large = "#".repeat((4 << 20) + 1);
    assert!(error_of::<Any>(&large).contains("f:1:1: the file is larger than 4 MiB"));
}

#[test]
fn a_literal_section_is_not_expanded() {
    let text = "agent: {tags: {a: '${VAR:-x}'}}\nworkers: 1\nversion: '${VAR:-x} $${b} $1'\n";
    let source = Source::new("f", text).with_literal_section("version");
    let config: Config = parse(&source, &|_| None).unwrap();
    assert_eq!(config.version.as_deref(), Some("${VAR:-x} $${b} $1"));
    assert_eq!(config.agent.tags["a"], "x");
}

#[test]
fn anything_is_typed_by_the_core_schema() {
    let yaml =
        "\n- ~\n- true\n- 5\n- -5\n- 1.5\n- yes\n- 'true'\n- {a: b}\n- ${PORT}\n- ${TILDE}\n";
    let text = |text: &str| Anything::Text(text.to_owned());
    let expected = vec![
        Anything::Nothing(()),
        Anything::Bool(true),
        Anything::Number(5.0),
        Anything::Number(-5.0),
        Anything::Number(1.5),
        text("yes"),
        text("true"),
        Anything::Section(BTreeMap::from([("a".to_owned(), text("b"))])),
        Anything::Number(5090.0),
        text("~"),
    ];
    assert_eq!(value::<Anything>(yaml), Anything::List(expected));
}

#[test]
fn windows_line_ends_and_wide_characters_keep_the_place() {
    let error = error_of::<Config>("# ü\r\nversion: \"日本\"\r\nagent: {tags: {é: ü}, x: 1}\r\n");
    assert!(error.starts_with("f:3:23: unknown key `agent.x`"), "{error}");
}

/// Texts from pieces with a meaning for YAML or this loader, which are parsed deeper than noise.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        "bind_port: ",
        "agent:",
        "tags: ",
        "kafka_apikey: ",
        "token: ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "? ",
        "\"",
        "'",
        "|",
        ">",
        "|-\n  ",
        "&x ",
        "*x",
        "<<: ",
        "!!str ",
        "!t ",
        "#",
        " # ",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "\t",
        "\r",
        "\r\n",
        "${PORT}",
        "${WORD}",
        "${",
        "$${",
        "~",
        "0755",
        "5090",
        "yes",
        "é",
        "\u{feff}",
        "\0",
        "\u{1b}",
        "\\",
        "`",
        "@",
        "\u{85}",
        "\u{2028}",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Any YAML value. Serde tries the variants in turn, after it has read the whole tree.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Anything {
    Nothing(()),
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Anything>),
    Section(BTreeMap<String, Anything>),
}

#[test]
fn every_error_is_reported_and_none_that_follows_from_another() {
    let text = "\
intervall: 10s
bind_port: many
log: {format: xml}
agent: {tags: {rack: \"${NONE}\"}, typo: 1}
forwarders:
  kafka:
    - {kafka_brokers: a, kafka_topic: t}
    - {kafka_topic: t}
bind_port: 1
";
    let errors = parse::<Config>(&Source::new("f", text), &env).unwrap_err();
    let shown: Vec<String> =
        errors.iter().map(|e| format!("{}: {}", e.position().line, e.message())).collect();
    assert_eq!(
        shown,
        [
            "1: unknown key `intervall`",
            "2: `bind_port` must be a whole number from 0 to 65535, not `many`",
            "3: `log.format` cannot be `xml`",
            "4: the environment variable NONE is not set: set it, or give a default, `${NONE:-…}`",
            "4: unknown key `agent.typo`",
            "7: unknown key `forwarders.kafka[0].kafka_brokers`",
            "8: `forwarders.kafka[1].kafka_broker` is missing",
            "9: `bind_port` is given twice in this section",
        ],
        "{errors}"
    );
}

#[test]
fn a_file_with_many_errors_shows_the_first_ones_and_says_that_there_are_more() {
    let text: String = (0..1000).map(|n| format!("k{n}: 1\n")).collect();
    let errors = parse::<Config>(&Source::new("f", text), &env).unwrap_err();
    assert_eq!(errors.iter().count(), ERRORS_MAX);
    let shown = errors.to_string();
    assert!(shown.starts_with("f:1:1: unknown key `k0`"), "{shown}");
    assert!(shown.ends_with("\n\nthe file has more errors; the first 20 are shown"), "{shown}");
    let text: String = (0..1000).map(|n| format!("a{n}: ${{NONE}}\n")).collect();
    let errors = parse::<BTreeMap<String, String>>(&Source::new("f", text), &env).unwrap_err();
    assert_eq!(errors.iter().count(), ERRORS_MAX);
}

fn check_any_text(text: &str) -> Result<(), TestCaseError> {
    let source = Source::new("f", text);
    let lines = super::read::position::lines(source.text());
    let results = [
        parse::<Config>(&source, &env).err(),
        parse::<Anything>(&source, &env).err(),
        parse::<BTreeMap<String, Spanned<String>>>(&source, &env).err(),
        parse::<Vec<Option<BTreeMap<u8, Endpoint>>>>(&source, &env).err(),
    ];
    for error in results.into_iter().flatten() {
        for error in error.iter() {
            let Position { line, column } = error.position();
            prop_assert!((1..=lines.len()).contains(&line), "{}", error);
            prop_assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "{}", error);
            prop_assert!(!error.message().contains('\n'), "{}", error);
            prop_assert!(!error.to_string().contains("hunter2"), "{}", error);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_accepted_or_rejected_at_a_position_inside_it(text in yaml_like()) {
        check_any_text(&text)?;
    }

    #[test]
    fn any_characters_are_read_or_refused(text in any::<String>()) {
        check_any_text(&text)?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let result = Source::from_bytes("f", bytes).map_err(ConfigErrors::from).and_then(|s| parse::<Config>(&s, &env));
        prop_assert!(result.is_ok() || result.is_err());
    }

    #[test]
    fn a_quoted_text_survives_unchanged(text in "[^\\p{Cc}\u{feff}$]{0,40}") {
        prop_assert_eq!(value::<String>(&format!("'{}'", text.replace('\'', "''"))), text);
    }

    #[test]
    fn a_plain_text_survives_unchanged(text in "[A-Za-z0-9_./+]{1,40}") {
        prop_assume!(!text.eq_ignore_ascii_case("null"));
        prop_assert_eq!(value::<String>(&text), text);
    }

    #[test]
    fn an_inserted_text_survives_unchanged_and_stays_unseen(text in "\\PC{4,40}|[\\x00-\\x7f]{4,9}") {
        let env = |_: &str| Some(text.clone());
        let read = |yaml| parse::<BTreeMap<String, String>>(&Source::new("f", yaml), &env);
        prop_assert_eq!(&read("a: ${X}").unwrap()["a"], &text);
        prop_assert_eq!(&read("a: \"<${X}>\"").unwrap()["a"], &format!("<{text}>"));
    }

    #[test]
    fn a_secret_survives_in_no_error(secret in "[a-z0-9]{8,20}", broken in yaml_like()) {
        prop_assume!(!secret.bytes().all(|b| b.is_ascii_digit()));
        let text = format!("agent:\n  api_token: {secret}\n  {broken}");
        let source = Source::new("f", text);
        if let Err(error) = parse::<Config>(&source, &env) {
            prop_assert!(!error.to_string().contains(&secret), "{}", error);
        }
    }
}
