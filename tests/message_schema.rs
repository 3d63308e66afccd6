//! `docs/messages.schema.json` accepts the same messages as the decoder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test file uses its part")]

use common::markdown::{self, document};
use engine::protocol::{MessageLimits, json::decode};
use jsonschema::Validator;
use model::METRIC_WORDS;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn schema() -> Validator {
    let text = std::fs::read_to_string(common::root().join("docs/messages.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// Every word that `metric_type` may be.
fn json_words() -> Vec<&'static str> {
    let words = METRIC_WORDS
        .iter()
        .flat_map(|words| words.json_aliases.iter().map(|alias| alias.word).chain([words.word]));
    words.collect()
}

/// Whether the decoder accepts every message of a datagram. An empty array has no message, so it counts
/// as accepted.
fn is_accepted(datagram: &str) -> bool {
    let mut all = true;
    decode(datagram.as_bytes(), &MessageLimits::default(), &mut |message| all &= message.is_ok());
    all
}

/// Whether the schema accepts a datagram; `false` if it is not JSON or has a number that is no double.
fn is_valid(schema: &Validator, datagram: &str) -> bool {
    serde_json::from_str(datagram).is_ok_and(|value| schema.is_valid(&value))
}

#[test]
fn the_schema_accepts_and_rejects_the_documents_examples_as_marked() {
    let schema = schema();
    let mut seen = 0;
    let mut check = |place: &dyn std::fmt::Display, datagram: &str, expected: bool| {
        assert_eq!(is_valid(&schema, datagram), expected, "{place}: {datagram}");
        seen += 1;
    };
    for block in markdown::all_blocks() {
        if block.marks.iter().any(|mark| mark == "statsd") {
            continue;
        }
        if block.is("json", "accepted") || block.is("json", "input") {
            if block.text.starts_with('[') {
                check(&block, &block.text, true);
            } else {
                block.text.lines().for_each(|line| check(&block, line, true));
            }
        } else if block.is("text", "rejected") {
            for line in block.text.lines() {
                check(&block, line.split_once(' ').unwrap().1, false);
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

/// Values that are valid for some member, and values that are almost valid.
fn values() -> impl Strategy<Value = Value> {
    let words = [
        "", "x", "login", "43", "+4", "-4", "1e3", "1.", ".5", "1.10", " 43", "4_3", "0x10", "NaN",
        "inf", "+", "1e", "--1", "0", "0.0", "1", "1.0", "1.1", "2", "0.1", "00.5", "+.25", "-0.5",
        "5e-1", "0e5", "٣", "1\n",
    ];
    let numbers = prop_oneof![
        any::<i32>().prop_map(Value::from),
        (-2.0..2.0).prop_map(Value::from),
        proptest::sample::select(vec![0.0, -0.0, 1.0, 0.5, 1e300]).prop_map(Value::from),
    ];
    let flat = prop_oneof![
        4 => proptest::sample::select(words.to_vec()).prop_map(Value::from),
        3 => numbers,
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    let inner = flat.clone();
    prop_oneof![
        8 => flat,
        1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
        1 => proptest::collection::btree_map("[a-c]?", inner, 0..3)
            .prop_map(|members| Value::Object(members.into_iter().collect())),
    ]
}

/// In most cases an existing type.
fn types() -> impl Strategy<Value = Value> {
    prop_oneof![
        9 => proptest::sample::select(json_words()).prop_map(Value::from),
        1 => values(),
    ]
}

/// An object with, in most cases, the required members of a message, and some of the optional ones.
fn messages() -> impl Strategy<Value = Value> {
    let some = |strategy: BoxedStrategy<Value>| proptest::option::of(strategy);
    let required = |strategy| proptest::option::weighted(0.95, strategy);
    let name = prop_oneof![9 => Just(Value::from("m")), 1 => values()];
    let tags = proptest::collection::btree_map("[a-c]{0,2}", values(), 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()));
    let members = (
        required(name.boxed()),
        required(types().boxed()),
        proptest::option::weighted(0.7, values()),
        some(values().boxed()),
        proptest::option::weighted(0.2, values()),
        some(prop_oneof![tags, values()].boxed()),
        some(values().boxed()),
        proptest::option::weighted(0.3, ("[a-c]{0,2}", values())),
    );
    members.prop_map(|(name, kind, value, count, rate, tags, timestamp, other)| {
        let named = [
            ("metric_name", name),
            ("metric_type", kind),
            ("value", value),
            ("count", count),
            ("sample_rate", rate),
            ("tags", tags),
            ("timestamp", timestamp),
        ];
        let mut message: Map<String, Value> =
            named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        message.extend(other);
        Value::Object(message)
    })
}

#[test]
fn the_document_on_messages_names_every_word_for_a_type() {
    let text = std::fs::read_to_string(common::root().join("docs/messages.md")).unwrap();
    let statsd = METRIC_WORDS.iter().flat_map(|words| words.statsd).copied();
    for word in json_words().into_iter().chain(statsd) {
        assert!(text.contains(&format!("`{word}`")), "docs/messages.md lacks {word}");
    }
}

#[test]
fn the_fix_for_an_unknown_type_names_every_type() {
    let page = document("docs/messages.md");
    let row = page.rows().find(|row| row[0] == "`unknown_type`").unwrap();
    let json = METRIC_WORDS.iter().map(|words| words.word);
    let statsd = METRIC_WORDS.iter().flat_map(|words| words.statsd).copied();
    for word in json.chain(statsd) {
        assert!(row[2].contains(&format!("`{word}`")), "docs/messages.md, unknown_type: {word}");
    }
}

#[test]
fn the_description_in_the_schema_names_every_alias() {
    let text = std::fs::read_to_string(common::root().join("docs/messages.schema.json")).unwrap();
    let description = text.lines().find(|line| line.contains("How samples become points")).unwrap();
    for alias in METRIC_WORDS.iter().flat_map(|words| words.json_aliases) {
        let word = format!("`{}`", alias.word);
        assert!(description.contains(&word), "docs/messages.schema.json does not describe {word}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn accepted_messages_are_valid(
        datagram in prop_oneof![
            8 => messages(),
            1 => proptest::collection::vec(messages(), 0..3).prop_map(Value::from),
            1 => values(),
        ]
    ) {
        thread_local!(static SCHEMA: Validator = schema());
        // The range of a timestamp is one of the rules that the schema cannot express.
        let is_power = |rate: &Value| rate.as_str().is_some_and(|text| text.contains('e'));
        let all = datagram.as_array().map_or(std::slice::from_ref(&datagram), Vec::as_slice);
        prop_assume!(!all.iter().filter_map(|one| one.get("sample_rate")).any(is_power));
        let text = datagram.to_string();
        let valid = SCHEMA.with(|schema| schema.is_valid(&datagram));
        prop_assert_eq!(valid, is_accepted(&text), "{}", text);
    }
}

/// A message with this number of tags at the top level and in `tags`.
fn tagged(outer: usize, inner: usize) -> String {
    let many = |prefix: &str, count: usize| -> Map<String, Value> {
        (0..count).map(|n| (format!("{prefix}{n}"), Value::from("x"))).collect()
    };
    let mut message = many("outer", outer);
    message.extend([
        ("metric_name".to_owned(), json!("m")),
        ("metric_type".to_owned(), json!("counter")),
        ("count".to_owned(), json!(1)),
        ("value".to_owned(), json!(1)),
        ("sample_rate".to_owned(), json!(1)),
        ("timestamp".to_owned(), json!(1)),
        ("tags".to_owned(), Value::Object(many("inner", inner))),
    ]);
    Value::Object(message).to_string()
}

#[test]
fn the_limit_on_tags_is_that_of_the_schema() {
    let schema = schema();
    for (outer, inner, good) in [(256, 0, true), (257, 0, false), (0, 256, true), (0, 257, false)] {
        let message = tagged(outer, inner);
        assert_eq!(is_accepted(&message), good, "{outer}, {inner}");
        assert_eq!(is_valid(&schema, &message), good, "{outer}, {inner}");
    }
}

#[test]
fn schema_and_decoder_differ_only_as_documented() {
    let schema = schema();
    let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
    let rejected = [
        r#"{"metric_name": "m", "metric_type": "gauge", "value": "1e400"}"#.to_owned(),
        r#"{"metric_name": "m", "metric_type": "counter", "sample_rate": "5e1"}"#.to_owned(),
        r#"{"metric_name": "m", "metric_type": "counter", "sample_rate": 1e-320}"#.to_owned(),
        format!(r#"{{"metric_name": "m", "metric_type": "trace", "timestamp": {deep}}}"#),
        tagged(200, 57),
        r#"{"metric_name": "m", "metric_type": "trace", "a": {}, "a": 1}"#.to_owned(),
    ];
    for message in rejected {
        assert!(!is_accepted(&message), "{message}");
        assert!(is_valid(&schema, &message), "{message}");
    }
}
