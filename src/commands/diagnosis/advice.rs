//! What was probably meant.

use serde_json::{Map, Value};

use super::Advice;
use engine::listener::Protocol;
use engine::protocol::{RejectReason, Rejection, parse_finite};
use yaml::suggest::nearest;

/// Types of JSON messages, behind what people call them.
const JSON_TYPES: [(&str, &str); 15] = [
    ("trace", "trace"),
    ("gauge", "gauge"),
    ("counter", "counter"),
    ("timer", "timer"),
    ("set", "set"),
    ("histogram", "timer"),
    ("count", "counter"),
    ("timing", "timer"),
    ("distribution", "timer"),
    ("c", "counter"),
    ("g", "gauge"),
    ("ms", "timer"),
    ("h", "timer"),
    ("d", "timer"),
    ("s", "set"),
];
/// Types of statsd lines, behind what people call them.
const STATSD_TYPES: [(&str, &str); 13] = [
    ("c", "c"),
    ("g", "g"),
    ("ms", "ms"),
    ("h", "h"),
    ("d", "d"),
    ("s", "s"),
    ("counter", "c"),
    ("count", "c"),
    ("gauge", "g"),
    ("timer", "ms"),
    ("timing", "ms"),
    ("histogram", "h"),
    ("set", "s"),
];

/// Keys that mean something themselves, so that nothing else was meant by them.
const MEANINGFUL: [&str; 6] =
    ["metric_name", "metric_type", "value", "sample_rate", "tags", "timestamp"];

/// Advice on a rejection; `rest` is the message from its place on, `token` what stands there.
pub(super) fn advice(
    protocol: Protocol,
    rest: &[u8],
    token: &[u8],
    rejection: &Rejection,
) -> Option<Advice> {
    let text = token_text(token);
    match rejection.reason {
        RejectReason::UnknownType => known_type(protocol, &text),
        RejectReason::MissingName => key(rest, "metric_name", &["name", "metric"]),
        RejectReason::MissingType => key(rest, "metric_type", &["type", "kind"]),
        RejectReason::MissingValue => key(rest, "value", &["count", "val", "v"]),
        RejectReason::BadValue => number(&text),
        RejectReason::BadSampleRate => sample_rate(&text),
        RejectReason::BadJson => json(token, rejection.expected),
        RejectReason::NestedTag => Some(plain("make a tag of each part")),
        _ => None,
    }
}

fn plain(words: impl Into<String>) -> Advice {
    Advice { nearest: None, words: words.into() }
}

fn meant(word: &str, shown: &str) -> Advice {
    Advice { nearest: Some(word.to_owned()), words: format!("did you mean {shown}?") }
}

/// A string without its quotes, all else as it is.
fn token_text(token: &[u8]) -> String {
    serde_json::from_slice::<String>(token)
        .unwrap_or_else(|_| String::from_utf8_lossy(token).into_owned())
}

fn known_type(protocol: Protocol, word: &str) -> Option<Advice> {
    let types: &[(&str, &'static str)] = match protocol {
        Protocol::Json => &JSON_TYPES,
        Protocol::Statsd => &STATSD_TYPES,
    };
    let words: Vec<&str> = types.iter().map(|(word, _)| *word).collect();
    let found = nearest(word, &words)?;
    let (_, right) = types.iter().find(|(word, _)| *word == found)?;
    let shown = match protocol {
        Protocol::Json => format!("\"{right}\""),
        Protocol::Statsd => format!("`{right}`"),
    };
    Some(meant(right, &shown))
}

/// A key that is there in place of the one that is not.
fn key(rest: &[u8], wanted: &str, others: &[&str]) -> Option<Advice> {
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Map<String, Value>>();
    let members = values.next()?.ok()?;
    let is_another = |key: &&String| others.contains(&key.as_str());
    let is_near =
        |key: &&String| !MEANINGFUL.contains(&key.as_str()) && nearest(key, &[wanted]).is_some();
    let found = members.keys().find(is_another).or_else(|| members.keys().find(is_near))?;
    Some(meant(wanted, &format!("`{wanted}` where it says `{found}`")))
}

/// The number in a text, without blanks, with a point, without a unit.
fn number(text: &str) -> Option<Advice> {
    let text = text.trim().replace(',', ".");
    let bare = text.trim_end_matches(|c: char| c.is_alphabetic() || matches!(c, '%' | ' ' | 'µ'));
    let found = [text.as_str(), bare].into_iter().find(|text| parse_finite(text).is_some())?;
    Some(meant(found, found))
}

fn sample_rate(text: &str) -> Option<Advice> {
    let rate = parse_finite(text).filter(|rate| *rate > 1.0)?;
    let right = rate.recip().to_string();
    Some(Advice {
        words: format!("did you mean {right}, for one in {rate}?"),
        nearest: Some(right),
    })
}

fn json(token: &[u8], expected: &str) -> Option<Advice> {
    Some(match token {
        b"" => plain("the message breaks off here: it has to stand on one line"),
        b"True" => meant("true", "true"),
        b"False" => meant("false", "false"),
        b"None" | b"nil" | b"undefined" => meant("null", "null"),
        b"NaN" | b"nan" | b"Infinity" | b"-Infinity" | b"inf" | b"-inf" => {
            plain("JSON has neither NaN nor infinity")
        }
        [b'\'', ..] => plain("JSON has double quotes"),
        [b'}' | b']'] => plain("there is a comma too many"),
        [b'{'] if expected.starts_with("nothing more") => {
            plain("put each message on a line of its own")
        }
        _ => return None,
    })
}
