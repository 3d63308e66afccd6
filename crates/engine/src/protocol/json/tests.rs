use std::borrow::Cow;
use std::fmt::Write as _;

use model::METRIC_WORDS;
use proptest::prelude::*;

use super::message::KNOWN_TYPES;
use super::*;
use crate::protocol::split::Split;
use crate::protocol::{SampleValue, TagValue};
use crate::testing::json::compare;

fn decoded(datagram: &[u8]) -> Vec<Result<Sample<'_>, Rejection>> {
    let mut messages = Vec::new();
    decode(datagram, &MessageLimits::default(), &mut |message| messages.push(message));
    messages
}

fn one(datagram: &str) -> Sample<'_> {
    let mut messages = decoded(datagram.as_bytes());
    assert_eq!(messages.len(), 1, "{datagram}");
    messages.remove(0).unwrap_or_else(|rejection| panic!("{datagram}: {rejection:?}"))
}

fn reasons(datagram: &[u8]) -> Vec<&'static str> {
    decoded(datagram)
        .iter()
        .map(|message| message.as_ref().err().map_or("ok", |rejection| rejection.reason.as_str()))
        .collect()
}

fn rejection(datagram: &str) -> (&'static str, usize) {
    match decoded(datagram.as_bytes()).as_slice() {
        [Err(rejection)] => (rejection.reason.as_str(), rejection.offset),
        other => panic!("{datagram}: {other:?}"),
    }
}

fn tags(sample: &Sample<'_>) -> Vec<(String, String)> {
    sample.tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// A message named `m` with this type and these additional members.
fn message(kind: &str, members: &str) -> String {
    format!(r#"{{"metric_name":"m","metric_type":"{kind}"{members}}}"#)
}

#[test]
fn the_example_of_the_contract() {
    let text = r#"{"metric_name": "user.latency", "metric_type": "timer", "value": 12.75, "stage": "login", "host": "192.0.2.7"}"#;
    let sample = one(text);
    assert_eq!(sample.name, "user.latency");
    assert_eq!(sample.value, SampleValue::Timer(12.75));
    assert_eq!(
        tags(&sample),
        [("host".into(), "192.0.2.7".into()), ("stage".into(), "login".into())]
    );
}

#[test]
fn numbers_and_booleans_are_literals_and_strings_are_texts() {
    let text = message(
        "trace",
        r#","a":5060,"b":true,"c":false,"d":1.5,"e":"5060","f":"true","g":null,"tags":{"h":-1e3}"#,
    );
    let sample = one(&text);
    let shown: Vec<_> = sample
        .tags
        .iter()
        .map(|(key, value)| format!("{key}={value} {}", value.is_literal()))
        .collect();
    let expected =
        "a=5060 true,b=true true,c=false true,d=1.5 true,e=5060 false,f=true false,h=-1e3 true";
    assert_eq!(shown.join(","), expected);
    let text = message("trace", r#","a":1,"tags":{"a":"1"}"#);
    let last = one(&text);
    assert!(!last.tags[0].1.is_literal(), "the last of equal keys wins with its type");
}

#[test]
fn nothing_is_copied_without_an_escape() {
    let text = message("trace", r#","a":"plain","b":"esc\naped""#);
    let sample = one(&text);
    assert!(matches!(sample.name, Cow::Borrowed(_)));
    assert!(matches!(sample.tags[0].1, TagValue::Text(Cow::Borrowed("plain"))));
    assert!(matches!(&sample.tags[1].1, TagValue::Text(Cow::Owned(text)) if text == "esc\naped"));
}

#[test]
fn each_type_decodes_its_value() {
    use SampleValue::{Counter, GaugeAdd, GaugeSet, Set, Timer, Trace};
    for (kind, members, expected) in [
        ("counter", "", Counter(1.0)),
        ("counter", r#","count":3"#, Counter(3.0)),
        ("counter", r#","value":-2.5"#, Counter(-2.5)),
        ("counter", r#","count":3,"value":4"#, Counter(3.0)),
        ("counter", r#","count":"43""#, Counter(43.0)),
        ("counter", r#","count":"+4""#, Counter(4.0)),
        ("gauge", r#","value":43"#, GaugeSet(43.0)),
        ("guage", r#","value":"43""#, GaugeSet(43.0)),
        ("gauge", r#","value":-4"#, GaugeSet(-4.0)),
        ("gauge", r#","value":"-4""#, GaugeAdd(-4.0)),
        ("gauge", r#","value":"+4""#, GaugeAdd(4.0)),
        ("timer", r#","value":1e3"#, Timer(1000.0)),
        ("histogram", r#","value":1e-400"#, Timer(0.0)),
        ("set", r#","value":"+4930123""#, Set("+4930123".into())),
        ("set", r#","value":1.50"#, Set("1.50".into())),
        ("trace", r#","value":"ignored","count":7"#, Trace),
        ("counter", r#","count":true,"count":2"#, Counter(2.0)),
    ] {
        assert_eq!(one(&message(kind, members)).value, expected, "{kind} {members}");
    }
}

#[test]
fn the_words_for_types_are_those_of_the_table() {
    for words in METRIC_WORDS {
        let accepted = words.json_aliases.iter().map(|alias| alias.word).chain([words.word]);
        for word in accepted {
            let with_value = message(word, r#","value":1"#);
            assert_eq!(one(&with_value).value.kind(), words.kind, "{word}");
            let expected = if words.needs_value { "missing_value" } else { "ok" };
            assert_eq!(reasons(message(word, "").as_bytes()), [expected], "{word}");
        }
        let informal = words.informal.iter().map(|alias| alias.word);
        for word in informal.chain(words.statsd.iter().copied()) {
            let text = message(word, r#","value":1"#);
            assert_eq!(reasons(text.as_bytes()), ["unknown_type"], "{word}");
        }
    }
    let mut expected: Vec<&str> = KNOWN_TYPES.split('`').skip(1).step_by(2).collect();
    expected.sort_unstable();
    let mut canonical = METRIC_WORDS.map(|words| words.word);
    canonical.sort_unstable();
    assert_eq!(expected, canonical);
}

#[test]
fn a_sample_rate_weighs_counters_and_timers() {
    assert_eq!(one(&message("counter", r#","sample_rate":0.1"#)).weight, 10.0);
    assert_eq!(one(&message("timer", r#","value":1,"sample_rate":"0.5""#)).weight, 2.0);
    assert_eq!(one(&message("gauge", r#","value":1,"sample_rate":0.5"#)).weight, 1.0);
    for rate in ["0", "-1", "1.5", "1e-320", "\"x\"", "null", "true", "[1]", "1e999"] {
        let text = message("counter", &format!(r#","sample_rate":{rate}"#));
        assert_eq!(rejection(&text), ("bad_sample_rate", 57), "{rate}");
    }
}

#[test]
fn blanks_between_the_parts_of_a_message_change_nothing() {
    let members =
        r#","value":-1.5,"a":"x","timestamp":12,"b":0,"c":"\n","tags":{"d":10e1,"e":"y"}"#;
    let compact = message("timer", members);
    assert_eq!(one(&compact).tags.len(), 5);
    let shown = |text: &str| format!("{:?}", one(text));
    for (colon, comma, brace) in [
        (": ", ", ", "}"),
        (" :", " ,", " }"),
        (":  ", ",  ", "  }"),
        ("\t:\t", "\t,\t", "\t}"),
        (": ", ",", "}"),
        (":", ", ", "}"),
    ] {
        let spaced = compact.replace(':', colon).replace(',', comma).replace('}', brace);
        assert_eq!(shown(&spaced), shown(&compact), "{spaced}");
    }
}

#[test]
fn all_other_members_become_tags_with_their_text() {
    let text = message(
        "trace",
        r#","i":43,"f":1.10,"e":1E3,"t":true,"x":false,"n":null,"empty":"","u":"\u00fc\ud83d\ude00","timestamp":{"a":[1]},"tags":{"value":"v","n2":null,"i":7}"#,
    );
    let expected = [
        ("e", "1E3"),
        ("f", "1.10"),
        ("i", "7"),
        ("t", "true"),
        ("u", "ü😀"),
        ("value", "v"),
        ("x", "false"),
    ];
    assert_eq!(tags(&one(&text)), expected.map(|(key, value)| (key.into(), value.into())));
}

#[test]
fn a_tag_whose_key_is_as_long_as_a_reserved_one_remains_a_tag() {
    for key in ["host", "stage", "direction", "destination"] {
        let text = message("trace", &format!(r#","{key}":"a""#));
        assert_eq!(tags(&one(&text)), [(key.into(), "a".into())]);
        // Another way reads a member with an escape.
        let text = message("trace", &format!(r#","{key}":"\u0061""#));
        assert_eq!(tags(&one(&text)), [(key.into(), "a".into())]);
    }
}

#[test]
fn each_escape_stands_for_its_character() {
    for (escape, character) in [
        (r#"\""#, "\""),
        (r"\\", "\\"),
        (r"\/", "/"),
        (r"\b", "\u{8}"),
        (r"\f", "\u{c}"),
        (r"\n", "\n"),
        (r"\r", "\r"),
        (r"\t", "\t"),
        (r"\u00e9", "é"),
        (r"\u00E9", "é"),
        (r"\ud83d\ude00", "😀"),
        (r"\ud800\udc00", "\u{10000}"),
        (r"\udbff\udfff", "\u{10ffff}"),
    ] {
        let text = message("trace", &format!(r#","a":"x{escape}y""#));
        assert_eq!(tags(&one(&text)), [("a".into(), format!("x{character}y"))], "{escape}");
    }
}

#[test]
fn the_last_of_equal_keys_wins() {
    let last = |members: &str| tags(&one(&message("trace", members)));
    assert_eq!(last(r#","a":"1","a":"2""#), [("a".into(), "2".into())]);
    assert_eq!(last(r#","a":"1","a":null"#), []);
    assert_eq!(
        last(r#","tags":{"a":"1","b":"2"},"c":"3","tags":{"b":"4"}"#),
        [("b".into(), "4".into()), ("c".into(), "3".into())]
    );
    assert_eq!(last(r#","tags":{"a":"1"},"tags":"x""#), [("tags".into(), "x".into())]);
    assert_eq!(last(r#","tags":"x","tags":{"a":"1"}"#), [("a".into(), "1".into())]);
}

#[test]
fn every_rejection_has_its_position() {
    let (m, t) = (r#""metric_name":"m""#, r#""metric_type":"trace""#);
    for (text, reason, offset) in [
        ("x".to_owned(), "bad_json", 0),
        (format!("{{{m},{t}"), "bad_json", 40),
        (format!("{{{m},{t}}} x"), "bad_json", 42),
        (format!("{{{m},{t},}}"), "bad_json", 41),
        (format!("{{{m},{t},'a':1}}"), "bad_json", 41),
        (format!("{{{m},{t},\"a\":NaN}}"), "bad_json", 45),
        (format!("{{{m},{t},\"a\":01}}"), "bad_json", 46),
        (format!("{{{m},{t},\"a\":\"\\x\"}}"), "bad_json", 47),
        (format!("{{{m},{t},\"a\":\"\\ud800\"}}"), "bad_json", 52),
        (format!("{{{m},{t},\"a\":\"\\ud83dx\"}}"), "bad_json", 52),
        (format!("{{{m},{t},\"a\":\"\\ud83d\\n\"}}"), "bad_json", 52),
        (format!("{{{m},{t},\"a\":\"\\ud83d\\u0041\"}}"), "bad_json", 52),
        (format!("{{{m},{t},\"a\":\"\\ude00\"}}"), "bad_json", 46),
        (format!("{{{m},{t},\"a\":\"\\ud83"), "bad_json", 48),
        (format!("{{{m},{t},\"a\":\"\u{1}\"}}"), "bad_json", 46),
        ("  5".to_owned(), "not_an_object", 2),
        ("\"text\"".to_owned(), "not_an_object", 0),
        (format!("{{{t}}}"), "missing_name", 0),
        (format!("{{\"metric_name\":\"\",{t}}}"), "bad_name", 15),
        (format!("{{\"metric_name\":5,{t}}}"), "bad_name", 15),
        (format!("{{{m}}}"), "missing_type", 0),
        (format!("{{{m},\"metric_type\":\"Trace\"}}"), "unknown_type", 33),
        (format!("{{{m},\"metric_type\":null}}"), "unknown_type", 33),
        (message("gauge", ""), "missing_value", 0),
        (message("timer", ""), "missing_value", 0),
        (message("set", ""), "missing_value", 0),
        (message("gauge", r#","value":"NaN""#), "bad_value", 49),
        (message("gauge", r#","value":" 43""#), "bad_value", 49),
        (message("gauge", r#","value":true"#), "bad_value", 49),
        (message("set", r#","value":true"#), "bad_value", 47),
        (message("timer", r#","value":1e400"#), "bad_value", 49),
        (message("counter", r#","count":null"#), "bad_value", 51),
        (message("trace", r#","a":{"b":1}"#), "nested_tag", 45),
        (message("trace", r#","tags":["a"]"#), "nested_tag", 48),
        (message("trace", r#","tags":{"a":[]}"#), "nested_tag", 53),
        (message("trace", r#","":"x""#), "bad_tag", 41),
    ] {
        assert_eq!(rejection(&text), (reason, offset.min(text.len())), "{text}");
    }
}

#[test]
fn more_tags_than_the_limit_are_rejected() {
    let with_tags = |count: usize| {
        let mut members = String::new();
        (0..count).for_each(|tag| write!(members, r#","t{tag}":"v""#).unwrap());
        message("trace", &members)
    };
    assert_eq!(one(&with_tags(256)).tags.len(), 256);
    assert_eq!(rejection(&with_tags(257)).0, "too_many_tags");
}

#[test]
fn each_line_is_a_message_and_an_invalid_one_does_not_affect_the_others() {
    let good = message("trace", "");
    let lines = format!("\r\n{good}\r\n\n  {good}  \nbad\n5\n[1]\n{good}");
    assert_eq!(
        reasons(lines.as_bytes()),
        ["ok", "ok", "bad_json", "not_an_object", "not_an_object", "ok"]
    );
    for nothing in ["", " ", "\n\r\n\t"] {
        assert!(decoded(nothing.as_bytes()).is_empty());
    }
}

#[test]
fn invalid_utf8_affects_only_its_own_line() {
    let mut datagram = message("trace", "").into_bytes();
    datagram.extend_from_slice(b"\n{\"metric_name\":\"\xff\"}\n");
    datagram.extend_from_slice(message("trace", r#","a":{}"#).as_bytes());
    let messages = decoded(&datagram);
    assert!(messages[0].is_ok());
    let at = |place: usize| messages[place].as_ref().unwrap_err();
    assert_eq!((at(1).reason, at(1).offset), (RejectReason::BadJson, 42 + 16));
    assert_eq!((at(2).reason, at(2).offset), (RejectReason::NestedTag, 42 + 20 + 45));
}

#[test]
fn an_array_whose_elements_have_no_clear_end_is_one_rejection() {
    let good = message("trace", "");
    let array = format!(" [ {good} ,\n{good}, 5, {{}}, [], {good} ] \n");
    assert_eq!(
        reasons(array.as_bytes()),
        ["ok", "ok", "not_an_object", "missing_name", "not_an_object", "ok"]
    );
    assert_eq!(reasons(b"[]"), [""; 0]);
    for broken in [
        format!("[{good},{good}"),
        format!("[{good}] x"),
        format!("[{good},]"),
        format!("[,{good}]"),
        format!("[{good},,{good}]"),
        format!("[{good} {good}]"),
        format!("[{good},1 2]"),
        "[".to_owned(),
        format!("[{good},{{\"a\":[1,2}}]"),
        format!("[{good},{{\"a\":\"}}]"),
        format!("[{good},{{\"a\":\"x\\"),
        format!("[{good},{{\"a\":1"),
        format!("[{good}}}]"),
    ] {
        assert_eq!(reasons(broken.as_bytes()), ["bad_json"], "{broken}");
    }
}

#[test]
fn an_error_inside_an_element_costs_this_element_only() {
    let good = message("trace", "");
    for element in [
        message("trace", r#","a":"\ud83d""#),
        message("trace", r#","a":"\ud83dx""#),
        message("trace", r#","a":"\ude00""#),
        message("trace", r#","a":"\x""#),
        message("trace", r#","a":"\u12""#),
        message("trace", ",\"a\":\"tab\there\""),
        message("trace", ",\"a\":\"line\nfeed\""),
        message("trace", r#","a":01"#),
        message("trace", r#","a":+1"#),
        message("trace", r#","a":1."#),
        message("trace", r#","a":NaN"#),
        message("trace", r#","a":True"#),
        message("trace", r#","a":"#),
        message("trace", r#","a" 1"#),
        message("trace", ",a:1"),
        message("trace", ","),
        message("trace", ",,"),
        "{'metric_name':'m','metric_type':'trace'}".to_owned(),
        r#""\ud83d""#.to_owned(),
        "nul".to_owned(),
        "01".to_owned(),
        "-".to_owned(),
    ] {
        let array = format!("[{good},{element},{good}]");
        let messages = decoded(array.as_bytes());
        let [Ok(_), Err(rejection), Ok(_)] = &messages[..] else {
            panic!("{element}: {messages:?}")
        };
        // Except for a line feed, the element alone is one line with the same error.
        if !element.contains('\n') {
            let alone = decoded(element.as_bytes()).remove(0).unwrap_err();
            assert_eq!(*rejection, alone.shifted_by(good.len() + 2), "{element}");
        }
    }
    let deep = message("trace", &format!(r#","a":{}{}"#, "[".repeat(200), "]".repeat(200)));
    let mut not_utf8 = format!("[{good},").into_bytes();
    not_utf8.extend_from_slice(b"{\"metric_name\":\"\xff\xc3\"},");
    not_utf8.extend_from_slice(format!("{deep},{good}]").as_bytes());
    assert_eq!(reasons(&not_utf8), ["ok", "bad_json", "nested_tag", "ok"]);
    let deep = message("trace", &format!(r#","timestamp":{}{}"#, "[".repeat(200), "]".repeat(200)));
    assert_eq!(reasons(format!("[{good},{deep},{good}]").as_bytes()), ["ok", "too_deep", "ok"]);
}

#[test]
fn nesting_is_limited() {
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(10_000);
        let text = message("trace", &format!(r#","timestamp":{deep}"#));
        assert_eq!(reasons(text.as_bytes()), ["too_deep"]);
    }
    assert_eq!(reasons("[".repeat(65_507).as_bytes()), ["too_deep"]);
    let nested = |levels: usize| {
        let value = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        message("trace", &format!(r#","timestamp":{value}"#))
    };
    // A message itself counts as a level, alone and in an array.
    for (levels, outcome) in [(64, "ok"), (65, "too_deep")] {
        assert_eq!(reasons(nested(levels).as_bytes()), [outcome]);
        assert_eq!(reasons(format!("[{}]", nested(levels)).as_bytes()), [outcome]);
    }
}

/// Fragments that make up valid and almost valid messages.
fn fragment() -> impl Strategy<Value = String> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        " ",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\n",
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "1e3",
        "-0.0e-5",
        "01",
        "1e999",
        "\"metric_name\"",
        "\"metric_type\"",
        "\"value\"",
        "\"count\"",
        "\"sample_rate\"",
        "\"tags\"",
        "\"timestamp\"",
        "\"counter\"",
        "\"gauge\"",
        "\"timer\"",
        "\"set\"",
        "\"trace\"",
        "\"+4\"",
        "\"-4\"",
        "\"m\"",
        "\"é\"",
        "\"\"",
        "0.5",
    ];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

/// A JSON value of any shape, as text.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<f64>()
            .prop_filter("JSON has only finite numbers", |n| n.is_finite())
            .prop_map(|n| n.to_string()),
        any::<i32>().prop_map(|n| n.to_string()),
        ".{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        "[+-]?[0-9]{1,3}(\\.[0-9])?".prop_map(|text| format!("\"{text}\"")),
        fragment(),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(("[a-c]?", inner), 0..3).prop_map(|all| {
                let all: Vec<_> = all.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
                format!("{{{}}}", all.join(" , "))
            }),
        ]
    })
}

fn near_message() -> impl Strategy<Value = String> {
    let keys = [
        "metric_name",
        "metric_type",
        "value",
        "count",
        "sample_rate",
        "tags",
        "timestamp",
        "a",
        "b",
        "a\\u0062",
    ];
    let member = (prop::sample::select(keys.to_vec()), value())
        .prop_map(|(key, value)| format!("\"{key}\":{value}"));
    let known = METRIC_WORDS
        .iter()
        .flat_map(|words| words.json_aliases.iter().map(|alias| alias.word).chain([words.word]));
    let kind = prop::sample::select(known.collect::<Vec<_>>());
    (kind, prop::collection::vec(member, 0..5), any::<prop::sample::Index>(), any::<bool>())
        .prop_map(|(kind, mut members, place, is_named)| {
            if is_named {
                let place = place.index(members.len() + 1);
                members.insert(place, format!("\"metric_name\":\"m\",\"metric_type\":\"{kind}\""));
            }
            format!("{{{}}}", members.join(","))
        })
}

/// The pieces of a line that was split, and its number.
fn parts(line: &str) -> Option<(String, f64)> {
    let mut parts = Split::without_number(line.as_bytes());
    split(&mut parts).then(|| (parts.pieces().shown(), parts.number))
}

#[test]
fn a_line_is_split_around_its_value() {
    for (line, expected) in [
        (r#"{"value":-12,"a":"b"}"#, Some((r#"{"value":…,"a":"b"}"#, -12.0))),
        (r#"{"count": 	2,"a":"b"}"#, Some((r#"{"count": 	…,"a":"b"}"#, 2.0))),
        // A value comes first, wherever the count is.
        (r#"{"count":3,"value":2.5}"#, Some((r#"{"count":3,"value":…}"#, 2.5))),
        (r#"{"value":2.5,"count":3,"a":"b"}"#, Some((r#"{"value":…,"count":3,"a":"b"}"#, 2.5))),
        (r#"{"a_key":"b","name":"m"}"#, Some((r#"{"a_key":"b","name":"m"}"#, 1.0))),
        // Times are numbers or texts.
        (r#"{"timestamp":1490114074,"value":1}"#, Some((r#"{"timestamp":…,"value":…}"#, 1.0))),
        (r#"{"value":1,"timestamp": -0.5}"#, Some((r#"{"value":…,"timestamp": …}"#, 1.0))),
        (r#"{"timestamp":"2017-03-21T16:34:34Z"}"#, Some((r#"{"timestamp":…}"#, 1.0))),
        (r#"{"timestamp":1e9,"a":"b"}"#, Some((r#"{"timestamp":1e9,"a":"b"}"#, 1.0))),
        (r#"{"timestamp":01,"a":"b"}"#, Some((r#"{"timestamp":01,"a":"b"}"#, 1.0))),
        (r#"{"timestamp":1.,"a":"b"}"#, Some((r#"{"timestamp":1.,"a":"b"}"#, 1.0))),
        (r#"{"timestamp":"\u0031"}"#, Some((r#"{"timestamp":"\u0031"}"#, 1.0))),
        (r#"{"timestamp":null,"a":"b"}"#, Some((r#"{"timestamp":null,"a":"b"}"#, 1.0))),
        (r#"{"a_key":"b","timestamp":"#, Some((r#"{"a_key":"b","timestamp":"#, 1.0))),
        (r#"{"sample_rate":0.5,"value":1}"#, Some((r#"{"sample_rate":…,"value":…}"#, 1.0))),
        (r#"{"sample_rate":2,"value":1}"#, Some((r#"{"sample_rate":2,"value":…}"#, 1.0))),
        (r#"{"value":"text","a":"b"}"#, Some((r#"{"value":"text","a":"b"}"#, 1.0))),
        (r#"{"value":1e3,"a":"b"}"#, None),
        (r#"{"a":"b","value":true}"#, None),
        (r#"{"a_key":"b","value":"#, Some((r#"{"a_key":"b","value":"#, 1.0))),
        (r#"{"value":1}"#, None),
    ] {
        assert_eq!(
            parts(line),
            expected.map(|(shown, number): (&str, f64)| (shown.to_owned(), number)),
            "{line}"
        );
    }
}

#[test]
fn a_line_is_split_around_its_value_wherever_it_is() {
    for (before, after) in (0..=100).flat_map(|before| (0..=40).map(move |after| (before, after))) {
        let line = |value: &str, time: &str| {
            format!(
                r#"{{"a":"{:x<before$}","value":{value},"timestamp":{time},"b":"{:x<after$}"}}"#,
                "", ""
            )
        };
        assert_eq!(parts(&line("-12.5", "1490114074")), Some((line("…", "…"), -12.5)));
    }
}

#[test]
fn the_position_of_the_number_is_that_from_which_the_sample_was_made() {
    let number = |line: &str| {
        let mut tags = Tags::new();
        let message = decode_line(line.as_bytes(), &MessageLimits::default(), &mut tags);
        message.unwrap().places.value.map(|at| line[at..].to_owned())
    };
    let cases = [
        (message("gauge", r#","value":5"#), Some("5}")),
        (message("counter", r#","value":5"#), Some("5}")),
        (message("counter", r#","value":5,"count":6"#), Some("6}")),
        (message("counter", ""), None),
        // A trace counts 1, whatever its value is.
        (message("trace", r#","value":5"#), None),
    ];
    for (line, expected) in cases {
        assert_eq!(number(&line).as_deref(), expected, "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_message_decodes_as_with_serde_json(line in near_message()) {
        compare(line.as_bytes(), &MessageLimits::default());
    }

    #[test]
    fn any_fragments_decode_as_with_serde_json(
        pieces in prop::collection::vec(fragment(), 0..30),
    ) {
        let line = pieces.concat();
        compare(line.as_bytes(), &MessageLimits::default());
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decoded(&bytes);
    }

    #[test]
    fn every_offset_lies_in_the_datagram(
        pieces in prop::collection::vec(fragment(), 0..30), newline in 0_usize..30,
    ) {
        let mut pieces = pieces;
        pieces.insert(newline.min(pieces.len()), "\n".to_owned());
        let datagram = pieces.concat();
        for message in decoded(datagram.as_bytes()) {
            if let Err(rejection) = message {
                prop_assert!(rejection.offset <= datagram.len());
            }
        }
    }
}
